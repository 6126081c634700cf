from pathlib import Path

import pytest

from tests.trainer.training.processes import SMALL


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path
