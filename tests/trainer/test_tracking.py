import pytest
from etils import epath

from trainer import tracking
from trainer.config import Config


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Arguments with which W&B was opened; no run is started."""
    calls = []

    class Run:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(tracking.wandb, "init", lambda **arguments: calls.append(arguments) or Run())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    return calls


def test_no_key_means_offline_and_one_line(opened, tmp_path, capsys):
    with tracking.start_wandb(Config(), epath.Path(tmp_path), print):
        pass
    assert opened[0]["mode"] == "offline"
    assert opened[0]["resume"] is None
    assert "no key found, so this run is logged offline" in " ".join(capsys.readouterr().out.split())


def test_key_in_the_environment_means_online(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with tracking.start_wandb(Config(), epath.Path(tmp_path), print):
        pass
    assert opened[0]["mode"] == "online"
    assert opened[0]["resume"] == "allow"
    assert capsys.readouterr().out == ""


def test_key_in_netrc_means_online(opened, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    (tmp_path / ".netrc").chmod(0o600)
    with tracking.start_wandb(Config(), epath.Path(tmp_path), print):
        pass
    assert opened[0]["mode"] == "online"


def test_explicit_mode_is_honoured(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracking.start_wandb(Config(), epath.Path(tmp_path), print):
        pass
    assert opened[0]["mode"] == "disabled"
    assert opened[0]["resume"] is None


def test_key_of_a_server_of_ones_own(opened, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text(f"machine wandb.example.org login user password {'0' * 40}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with tracking.start_wandb(Config(), epath.Path(tmp_path), print):
        pass
    assert opened[0]["mode"] == "online"


def test_a_restart_continues_the_same_run(opened, tmp_path):
    for _ in range(2):
        with tracking.start_wandb(Config(), epath.Path(tmp_path), print):
            pass
    assert opened[0]["id"] == opened[1]["id"]
    assert opened[0]["config"]["optimization"]["epochs"] == Config().optimization.epochs


def test_a_later_run_of_the_process_may_have_another_mode(tmp_path, monkeypatch):
    for mode, offline in (("offline", True), ("disabled", False)):
        monkeypatch.setenv("WANDB_MODE", mode)
        folder = tmp_path / mode
        folder.mkdir()
        with tracking.start_wandb(Config(), epath.Path(folder), print):
            pass
        assert bool(list(folder.glob("wandb/offline-run-*"))) == offline
