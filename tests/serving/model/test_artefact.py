import base64
import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from serving import ArtefactError, from_pretrained
from serving.hub.fetch import locate_artefact
from serving.model.artefact import (
    BUNDLED,
    CONFIG_FILE,
    FORMAT_VERSION,
    LITERT_FILE,
    RUN_SUBFOLDER,
    Combination,
    MapConfig,
    encode_map,
    load_config,
)

REQUIRED = [
    "labels",
    "image",
    "image.size",
    "image.fit",
    "architecture",
    "calibration",
    "calibration.temperature",
    "calibration.prediction_set_thresholds",
    "calibration.unlike_prediction_set_thresholds",
    "calibration.any_tumour_thresholds",
    "guard",
    "guard.content_bias",
    "guard.refusal_threshold",
    "guard.hidden_weights",
    "guard.directions",
    "guard.directions.shape",
    "guard.directions.dtype",
    "guard.directions.base64",
    "map",
    "map.threshold",
    "map.combination",
    "map.combination.intercept",
    "map.combination.class",
    "map.combination.map",
    "sha256",
    f"sha256:{LITERT_FILE}",
]
MAP = {"threshold": 0.4, "combination": {"intercept": -1.5, "class": 0.5, "map": 0.25}}
HALF_ROW = {
    "shape": [1, 1280],
    "dtype": "<f2",
    "base64": base64.b64encode(np.full(1280, 0.01, "<f2").tobytes()).decode(),
}
MALFORMED = {
    "labels": [None, "glioma", [], ["glioma"], ["glioma", "glioma"], ["glioma", 2], {"glioma": 0}],
    "image": [None, 224, []],
    "image.size": ["224", 0, -1, 224.5, 10**9, None],
    "image.fit": ["crop", None, ["pad"]],
    "calibration": [None, [], "sharp"],
    "calibration.temperature": [0, 5e-324, -1.0, float("nan"), float("inf"), "1", None],
    "calibration.prediction_set_thresholds": [
        None,
        0.4,
        [],
        {},
        {"0.99": 0.1},
        {"0.95": 1.1},
        {"0.95": -0.1},
        {"0.95": 0.4, "99 %": 0.1},
    ],
    "calibration.any_tumour_thresholds": [None, 0.4, {"0.95": None}, {"95": 0.4}, {"nan": 0.4}],
    "guard": [None, []],
    "guard.content_bias": ["0", None, float("nan")],
    "guard.refusal_threshold": ["far", -1, 0, float("inf")],
    "guard.unlike_threshold": [-0.1, 1.1],
    "guard.spreads": [
        HALF_ROW,
        {"shape": [3], "dtype": "<f4", "base64": base64.b64encode(bytes(12)).decode()},
    ],
    "guard.hidden_weights": [None, HALF_ROW],
    "guard.directions": [
        None,
        "unit",
        [[1.0]],
        HALF_ROW,
        HALF_ROW | {"shape": [1280]},
        HALF_ROW | {"shape": [0, 1280], "base64": ""},
    ],
    "guard.directions.shape": [[3, 7], "64", [10**30, 1], None],
    "guard.directions.dtype": ["O", "<i2", 2],
    "guard.directions.base64": ["", "###", "AAA", 1, None],
    "map": [{}, [], 0.5, "none"],
    "map.threshold": [None, 0, -0.1, 1.1, "0.5", float("nan")],
    "map.combination": [None, [], 1],
    "map.combination.intercept": [None, "0", float("inf")],
    "map.combination.class": [None, -0.1, float("nan")],
    "map.combination.map": [None, -0.1, "1"],
    "sha256": [None, "abc", []],
    f"sha256:{LITERT_FILE}": [None, 7],
}


@pytest.fixture(scope="module")
def artefact_dir(tmp_path_factory) -> Path:
    return shutil.copytree(BUNDLED, tmp_path_factory.mktemp("artefact") / "model")


@pytest.fixture
def config(artefact_dir) -> dict:
    return json.loads((artefact_dir / CONFIG_FILE).read_text(encoding="utf-8"))


def find_section(config: dict, field: str) -> tuple[dict, str]:
    """Return the object that holds a field such as `guard.threshold` or `sha256:FILE`, and the last name."""
    *parents, name = field.split(":") if ":" in field else field.split(".")
    for parent in parents:
        config = config[parent]
    return config, name


def write_config(folder: Path, content: object) -> Path:
    (folder / CONFIG_FILE).write_text(
        content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
    )
    return folder


