"""From training to the app, by way of the Hub: what a visitor gets is what was trained."""

import sys

import pytest
from gradio_client import Client, handle_file

from serving import from_pretrained
from tests.app_process import start_app
from tests.hub_client import Shell, build_environment
from tests.hub_server import HubServer

SERVE = "from trainer.cli.main import app; app()"


def test_the_app_answers_from_the_hub_as_the_trained_artefact_does(tiny_run, dummy_data_dir, tmp_path):
    """Two epochs, pushed; then served by commit in a fresh process, after the branch has moved on."""
    # Of the very pictures it learnt, so that its guard lets them in.
    pictures = sorted((dummy_data_dir / "Training").rglob("*.jpg"))[::7]
    with HubServer() as hub, Shell(hub.url, tmp_path / "home") as shell:
        answer = shell.run("push", tiny_run, "user/tiny", "--tag", "v1")
        assert answer.code == 0, answer.stderr
        repo = hub.repos["user/tiny"]
        revision = repo.tags["v1"]
        repo.commit({"README.md": b"nothing is left of it"})

        environment = build_environment(hub.url, tmp_path / "other_home")
        command = [sys.executable, "-c", SERVE, "serve", "--model", "user/tiny", "--revision", revision]
        with start_app(command, environment) as (address, _):
            client = Client(address, verbose=False)
            answers = [client.predict(handle_file(str(path)), api_name="/predict") for path in pictures]
    expected = [from_pretrained(tiny_run).predict(path).to_dict() for path in pictures]
    for ours, theirs in zip(answers, expected, strict=True):
        # The tiny model's guard may refuse a picture; then neither has probabilities.
        assert (ours["label"], ours["in_domain"], ours["prediction_sets"]) == (
            theirs["label"],
            theirs["in_domain"],
            theirs["prediction_sets"],
        )
        assert ours["domain_distance"] == pytest.approx(theirs["domain_distance"], abs=1e-6)
        assert ours["probabilities"] == (
            theirs["probabilities"] and pytest.approx(theirs["probabilities"], abs=1e-6)
        )
    assert any(answer["probabilities"] for answer in answers)
