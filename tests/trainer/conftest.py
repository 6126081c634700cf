from pathlib import Path

import pytest
from typer.testing import CliRunner

TINY = [
    "data.image_size=64",
    "data.progressive_scales=[]",
    "data.batch_size=8",
    "optimization.epochs=2",
    "optimization.warmup_epochs=0.5",
    "optimization.ema_momentum=0.5",
]


@pytest.fixture(scope="session")
def tiny_overrides() -> list[str]:
    """`--set` arguments of a run that takes seconds."""
    return [argument for override in TINY for argument in ("--set", override)]


@pytest.fixture(scope="session")
def tiny_run(
    dummy_dataset_dir: Path, tiny_overrides: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of a two-epoch `tumor train` on the dummy data."""
    from trainer.cli.main import app

    folder = tmp_path_factory.mktemp("runs")
    config = folder / "tiny.toml"
    config.write_text("# two epochs on synthetic pictures\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_API_KEY", raising=False)
        patch.delenv("WANDB_MODE", raising=False)
        patch.setenv("HOME", str(folder))
        arguments = [
            "train",
            str(config),
            *tiny_overrides,
            "--run-dir",
            str(folder / "tiny"),
            "--data-dir",
            str(dummy_dataset_dir),
        ]
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (folder / "tiny" / "output.txt").write_text(result.output)
    return folder / "tiny"
