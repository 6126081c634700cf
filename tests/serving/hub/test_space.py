"""The Space: a folder that the Hub builds and that starts anywhere, without TensorFlow."""

import errno
import importlib.metadata
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gradio_client import Client, handle_file
from huggingface_hub import metadata_load

from serving import ArtefactError, from_pretrained
from serving.app.views import EXAMPLES
from serving.hub.publish import save_space
from serving.hub.space import build_space
from serving.model.artefact import BUNDLED
from tests.app_process import measure_peak_megabytes, start_app
from tests.hub_client import Shell, build_environment
from tests.hub_server import HubServer, read_folder

ROOT = Path(__file__).resolve().parents[3]
SHA = "0123456789" * 4
# `python app.py` where nothing of training, and nothing of this source tree, can be imported.
START = """
import runpy, sys

TRAINING = {"tensorflow", "keras", "keras_cv", "wandb", "trainer", "tumor_ds", "tensorflow_datasets"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in TRAINING:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, ".")
import serving
assert serving.__file__.startswith(sys.argv[1]), serving.__file__
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    return build_space(tmp_path_factory.mktemp("built") / "space", "user/model", SHA)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def test_front_matter_is_what_the_hub_expects(space):
    metadata = metadata_load(space / "README.md")
    assert (metadata["sdk"], metadata["app_file"], metadata["license"]) == ("gradio", "app.py", "mit")
    assert metadata["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert metadata["models"] == ["user/model"]
    assert metadata["preload_from_hub"] == [
        f"user/model README.md,config.json,metrics.json,model.tflite {SHA}"
    ]
    assert len(metadata["short_description"]) <= 60


def test_the_model_is_pinned(space):
    assert json.loads((space / "model.json").read_text()) == {"repo": "user/model", "revision": SHA}


def test_a_private_model_is_not_preloaded_but_asks_for_a_token(tmp_path):
    card = build_space(tmp_path / "space", "user/model", SHA, is_private=True) / "README.md"
    assert "preload_from_hub" not in metadata_load(card)
    assert "`HF_TOKEN`" in card.read_text()


def test_requirements_are_those_of_serving_and_pinned_to_what_is_installed(space):
    lines = (space / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(pinned) == {re.split(r"[^\w.-]", line)[0] for line in project["dependencies"]}
    assert pinned == {name: importlib.metadata.version(name) for name in pinned}
    assert not {"tensorflow", "keras", "wandb"} & set(pinned)
    # On the Hub Gradio is there in the version of the front matter: another one here would contradict it.
    assert pinned["gradio"] == metadata_load(space / "README.md")["sdk_version"]


def test_it_holds_what_the_app_needs_and_no_model(space):
    files = set(read_folder(space))
    assert {
        "app.py",
        "model.json",
        "requirements.txt",
        "README.md",
        "serving/app/page.py",
        "serving/app/examples/README.md",
    } <= files
    assert not any(
        re.search(r"pretrained|__pycache__|\.pyc$|\.tflite$|\.keras$|hub/(space|publish)", name)
        for name in files
    )


def test_a_space_that_cannot_be_built_leaves_nothing(monkeypatch, tmp_path):
    def refuse() -> list[str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    info = SimpleNamespace(sha=SHA, private=False)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *arguments, **options: info)
    with monkeypatch.context() as patch:
        patch.setattr("serving.hub.space.pin_requirements", refuse)
        with pytest.raises(ArtefactError, match="the disk is full"):
            save_space(tmp_path / "space", "user/model")
    assert list((tmp_path / "space").iterdir()) == []
    assert save_space(tmp_path / "space", "user/model") == SHA
    assert sorted(path.name for path in (tmp_path / "space").iterdir()) == [
        "README.md",
        "app.py",
        "model.json",
        "requirements.txt",
        "serving",
    ]


def test_it_starts_without_tensorflow_and_answers_as_the_model_does(hub, tmp_path):
    revision = hub.add_repo("user/model").commit(read_folder(BUNDLED))
    space = build_space(tmp_path / "space", "user/model", revision)
    environment = build_environment(hub.url, tmp_path / "home") | {"PYTHONPATH": ""}
    with start_app([sys.executable, "-c", START, str(space)], environment, space) as (address, process):
        answer = Client(address, verbose=False).predict(
            handle_file(str(EXAMPLES / "pituitary.png")), api_name="/predict"
        )
        memory = measure_peak_megabytes(process)
    assert answer["probabilities"] == pytest.approx(
        from_pretrained().predict(EXAMPLES / "pituitary.png").probabilities, abs=1e-6
    )
    assert memory < 400
    assert hub.list_fetched("user/model") == ["README.md", "config.json", "metrics.json", "model.tflite"]


def test_a_space_is_written_here_for_the_commit_of_a_tag(hub, tmp_path):
    repo = hub.add_repo("user/model")
    repo.tags["v1"] = repo.commit(read_folder(BUNDLED))
    repo.commit({"README.md": b"newer"})
    folder = tmp_path / "space"
    with Shell(hub.url, tmp_path / "home") as shell:
        answer = shell.run("space", folder, "user/model", "--revision", "v1")
        assert answer.code == 0, answer.stderr
        assert json.loads((folder / "model.json").read_text()) == {
            "repo": "user/model",
            "revision": repo.tags["v1"],
        }
        for arguments, expected in (
            ((folder, "user/model"), "is there already"),
            ((tmp_path / "other", "user/none"), "has no model of this name"),
        ):
            answer = shell.run("space", *arguments)
            assert (answer.code, expected in answer.stderr) == (1, True)


def test_push_makes_a_space_and_follows_the_model(hub, tmp_path):
    artefact = tmp_path / "model"
    for name, content in read_folder(BUNDLED).items():
        (artefact / name).parent.mkdir(parents=True, exist_ok=True)
        (artefact / name).write_bytes(content)
    with Shell(hub.url, tmp_path / "home") as shell:

        def push(*options: str) -> str:
            answer = shell.run("push", artefact, "user/model", "--space", "user/space", *options)
            assert answer.code == 0, answer.stderr
            return answer.stdout

        assert f"{hub.url}/spaces/user/space" in push()
        model, space = hub.repos["user/model"], hub.repos["spaces/user/space"]
        assert json.loads(space.read()["model.json"]) == {
            "repo": "user/model",
            "revision": model.branches["main"],
        }
        commits = len(space.commits)
        assert push().count("Nothing has changed") == 2
        assert len(space.commits) == commits

        space.commit(space.read() | {"serving/older.py": b"raise SystemExit", "notes.md": b"of a person"})
        config = json.loads((artefact / "config.json").read_text())
        config["calibration"]["temperature"] = 3.0
        (artefact / "config.json").write_text(json.dumps(config))
        push()
        found = space.read()
        assert json.loads(found["model.json"])["revision"] == model.branches["main"]
        assert "serving/older.py" not in found
        assert found["notes.md"] == b"of a person"

        hub.repos["user/model"].private = True
        push()
        assert b"HF_TOKEN" in space.read()["README.md"]
        refused = shell.run("push", artefact, "user/model", "--space", "user/space", "--private")
        assert (refused.code, "user/space is there already and public" in refused.stderr) == (1, True)
