"""How a W&B run is opened, fed and closed; whole trainings with one stand in `test_wandb_runs.py`."""

import os
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest
import wandb
from etils import epath

from tests.wandb_log import read_run
from tests.wandb_server import WandbServer
from trainer.config import Config
from trainer.evaluation.gallery import GalleryPicture
from trainer.tracking import wandb_run as tracking
from trainer.tracking.lineage import build_sample_table
from trainer.training.learner import Scores

KEY = "0" * 40


class FakeRun:
    """Takes what is logged; `log` can be told to fail."""

    def __init__(self, mode, url):
        self.disabled, self.offline = mode == "disabled", mode == "offline"
        self.settings = SimpleNamespace(sync_dir="/runs/official/wandb/run-1", base_url=url)
        self.url = f"{url}/tester/run"
        self.rows, self.axes, self.exit_code, self.faults = [], {}, None, []

    def define_metric(self, name, step_metric=None):
        self.axes[name] = step_metric

    def log(self, values, step):
        if self.faults:
            raise self.faults.pop(0)
        self.rows.append((step, values))

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def opened(monkeypatch, clean_environment):
    """Arguments with which W&B was opened; no run is started."""
    calls = []

    def init(**arguments):
        calls.append(arguments)
        return FakeRun(arguments["mode"], "http://127.0.0.1:9")

    monkeypatch.setattr(tracking.wandb, "init", init)
    return calls


def read_log(folder):
    """What lies in the run folder once W&B's process has written all of it."""
    wandb.teardown()
    [path] = folder.glob("wandb/latest-run/*.wandb")
    return read_run(path)


def start(folder, say=print):
    return tracking.start_wandb(Config(), epath.Path(folder), say)


# How it is opened


def test_no_key_means_offline_and_one_line(opened, tmp_path, capsys):
    with start(tmp_path):
        pass
    assert opened[0]["mode"] == "offline"
    [line] = capsys.readouterr().out.splitlines()
    assert "no key found, so this run is logged offline" in line
    assert f"{tmp_path}/wandb/offline-run-*" in line


