import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from trainer.cli.config_file import find_config, leave_out, load_config
from trainer.config import Config, ConfigError, Settings, build_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_published_config_parses(path):
    assert isinstance(load_config(path), Config)


def test_recipes_go_by_name_and_other_configs_by_path(monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    for path in CONFIGS:
        assert find_config(path.stem).read_text() == path.read_text()
    for name in ("./release.toml", "mine/release.toml", "release.toml"):
        assert find_config(name) == Path(name)
    assert find_config("~/mine.toml") == Path("/somebody/mine.toml")
    with pytest.raises(
        ConfigError, match=r"no recipe relaese\. Expected one of calm, .*\./relaese\.toml"
    ):
        find_config("relaese")


def test_there_are_published_configs():
    assert CONFIGS


def test_file_over_defaults_and_overrides_over_both(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("seed = 3\n[optimization]\nepochs = 5\nlearning_rate = 1\n")
    config = load_config(path, ["optimization.epochs=7", "precision=mixed_bfloat16", "data.batch_size=4"])
    assert (config.seed, config.optimization.epochs, config.optimization.learning_rate) == (3, 7, 1.0)
    assert (config.precision, config.data.batch_size) == ("mixed_bfloat16", 4)
    assert config.augmentation == Config().augmentation


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_survives_json_round_trip(path):
    config = load_config(path)
    assert build_config(json.loads(json.dumps(config.model_dump()))) == config


def test_every_setting_has_its_reason():
    sections = [Config, *(type(value) for value in dict(Config()).values() if isinstance(value, Settings))]
    assert len(sections) == 6
    for section in sections:
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"


def test_the_config_of_the_published_model_is_read_without_the_settings_that_are_gone():
    """What has come since is at its default."""
    published = json.loads((ROOT / "serving" / "pretrained" / "config.json").read_text())["training"]
    read, defaults = (build_config(values).model_dump(mode="json") for values in (published, {}))
    gone = {"mixup", "cutmix", "freeze_epochs", "class_weights"}
    for section, settings in read.items():
        if isinstance(settings, dict):
            kept = {name: value for name, value in published[section].items() if name not in gone}
            assert settings == defaults[section] | kept
        else:
            assert settings == published[section]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("augmentation", "mixup", 0.2), ("optimization", "class_weights", "balanced")],
)
def test_a_setting_that_is_gone_is_refused_where_it_was_on(section, key, value):
    with pytest.raises(ConfigError, match=rf"Unknown key {section}\.{key}\. Valid keys here: {section}\."):
        build_config({section: {key: value}})


def test_a_setting_that_is_gone_is_no_setting_of_a_file(tmp_path):
    (tmp_path / "run.toml").write_text("[augmentation]\nmixup = 0.0\n")
    with pytest.raises(ConfigError, match=r"Unknown key augmentation\.mixup"):
        load_config(tmp_path / "run.toml")


def test_a_copy_is_checked_and_the_first_stays():
    config = Config()
    assert config.replace(seed=3).seed == 3
    assert config.seed == 0
    with pytest.raises(ConfigError, match=r"seed: expected int at least 0, .* got -1"):
        config.replace(seed=-1)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 4