def test_good_config_is_read(artefact_dir, config):
    found = load_config(artefact_dir)
    assert list(found.labels) == config["labels"]
    assert (found.image_size, found.image_fit) == (config["image"]["size"], config["image"]["fit"])
    assert found.temperature == config["calibration"]["temperature"]
    stored = config["calibration"]["prediction_set_thresholds"]
    assert found.prediction_set_thresholds == {0.95: stored["0.95"], 0.99: stored["0.99"]}
    assert list(found.any_tumour_thresholds) == [0.95, 0.99, 0.995]
    assert found.guard.refusal_threshold == config["guard"]["refusal_threshold"]
    assert list(found.unlike_prediction_set_thresholds) == [0.95, 0.99]
    assert found.guard.directions.shape == tuple(config["guard"]["directions"]["shape"])
    assert found.guard.directions.dtype == np.float32
    assert found.map is None
    assert found.raw == config


def test_what_is_fitted_to_the_map_is_read_and_written_the_same_way(tmp_path, config):
    found = load_config(write_config(tmp_path, config | {"map": MAP})).map
    assert found == MapConfig(0.4, Combination(intercept=-1.5, class_weight=0.5, map_weight=0.25))
    assert encode_map(found) == MAP


@pytest.mark.parametrize("version", [0, 5, "6", None])
def test_other_format_version_is_refused(tmp_path, config, version):
    with pytest.raises(
        ArtefactError, match=f"format version {version!r}; this package reads {FORMAT_VERSION}"
    ):
        load_config(write_config(tmp_path, config | {"format_version": version}))


def test_missing_format_version_is_refused(tmp_path, config):
    del config["format_version"]
    with pytest.raises(ArtefactError, match="format version None"):
        load_config(write_config(tmp_path, config))


@pytest.mark.parametrize("field", REQUIRED)
def test_missing_field_is_named(tmp_path, config, field):
    config["map"] = copy.deepcopy(MAP)
    section, name = find_section(config, field)
    del section[name]
    with pytest.raises(ArtefactError, match=f"lacks the field '{name}'"):
        load_config(write_config(tmp_path, config))


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in MALFORMED.items() for value in values]
)
def test_malformed_field_is_refused(tmp_path, config, field, value):
    config["map"] = copy.deepcopy(MAP)
    section, name = find_section(config, field)
    section[name] = value
    with pytest.raises(ArtefactError, match=f"{CONFIG_FILE} (is malformed|lacks the field)"):
        load_config(write_config(tmp_path, config))


@pytest.mark.parametrize("content", ["", "{", "{'labels': []}", "[" * 100_000])
def test_invalid_json_is_refused(tmp_path, content):
    with pytest.raises(ArtefactError, match="not valid JSON"):
        load_config(write_config(tmp_path, content))


def test_config_that_is_no_text_is_refused(tmp_path):
    (tmp_path / CONFIG_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtefactError, match="not valid JSON"):
        load_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"', "[1, 2]"])
def test_json_that_is_no_object_is_refused(tmp_path, content):
    with pytest.raises(ArtefactError, match="should hold a JSON object"):
        load_config(write_config(tmp_path, content))


def test_missing_config_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match=rf"{tmp_path.name} holds no {CONFIG_FILE}"):
        from_pretrained(tmp_path)


def test_config_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / CONFIG_FILE).mkdir()
    with pytest.raises(ArtefactError, match="cannot be read"):
        from_pretrained(tmp_path)


def test_missing_model_is_refused(tmp_path, config):
    with pytest.raises(ArtefactError, match=f"{LITERT_FILE} is missing"):
        from_pretrained(write_config(tmp_path, config))


@pytest.mark.parametrize("damage", ["one bit", "cut short", "empty"])
def test_damaged_model_is_refused(tmp_path, artefact_dir, config, damage):
    content = bytearray((artefact_dir / LITERT_FILE).read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 if damage == "cut short" else 0 :]
    (tmp_path / LITERT_FILE).write_bytes(content)
    with pytest.raises(ArtefactError, match=f"{LITERT_FILE} in .* is damaged or was swapped"):
        from_pretrained(write_config(tmp_path, config))


def test_folder_and_run_folder_resolve(tmp_path, artefact_dir):
    run = tmp_path / "run"
    shutil.copytree(artefact_dir, run / RUN_SUBFOLDER)
    for source, expected in (
        (artefact_dir, artefact_dir),
        (str(artefact_dir), artefact_dir),
        (run, run / RUN_SUBFOLDER),
        (None, BUNDLED),
    ):
        assert locate_artefact(source) == expected
    assert from_pretrained(run).config.raw == from_pretrained(artefact_dir).config.raw
