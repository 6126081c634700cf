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
        ("nonsense", "Expected --set key=value"),
    ],
)
def test_bad_values_say_what_was_expected(tmp_path, override, message):
    path = tmp_path / "run.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=message):
        load_config(path, [override])


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the config"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "broken.toml")