def test_a_bad_config_is_told_before_tensorflow_is_loaded(tmp_path):
    (tmp_path / "run.toml").write_text("")
    code = (
        "import sys\nfrom trainer.cli.main import app\n"
        "try: app(sys.argv[1:])\nfinally: print(*{name.split('.')[0] for name in sys.modules})"
    )
    for arguments, message in (
        (["--set", "sead=1"], "Unknown key sead"),
        (["--folds"], "--folds needs data.dataset"),
    ):
        command = [sys.executable, "-c", code, "train", str(tmp_path / "run.toml"), *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        assert message in result.stderr
        assert result.returncode == 1
        assert not {"tensorflow", "keras"} & set(result.stdout.split())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimization.epoch=3", r"Unknown key optimization\.epoch\. Valid keys here: optimization\.epochs"),
        ("sead=1", r"Unknown key sead\. Valid keys here: seed, precision"),
        ("optimization.epochs=many", "optimization.epochs: expected int at least 1, got 'many'"),
        ("optimization.epochs=true", "expected int at least 1, got True"),
        ("optimization.epochs=3.0", "expected int at least 1, got 3.0"),
        ("optimization.epochs=", "expected int at least 1, got ''"),
        ("model.pretrained=1", "model.pretrained: expected bool, got 1"),
        ("model.dropout=true", "model.dropout: expected float at least 0.*, below 1.*, got True"),
        ("data.dataset=3", "data.dataset: expected str .*, got 3"),
        ("optimization.epochs=0", "at least 1"),
        ("data.image_size=100", "multiple of 32"),
        ("data=3", "data is a section"),
        ("seed.deep=3", "seed"),
        ("precision=float16", "auto or float32 or mixed_bfloat16 or mixed_float16"),
        ("augmentation.flip=sideways", "horizontal_and_vertical"),
        ("augmentation.zoom=1.5", r"augmentation.zoom: expected float at least 0.*, below 1.*, got 1\.5"),
        ("model.architecture=vgg", "efficientnet_lite0"),
        ("optimization.weight_decay=-0.1", "optimization.weight_decay: expected float at least 0"),
        ("optimization.plateau_floor=-1e-5", "optimization.plateau_floor: expected float at least 0"),
        ("optimization.learning_rate=inf", "optimization.learning_rate: expected float above 0.*, got inf"),
        ("optimization.weight_decay=nan", "optimization.weight_decay: expected .*, got nan"),
        (
            "data.progressive_scales=[0.5, nan]",
            "data.progressive_scales: expected a list of numbers, got nan",
        ),
        (
            "data.progressive_scales=[0.7, 0.5]",
            r"rising numbers, each above 0 and below 1, got \[0\.7, 0\.5\]",
        ),
        ("data.progressive_scales=[0.5, 1]", "rising numbers, each above 0 and below 1"),
        ("data.progressive_scales=0.5", r"data.progressive_scales: expected a list of numbers, got 0\.5"),
        ("tracking.log_every=0", "tracking.log_every: expected int at least 1, got 0"),
        ("tracking.checkpoint_minutes=-1", "tracking.checkpoint_minutes: expected float at least 0"),
        ("tracking.wandb_project=", "tracking.wandb_project: expected str .*, got ''"),
        ("seed=-1", "seed: expected int at least 0, at most 4294967295, got -1"),
        ("seed=4294967296", "at most 4294967295"),
        ("seed=1\ndata.fold=3", "--set seed: expected one value, got several lines"),
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


def test_datasets_are_left_out_by_their_full_or_last_name(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[data.mix]\n"tumor_ds/lgg_tcga" = 0.2\n"tumor_ds/nins" = 0.1\n"tumor_ds/ms_iran" = 0.1\n'
    )
    config = leave_out(load_config(path), ["lgg_tcga", "tumor_ds/nins"])
    assert config.data.left_out == {"0": ("tumor_ds/lgg_tcga", "tumor_ds/nins")}
    assert config.data.learnt_mix == {"tumor_ds/ms_iran": 0.1}
    assert build_config(json.loads(json.dumps(config.model_dump()))) == config
    with pytest.raises(
        ConfigError, match=r"data\.left_out: expected datasets of data\.mix .*, got \['figshare'\]"
    ):
        leave_out(config, ["figshare"])


def test_a_config_extends_another_section_by_section(tmp_path):
    (tmp_path / "base.toml").write_text("seed = 3\n[data]\nimage_size = 64\nbatch_size = 4\n")
    (tmp_path / "run.toml").write_text('extends = "base.toml"\n[data]\nbatch_size = 8\n')
    config = load_config(tmp_path / "run.toml", ["seed=5"])
    assert (config.seed, config.data.image_size, config.data.batch_size) == (5, 64, 8)


def test_configs_that_extend_each_other_are_refused(tmp_path):
    (tmp_path / "one.toml").write_text('extends = "two.toml"\n')
    (tmp_path / "two.toml").write_text('extends = "one.toml"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        load_config(tmp_path / "one.toml")


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
    assert varied.replace(model=published.model) == published


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the config"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "broken.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="table of settings"):
        build_config([])
