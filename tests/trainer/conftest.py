from pathlib import Path

import pytest
from typer.testing import CliRunner

# Small pictures first, so that the first epoch sees 32 pixels.
TINY = [
    "data.image_size=64",
    "data.progressive_scales=[0.5]",
    "data.batch_size=8",
    "optimization.epochs=2",
    "optimization.warmup_epochs=0.5",
    "optimization.ema_momentum=0.5",
]


@pytest.fixture(scope="session")
def tiny_run(dummy_dataset_dir: Path, make_once) -> Path:
    """Run folder of a two-epoch `tumor train` on the dummy data, for all workers; its parent is its home.

    Read only: a test that changes something of it takes a copy.
    """

    def make(folder: Path) -> None:
        from trainer.cli.main import app

        config = folder / "tiny.toml"
        config.write_text("# two epochs on synthetic pictures\n")
        places = ["--run-dir", str(folder / "tiny"), "--data-dir", str(dummy_dataset_dir)]
        overrides = [argument for override in TINY for argument in ("--set", override)]
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("WANDB_API_KEY", raising=False)
            patch.delenv("WANDB_MODE", raising=False)
            patch.setenv("HOME", str(folder))
            result = CliRunner().invoke(
                app, ["train", str(config), *overrides, *places], catch_exceptions=False
            )
        assert result.exit_code == 0, result.output
        (folder / "tiny" / "output.txt").write_text(result.output)

    return make_once("tiny_run", make) / "tiny"
