import json

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from serving.app.views import EXAMPLES
from trainer.cli.main import app


def test_verdicts_are_counted_by_kind(tmp_path):
    for kind in ("noise", "slices"):
        (tmp_path / kind).mkdir()
    for seed in range(2):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (90, 90), np.uint8)).save(
            tmp_path / "noise" / f"{seed}.png"
        )
    (tmp_path / "slices" / "glioma.png").write_bytes((EXAMPLES / "glioma.png").read_bytes())
    (tmp_path / "slices" / ".hidden").write_text("no picture")
    result = CliRunner().invoke(app, ["guard", str(tmp_path), "--out", str(tmp_path / "guard.json")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "guard.json").read_text()) == {
        "noise": {"like_training": 0, "unlike_training": 0, "not_brain_mri": 2},
        "slices": {"like_training": 1, "unlike_training": 0, "not_brain_mri": 0},
        "all": {"like_training": 1, "unlike_training": 0, "not_brain_mri": 2},
    }
    assert "66.7%" in result.output


def test_folder_without_kinds(tmp_path):
    result = CliRunner().invoke(app, ["guard", str(tmp_path)])
    assert result.exit_code == 1
    assert "DIR/KIND/FILE" in result.stderr