def test_key_in_the_environment_means_online(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with start(tmp_path):
        pass
    assert opened[0]["mode"] == "online"
    assert opened[0]["resume"] == "allow"
    assert capsys.readouterr().out == "W&B: logged online at http://127.0.0.1:9/tester/run\n"


@pytest.mark.parametrize("machine", ["api.wandb.ai", wandb.Settings().base_url.removeprefix("https://")])
def test_key_in_netrc_means_online_under_either_name_of_the_public_server(opened, tmp_path, machine):
    (tmp_path / ".netrc").write_text(f"machine {machine} login user password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    with start(tmp_path):
        pass
    assert opened[0]["mode"] == "online"


def test_key_of_a_server_of_ones_own(opened, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(f"machine wandb.example.org:8080 login user password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for number, (url, mode) in enumerate(
        {"https://wandb.example.org:8080": "online", "https://other.example.org": "offline"}.items()
    ):
        wandb.teardown()
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with start(tmp_path):
            pass
        assert opened[number]["mode"] == mode


def test_explicit_mode_is_honoured(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    asked = []
    with start(tmp_path) as tracker:
        tracker.upload(lambda: asked.append("a table"))
    assert opened[0]["mode"] == "disabled"
    assert asked == []
    assert capsys.readouterr().out == ""


def test_a_restart_continues_the_same_run(opened, tmp_path):
    for _ in range(2):
        with start(tmp_path):
            pass
    assert opened[0]["id"] == opened[1]["id"]
    assert opened[0]["config"]["optimization"]["epochs"] == Config().optimization.epochs
    # Offline too: else `wandb sync` would lay the second part over the first.
    assert [call["resume"] for call in opened] == ["allow", "allow"]


def test_a_new_run_of_a_sweep_takes_the_id_it_is_given(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    for given in ("first", "second"):
        monkeypatch.setenv("WANDB_RUN_ID", given)
        folder = tmp_path / given
        folder.mkdir()
        with start(folder):
            pass
    with start(tmp_path / "first"):  # resumed; the environment is another run's by now
        pass
    assert [call["id"] for call in opened] == ["first", "second", "first"]


def test_timeouts_can_be_set_as_in_any_program_with_wandb(opened, tmp_path, monkeypatch):
    with start(tmp_path):
        pass
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    with start(tmp_path):
        pass
    # 90: W&B's own default, which its variable replaces.
    assert [call["settings"].init_timeout for call in opened] == [20, 90]
    assert opened[0]["settings"].finish_timeout == 20


def test_steps_are_drawn_against_steps_and_epochs_against_epochs(opened, tmp_path):
    with start(tmp_path) as tracker:
        pass
    assert tracker.run.axes == {
        "train/step": None,
        "train/*": "train/step",
        "epoch/epoch": None,
        "epoch/*": "epoch/epoch",
    }


def test_variables_are_set_for_a_run_and_no_longer(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", "/elsewhere")
    with start(tmp_path):
        assert os.environ["WANDB_DATA_DIR"] == f"{tmp_path}/wandb"
        assert os.environ["WANDB_CACHE_DIR"] == "/elsewhere"
    assert "WANDB_DATA_DIR" not in os.environ


def find_closed_port():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


# How it is fed


@pytest.fixture
def make_tracker():
    """Function `make(mode="online")`: a tracker, its fake run, and the list of what is said."""

    def make(mode="online"):
        said = []
        run = FakeRun(mode, "http://127.0.0.1:9")
        return tracking.Tracker(run, said.append), run, said

    return make


SAID = (
    "W&B: {}. The run goes on without it. Later: wandb sync --include-online /runs/official/wandb/run-1, then"
    " this command again, which logs samples and model."
)


def test_faults_are_said_once_and_rows_are_logged_all_the_same(make_tracker):
    tracker, run, said = make_tracker("offline")
    run.faults = [
        wandb.errors.CommError("no answer\nsecond line"),
        ConnectionResetError(),
        RuntimeError("later"),
    ]
    for step in range(5):
        tracker.log({"train/loss": 1.0}, step)
    tracker.close(0)
    assert [step for step, _ in run.rows] == [3, 4]
    assert said == [SAID.format("no answer")]
    assert run.exit_code == 0


def test_after_a_fault_nothing_is_asked_of_the_server(make_tracker):
    tracker, run, _ = make_tracker()
    run.faults = [ConnectionResetError()]
    asked = []
    tracker.upload(lambda: asked.append("first"))
    tracker.log({"train/loss": 1.0}, 1)
    tracker.upload(lambda: asked.append("second"))
    assert tracker.has_failed
    assert asked == ["first"]


def test_a_server_that_takes_too_long_counts_as_dead(make_tracker, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 29.0])
    monkeypatch.setattr(tracking.time, "monotonic", lambda: next(clock))
    tracker, _, said = make_tracker()
    tracker.upload(lambda: None)
    assert not tracker.has_failed
    tracker.upload(lambda: None)
    assert said == [SAID.format("no answer from http://127.0.0.1:9 within 10 s")]
    asked = []
    tracker.upload(lambda: asked.append("third"))
    assert asked == []


def test_a_run_that_fails_is_closed_as_failed(opened, tmp_path):
    with pytest.raises(KeyError), start(tmp_path) as tracker:
        raise KeyError("training")
    assert tracker.run.exit_code == 1


def test_a_validation_gives_its_row_before_its_tables(make_tracker):
    """Tables need the server, so they may be lost; the row must not."""
    tracker, run, said = make_tracker("offline")
    scores = Scores(0.5, 0.75, np.array([[3, 1], [0, 0]]))
    tracking.log_validation(tracker, {"epoch": 0, "val_loss": 0.5}, scores, ["glioma", "notumor"], 7)
    assert not said
    (first, row), *rest = run.rows
    assert (first, row) == (7, {"epoch/epoch": 0, "epoch/val_loss": 0.5})
    assert [step for step, _ in rest] == [7, 7]
    tables = {name: table for _, values in rest for name, table in values.items()}
    assert tables["validation/confusion"].data == [["glioma", 3, 1], ["notumor", 0, 0]]
    assert tables["validation/classes"].data == [
        ["glioma", 1.0, 0.75, pytest.approx(6 / 7), 4],
        ["notumor", 0.0, 0.0, 0.0, 0],
    ]


# With the real client


@pytest.mark.parametrize(
    "outage", [500, 0, None], ids=["answers 500", "accepts and never answers", "refuses"]
)
def test_a_server_that_is_dead_from_the_start_means_offline(clean_environment, tmp_path, monkeypatch, outage):
    said = []
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    with WandbServer() as server:
        server.outage = outage
        monkeypatch.setenv("WANDB_BASE_URL", find_closed_port() if outage is None else server.url)
        started = time.monotonic()
        with start(tmp_path, said.append) as tracker:
            assert time.monotonic() - started < 2 + 20  # and stopping and starting its process
            assert tracker.run.offline
            tracker.log({"train/loss": 0.5}, 3)
    [line] = said
    assert "so this run is logged offline" in line
    assert [row["train/loss"] for row in read_log(tmp_path)["history"]] == [0.5]


@pytest.mark.parametrize("outage", [500, 0], ids=["answers 500", "never answers"])
def test_a_server_that_dies_midway_costs_less_than_a_minute_and_is_said_once(
    clean_environment, tmp_path, monkeypatch, outage
):
    said, scores = [], Scores(0.5, 1.0, np.eye(2, dtype=int))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    if outage:  # the other waits as long as a training does
        monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "2")
        monkeypatch.setattr(wandb.apis.public.Api, "_HTTP_TIMEOUT", 3)
        monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 2)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with start(tmp_path, said.append) as tracker:
            server.outage = outage
            started = time.monotonic()
            for epoch in range(3):
                row, step = {"epoch": epoch}, 10 * (epoch + 1)
                tracking.log_validation(tracker, row, scores, ["glioma", "notumor"], step)
        assert time.monotonic() - started < 60
    first, line = said
    assert first.startswith(f"W&B: logged online at {server.url}")
    [folder] = tmp_path.glob("wandb/run-*")
    assert f"wandb sync --include-online {folder}" in line
    assert [row["epoch/epoch"] for row in read_log(tmp_path)["history"]] == [0, 1, 2]  # for `wandb sync`


def test_a_bad_key_means_offline(clean_environment, tmp_path, monkeypatch):
    said = []
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with start(tmp_path, said.append) as tracker:
        assert tracker.run.offline
    assert len(said) == 1


def test_a_later_run_of_the_process_may_have_another_mode(clean_environment, tmp_path, monkeypatch):
    for mode, offline in (("offline", True), ("disabled", False)):
        monkeypatch.setenv("WANDB_MODE", mode)
        folder = tmp_path / mode
        folder.mkdir()
        with start(folder):
            pass
        assert bool(list(folder.glob("wandb/offline-run-*"))) == offline


def test_sixteen_samples_are_read_back_with_their_pictures(clean_environment, tmp_path):
    grey, coloured = np.full((64, 64), 90, np.uint8), np.full((448, 448, 3), 120, np.uint8)
    answer = {"true": "glioma", "predicted": "notumor", "probability": 0.75}
    facts = {"kind": "hardest", "refused": False, "has_train_twin": False, **answer}
    samples = [
        GalleryPicture(
            filename=f"Training/{number}.jpg",
            picture=grey + np.uint8(number),
            overlay=coloured + np.uint8(number),
            **facts,
        )
        for number in range(16)
    ]
    with start(tmp_path) as tracker:
        tracker.run.log({"validation/samples": build_sample_table(samples)})
    [artifact] = read_log(tmp_path)["artifacts"]
    table = artifact.read_json("validation/samples.table.json")
    assert table["columns"] == ["filename", "kind", "picture", "heat map", "true", "predicted", "probability"]
    assert len(table["data"]) == 16
    for row in table["data"]:
        assert artifact.files[row[2]["path"]].is_file()
        assert artifact.files[row[3]["path"]].is_file()
        assert (row[2]["width"], row[3]["width"]) == (64, 448)
        assert row[4:] == ["glioma", "notumor", 0.75]
    assert all(path.is_relative_to(tmp_path / "wandb") for path in artifact.files.values())
