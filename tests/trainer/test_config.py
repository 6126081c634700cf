import dataclasses
from pathlib import Path

import pytest

from trainer.config import Config, ConfigError, build_config, load_config

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_published_config_parses(path):
    assert isinstance(load_config(path), Config)


def test_there_are_published_configs():
    assert CONFIGS


def test_file_over_defaults_and_overrides_over_both(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("seed = 3\n[optimization]\nepochs = 5\nlearning_rate = 1\n")
    config = load_config(path, ["optimization.epochs=7", "precision=mixed_bfloat16", "data.batch_size=4"])
    assert (config.seed, config.optimization.epochs, config.optimization.learning_rate) == (3, 7, 1.0)
    assert (config.precision, config.data.batch_size) == ("mixed_bfloat16", 4)
    assert config.augmentation == Config().augmentation


def test_config_survives_json_round_trip():
    assert build_config(dataclasses.asdict(Config())) == Config()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimization.epoch=3", r"Unknown key optimization\.epoch\. Valid keys here: optimization\.epochs"),
        ("sead=1", r"Unknown key sead\. Valid keys here: seed, precision"),
        ("optimization.epochs=many", "optimization.epochs: expected int, got 'many'"),
        ("optimization.epochs=true", "expected int, got True"),
        ("optimization.epochs=0", "at least 1"),
        ("data.image_size=100", "multiple of 32"),
        ("data=3", "data is a section"),
        ("seed.deep=3", "seed"),
        ("precision=float16", "auto or float32 or mixed_bfloat16 or mixed_float16"),
        ("augmentation.flip=sideways", "horizontal_and_vertical"),
        ("augmentation.zoom=1.5", r"in \[0, 1\)"),
        ("model.architecture=vgg", "efficientnet_lite0"),
        ("optimization.warmup_epochs=99", "below epochs"),
        ("optimization.batch_norm_images=-1", "at least 0"),
        ("augmentation.fill=white", "black or nearest"),
        ("data.fit=crop", "pad or stretch"),
        ("data.validation=by_luck", "by_group or by_image"),
        ("data.cache=disk", "memory or file"),
        ("nonsense", "Expected --set key=value"),
    ],
)
def test_bad_values_say_what_was_expected(tmp_path, override, message):
    path = tmp_path / "run.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=message):
        load_config(path, [override])


def test_a_config_extends_another_section_by_section(tmp_path):
    (tmp_path / "base.toml").write_text("seed = 3\n[data]\nimage_size = 64\nbatch_size = 4\n")
    (tmp_path / "run.toml").write_text('extends = "base.toml"\n[data]\nbatch_size = 8\n')
    config = load_config(tmp_path / "run.toml", ["seed=5"])
    assert (config.seed, config.data.image_size, config.data.batch_size) == (5, 64, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("'run.toml'", "extends itself"),
        ("'gone.toml'", "Cannot read the config"),
        ("3", "extends: expected str"),
    ],
)
def test_a_config_that_extends_nothing_is_refused(tmp_path, name, message):
    (tmp_path / "run.toml").write_text(f"extends = {name}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "run.toml")


@pytest.mark.parametrize("variant", ["batchnorm", "inception", "large_kernels", "separable"])
def test_variants_of_the_published_cnn_differ_in_the_architecture_alone(variant):
    published, varied = (
        load_config(CONFIGS[0].parent / name)
        for name in ("reference_vgg.toml", f"reference_vgg_{variant}.toml")
    )
    assert varied.model.architecture == f"reference_vgg_{variant}"
    assert dataclasses.replace(varied, model=published.model) == published


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the config"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "broken.toml")
