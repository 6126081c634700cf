"""`tumor audit` of several things: zips, folders, tables of sources and built datasets."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.files.errors import UserError
from tests.tumor_ds.audit.draw_sources import write_classes, write_sources
from trainer.cli.audit import name_collections
from trainer.cli.main import app


def audit(*arguments: str):
    return CliRunner().invoke(app, ["audit", *arguments])


def test_a_table_of_sources_and_a_folder_are_compared(tmp_path):
    table, classes = write_sources(tmp_path / "table"), write_classes(tmp_path / "classes")
    result = audit(str(table), str(classes), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "4 of 6 pictures in classes" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.html", "audit.json"]


def test_a_table_of_sources_alone_is_no_folder_of_classes(tmp_path):
    result = audit(str(write_sources(tmp_path / "table")), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "which of 2 sources they are of" in result.output


def test_the_report_is_not_written_into_any_of_them(tmp_path):
    table, classes = write_sources(tmp_path / "table"), write_classes(tmp_path / "classes")
    result = audit(str(table), str(classes), "--out", str(classes / "out"))
    assert result.exit_code == 1
    assert "choose --out elsewhere" in result.stderr
    assert not (classes / "out").exists()


def test_one_named_twice_is_refused(tmp_path):
    folder = str(write_classes(tmp_path / "classes"))
    result = audit(folder, folder, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "is named twice" in result.stderr


def test_a_dataset_that_is_not_built_says_how_to_build_it(tmp_path):
    result = audit("tumor_ds/official", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert "is not built in" in result.stderr
    assert "tumor build" in result.stderr


def test_names_are_short_where_that_is_enough(tmp_path):
    paths = [tmp_path / "a" / "x", tmp_path / "b" / "x", tmp_path / "c.d"]
    for path in paths:
        path.mkdir(parents=True)
    texts = ["a/x", "b/x", "c.d", "kaggle.zip", "tumor_ds/figshare"]
    opened = [*paths, Path("kaggle.zip"), object()]
    assert name_collections(texts, opened) == ["a/x", "b/x", "c.d", "kaggle", "tumor_ds/figshare"]
    with pytest.raises(UserError, match="a/x is named twice"):
        name_collections(["a/x", "a/x"], paths[:2])
