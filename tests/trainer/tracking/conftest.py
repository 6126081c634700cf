import os

import pytest
import wandb


@pytest.fixture
def clean_environment(monkeypatch, tmp_path):
    """No key and no settings of W&B but those that a test makes."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb.teardown()  # W&B reads its variables once a process
    yield
    wandb.teardown()
