import importlib.util
from unittest import mock

from typer.testing import CliRunner

from trainer.cli import app


def test_build_writes_the_dataset_and_says_what_it_holds(dummy_data_dir, dummy_counts, tmp_path):
    from tumor_ds import Builder

    with mock.patch.object(Builder, "EXPECTED_COUNTS", dummy_counts):
        result = CliRunner().invoke(app, ["build", "--manual-dir", str(dummy_data_dir), "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "train 36, validation 4, test 8" in " ".join(result.output.split())
    assert (tmp_path / "tumor_ds" / "official" / "1.1.0" / "dataset_info.json").is_file()


def test_build_without_the_collection_says_where_to_get_it(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "notes.txt").write_text("nothing here")
    result = CliRunner().invoke(app, ["build", "--manual-dir", str(tmp_path / "manual"), "--data-dir", str(tmp_path / "data")])
    assert result.exit_code == 1
    assert "brain-tumor-mri-dataset.zip" in result.stderr
    assert "https://www.kaggle.com" in result.stderr


def test_training_commands_name_the_missing_extra(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras_cv" else find_spec(name))
    result = CliRunner().invoke(app, ["train", str(tmp_path / "any.toml")])
    assert result.exit_code == 1
    assert "pip install '.[train]'" in " ".join(result.stderr.split())


def test_unknown_key_lists_the_valid_ones(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("[data]\nimage_sice = 64\n")
    result = CliRunner().invoke(app, ["train", str(config)])
    assert result.exit_code == 1
    assert "data.image_size" in " ".join(result.stderr.split())
    assert not (tmp_path / "runs").exists()
