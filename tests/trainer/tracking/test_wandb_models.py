"""Models kept at Weights & Biases, published on the Hub: two servers on this machine, two real clients."""

import socket
from collections.abc import Iterator

import pytest

from serving.model.artefact import BUNDLED
from tests.hub_client import Shell
from tests.hub_server import HubServer, read_folder
from tests.wandb_server import WandbServer

KEY = "0" * 40
SOURCE = "wandb:tester/project/model-x"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[HubServer, WandbServer]]:
    with HubServer() as hub, WandbServer() as wandb:
        files = read_folder(BUNDLED)
        wandb.add_artifact("model-x", "model", files | {"notes.txt": b"private"})
        wandb.add_artifact(
            "model-x", "model", {name: content for name, content in files.items() if name != "model.keras"}
        )
        wandb.add_artifact("data-x", "dataset", {"dataset.json": b"{}"})
        wandb.add_artifact("linked", "model", files, {"figures/secret.png": "file:///etc/hostname"})
        wandb.add_artifact("outside", "model", files | {"../../evil.png": b"evil"})
        yield hub, wandb


@pytest.fixture(scope="module")
def shell(servers, tmp_path_factory) -> Iterator[Shell]:
    hub, wandb = servers
    home = tmp_path_factory.mktemp("home")
    with Shell(hub.url, home, HOME=str(home), WANDB_BASE_URL=wandb.url, WANDB_API_KEY=KEY) as shell:
        yield shell


def test_a_version_is_published_as_it_was_logged(servers, shell):
    answer = shell.run("push", f"{SOURCE}:v0", "user/x")
    assert answer.code == 0, answer.stderr
    found = servers[0].repos["user/x"].read()
    assert set(found) == {".gitattributes", *read_folder(BUNDLED)}
    assert found["model.keras"] == (BUNDLED / "model.keras").read_bytes()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"{SOURCE}:latest", "model.keras is missing"),
        (f"{SOURCE}:v7", "Check the name"),
        (SOURCE, "Expected wandb:ENTITY/PROJECT/NAME:VERSION"),
        ("wandb:model-x:v0", "Expected wandb:ENTITY/PROJECT/NAME:VERSION"),
        ("wandb:tester/project/data-x:v0", "is of type dataset. Expected a model"),
        ("wandb:tester/project/linked:v0", "'figures/secret.png' outside its own folder"),
        ("wandb:tester/project/outside:v0", "'../../evil.png' outside its own folder"),
    ],
)
def test_what_is_no_model_is_refused_and_not_published(servers, shell, source, expected):
    answer = shell.run("push", source, "user/refused")
    assert (answer.code, answer.stdout) == (1, "")
    assert expected in answer.stderr
    assert "user/refused" not in servers[0].repos


def test_without_a_key_it_says_how_to_log_in(servers, tmp_path):
    with Shell(servers[0].url, tmp_path / "hub", HOME=str(tmp_path), WANDB_BASE_URL=servers[1].url) as shell:
        answer = shell.run("push", f"{SOURCE}:v0", "user/refused")
    assert answer.code == 1
    assert "`wandb login`" in answer.stderr


def test_a_server_that_cannot_be_reached(servers, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Shell(
        servers[0].url, tmp_path / "hub", HOME=str(tmp_path), WANDB_BASE_URL=url, WANDB_API_KEY=KEY
    ) as shell:
        answer = shell.run("push", f"{SOURCE}:v0", "user/refused")
    assert answer.code == 1
    assert "cannot be had from W&B" in answer.stderr
    assert "check the network" in answer.stderr
