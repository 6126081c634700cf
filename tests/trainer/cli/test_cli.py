import errno
import importlib.util
import shutil
from unittest import mock

import pytest
from typer.testing import CliRunner

from serving.files.writing import write_json
from trainer.cli.main import app
from trainer.config import build_config
from trainer.data import input_pipeline
from trainer.data.cache import CacheError


def test_build_writes_the_dataset_and_says_what_it_holds(dummy_data_dir, dummy_counts, tmp_path):
    from tumor_ds import Builder

    with mock.patch.object(Builder, "EXPECTED_COUNTS", dummy_counts):
        result = CliRunner().invoke(
            app, ["build", "--manual-dir", str(dummy_data_dir), "--data-dir", str(tmp_path)]
        )
    assert result.exit_code == 0, result.output
    assert "train 36, validation 4, test 8" in " ".join(result.output.split())
    assert "4 classes: glioma, meningioma, notumor, pituitary" in result.output
    assert (tmp_path / "tumor_ds" / "official" / "1.2.0" / "dataset_info.json").is_file()


def test_build_without_the_collection_says_where_to_get_it(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "notes.txt").write_text("nothing here")
    result = CliRunner().invoke(
        app, ["build", "--manual-dir", str(tmp_path / "manual"), "--data-dir", str(tmp_path / "data")]
    )
    assert result.exit_code == 1
    assert "brain-tumor-mri-dataset.zip" in result.stderr
    assert "https://www.kaggle.com" in result.stderr


def test_training_commands_name_the_missing_extra(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "keras_cv" else find_spec(name)
    )
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


def build(*arguments: str):
    return CliRunner().invoke(app, ["build", *arguments])


def test_build_makes_any_protocol_with_croissant_metadata(dummy_data_dir, dummy_counts, tmp_path):
    from tumor_ds import Builder

    with mock.patch.object(Builder, "EXPECTED_COUNTS", dummy_counts):
        result = build(
            "patient",
            "--manual-dir",
            str(dummy_data_dir),
            "--data-dir",
            str(tmp_path),
            "--file-format",
            "array_record",
        )
    assert result.exit_code == 0, result.output
    folder = tmp_path / "tumor_ds" / "patient" / "1.2.0"
    assert list(folder.glob("*.array_record*"))
    assert (folder / "croissant.json").is_file()
    again = build("patient", "--manual-dir", str(dummy_data_dir), "--data-dir", str(tmp_path))
    assert again.exit_code == 1
    assert "choose another --data-dir" in " ".join(again.stderr.split())


def test_a_dataset_built_already_is_said_to_be_and_keeps_its_metadata(dummy_data_dir, dummy_counts, tmp_path):
    """Its croissant.json lists the pictures, which a later build without the zip would drop."""
    from tumor_ds import Builder

    (tmp_path / "manual").mkdir()
    shutil.make_archive(str(tmp_path / "manual" / "archive"), "zip", dummy_data_dir)
    with mock.patch.object(Builder, "EXPECTED_COUNTS", dummy_counts):
        assert build("--manual-dir", str(tmp_path / "manual"), "--data-dir", str(tmp_path)).exit_code == 0
    path = tmp_path / "tumor_ds" / "official" / "1.2.0" / "croissant.json"
    before = path.read_bytes()
    assert b"archive.zip" in before
    again = build("--data-dir", str(tmp_path))
    assert "\nBuilt " not in again.output
    assert "Already built tumor_ds/official/1.2.0 in " in again.output
    assert path.read_bytes() == before
    path.unlink()
    build("--data-dir", str(tmp_path))
    assert path.is_file()


@pytest.fixture
def own_folder(dummy_data_dir, tmp_path):
    """The training pictures of two classes, as a person's own."""
    for label in ("glioma", "notumor"):
        shutil.copytree(dummy_data_dir / "Training" / label, tmp_path / "own" / label)
    return tmp_path / "own"


def test_own_pictures_are_built_anew_only_when_asked_for(own_folder, tmp_path):
    command = ("folder", "--manual-dir", str(own_folder), "--data-dir", str(tmp_path / "data"))
    assert "2 classes: glioma, notumor" in build(*command).output
    (own_folder / "notumor").rename(own_folder / "well")
    again = build(*command)
    assert again.exit_code == 1
    folder = tmp_path / "data" / "tumor_ds" / "folder" / "1.2.0"
    assert (
        f"tumor_ds/folder is already built in {folder} (20 pictures). Add --overwrite to build it anew"
        in again.stderr
    )
    anew = build(*command, "--overwrite", "--file-format", "array_record")
    assert anew.exit_code == 0, anew.output
    assert f"Built tumor_ds/folder/1.2.0 in {folder}: train 14," in anew.output
    assert "2 classes: glioma, well" in anew.output
    assert "well/" in (folder / "records.csv").read_text()


@pytest.mark.parametrize("name", ["da[ta]", "data*", "what?"])
def test_a_data_directory_that_reads_as_a_pattern_is_refused(tmp_path, name):
    result = build("--data-dir", str(tmp_path / name))
    assert result.exit_code == 1
    assert "Choose another --data-dir" in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_loser_of_two_builds_gets_one_clear_line(dummy_data_dir, tmp_path, monkeypatch):
    from tumor_ds import Builder

    def fail(self, **arguments):
        raise FileExistsError(17, "File exists", "1.2.0")

    monkeypatch.setattr(Builder, "download_and_prepare", fail)
    result = build("--manual-dir", str(dummy_data_dir), "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "Building tumor_ds/official failed: [Errno 17] File exists: '1.2.0'. If another build"
    )
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("config", ["patient", "folder"])
def test_version_2_comes_without_patients(tmp_path, config):
    result = build(config, "--kaggle-version", "2", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "official or grouped" in " ".join(result.stderr.split())


def test_build_without_a_manual_directory_downloads(dummy_data_dir, dummy_counts, tmp_path, monkeypatch):
    from tumor_ds import Builder
    from tumor_ds.collection import kaggle

    monkeypatch.setattr(kaggle, "download_collection", lambda version: dummy_data_dir)
    with mock.patch.object(Builder, "EXPECTED_COUNTS", dummy_counts):
        result = build("--data-dir", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "train 36, validation 4, test 8" in " ".join(result.output.split())


def test_a_download_that_fails_is_one_clear_line(tmp_path, monkeypatch):
    from tumor_ds.collection import kaggle
    from tumor_ds.collection.errors import DatasetError

    def fail(version: int):
        raise DatasetError("Kaggle cannot be reached. By hand: ...")

    monkeypatch.setattr(kaggle, "download_collection", fail)
    result = build("--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "Kaggle cannot be reached. By hand: ..." in result.stderr
    assert "Traceback" not in result.output


def test_audit_prints_the_leak_and_writes_the_report(dummy_data_dir, tmp_path):
    result = CliRunner().invoke(app, ["audit", str(dummy_data_dir), "--out", str(tmp_path / "audit")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "audit" / "audit.html").is_file()
    assert (tmp_path / "audit" / "audit.json").is_file()
    assert "Testing" in result.output


def test_audit_of_nothing_says_what_it_expects(tmp_path):
    result = CliRunner().invoke(app, ["audit", str(tmp_path)])
    assert result.exit_code == 1
    assert "Expected a zip, or class folders" in result.stderr


@pytest.mark.parametrize("out", [".", "audit", "glioma/deeper"])
def test_audit_does_not_write_into_the_collection(own_folder, monkeypatch, out):
    monkeypatch.chdir(own_folder)
    for arguments in (
        ["audit", ".", "--out", out],
        ["audit", str(own_folder), "--out", str(own_folder / out)],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        assert "choose --out elsewhere" in result.stderr
    assert sorted(path.name for path in own_folder.iterdir()) == ["glioma", "notumor"]


def test_audit_that_cannot_be_written_is_one_clear_line(own_folder, tmp_path):
    (tmp_path / "taken").write_text("a file")
    result = CliRunner().invoke(app, ["audit", str(own_folder), "--out", str(tmp_path / "taken")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'taken'} cannot be used: File exists. Choose another place" in result.stderr
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "model.keras"),
            "model.keras cannot be written: the disk is full",
        ),
        (CacheError("Cannot keep images in cache: Read-only file system."), "Cannot keep images in cache"),
    ],
)
def test_what_an_export_cannot_write_is_one_clear_line(tmp_path, monkeypatch, error, message):
    write_json(tmp_path / "config.json", build_config({}).model_dump())
    monkeypatch.setattr(input_pipeline, "load_builder", mock.Mock(side_effect=error))
    result = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert isinstance(result.exception, SystemExit)


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, monkeypatch):
    write_json(tmp_path / "config.json", build_config({}).model_dump())
    monkeypatch.setattr(input_pipeline, "load_builder", mock.Mock(side_effect=KeyError("label")))
    assert isinstance(CliRunner().invoke(app, ["export", str(tmp_path)]).exception, KeyError)
