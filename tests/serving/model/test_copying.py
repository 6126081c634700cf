"""A copy of an artefact replaces an artefact and nothing else, and never half."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from serving import ArtefactError
from serving.model.artefact import BUNDLED, CARD_FILE, CONFIG_FILE, list_files
from serving.model.copying import copy_artefact
from tests.hub_server import read_folder

OLD_CARD = b"of the older artefact"


@pytest.fixture
def target(tmp_path) -> Path:
    """An older artefact, alone in its parent folder."""
    folder = shutil.copytree(BUNDLED, tmp_path / "parent" / "model")
    (folder / CARD_FILE).write_bytes(OLD_CARD)
    return folder


def assert_untouched(target: Path, before: dict[str, bytes]) -> None:
    assert read_folder(target) == before
    assert list(target.parent.iterdir()) == [target]


def test_an_older_artefact_is_replaced(target):
    config = json.loads((target / CONFIG_FILE).read_text())
    (target / CONFIG_FILE).write_text(json.dumps(config | {"format_version": 1}))
    (target / "figures" / "of_the_older.png").write_bytes(b"png")
    copy_artefact(BUNDLED, target)
    assert_untouched(target, {name: (BUNDLED / name).read_bytes() for name in list_files(BUNDLED)})


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "model").mkdir()
    copy_artefact(BUNDLED, tmp_path / "model")
    assert list_files(tmp_path / "model") == list_files(BUNDLED)


def test_it_may_be_copied_onto_itself(target):
    before = read_folder(target)
    copy_artefact(target, target)
    assert_untouched(target, before)


def test_the_folder_of_somebody_else_beside_it_stays(target):
    other = target.with_name("model.partial")
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    copy_artefact(BUNDLED, target)
    assert read_folder(other) == {"thesis.txt": b"years of work"}


@pytest.mark.parametrize("names", [[CARD_FILE], [CARD_FILE, "figures/map.png"]])
def test_a_folder_without_a_config_is_no_artefact(tmp_path, names):
    target = tmp_path / "parent" / "project"
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text("of a person")
    with pytest.raises(ArtefactError, match=f"holds no {CONFIG_FILE} of an artefact"):
        copy_artefact(BUNDLED, target)
    assert_untouched(target, dict.fromkeys(names, b"of a person"))


def test_a_config_of_another_program_is_no_artefact(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / CONFIG_FILE).write_text('{"editor": "vi"}')
    with pytest.raises(ArtefactError, match="of an artefact"):
        copy_artefact(BUNDLED, tmp_path / "project")
    assert read_folder(tmp_path / "project") == {CONFIG_FILE: b'{"editor": "vi"}'}


@pytest.mark.parametrize("name", ["notes.txt", "figures/notes.txt", "deep/er/README.md", "empty/"])
def test_a_folder_with_more_than_an_artefact_is_refused(target, name):
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (target / name).mkdir() if name.endswith("/") else (target / name).write_text("of a person")
    before = read_folder(target)
    with pytest.raises(ArtefactError, match="which is no file of an artefact"):
        copy_artefact(BUNDLED, target)
    assert (target / name).exists()
    assert_untouched(target, before)


def test_a_file_that_comes_while_it_copies_is_not_lost(target, monkeypatch):
    copy = shutil.copyfile

    def copy_and_add(source, destination):
        (target / "thesis.txt").write_text("years of work")
        return copy(source, destination)

    monkeypatch.setattr(shutil, "copyfile", copy_and_add)
    before = read_folder(target)
    with pytest.raises(ArtefactError, match=f"{target} holds thesis.txt"):
        copy_artefact(BUNDLED, target)
    assert_untouched(target, before | {"thesis.txt": b"years of work"})


def test_what_a_link_names_stays(target, tmp_path):
    figures = tmp_path / "figures"
    (target / "figures").rename(figures)
    (target / "figures").symlink_to(figures)
    before = read_folder(figures)
    copy_artefact(BUNDLED, target)
    assert read_folder(figures) == before
    assert not (target / "figures").is_symlink()


def test_a_full_disk_leaves_the_older_one(target, monkeypatch):
    copy = shutil.copyfile

    def fill(source, destination):
        if Path(source).name == "model.tflite":
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, destination)

    monkeypatch.setattr(shutil, "copyfile", fill)
    before = read_folder(target)
    with pytest.raises(ArtefactError, match="cannot be written: No space left on device"):
        copy_artefact(BUNDLED, target)
    assert_untouched(target, before)


def test_a_swap_that_fails_leaves_the_older_one(target, monkeypatch):
    rename = Path.rename

    def fail(path, destination):
        if read_folder(path).get(CARD_FILE) != OLD_CARD:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, destination)

    monkeypatch.setattr(Path, "rename", fail)
    before = read_folder(target)
    with pytest.raises(ArtefactError, match="cannot be written: Input/output error"):
        copy_artefact(BUNDLED, target)
    assert_untouched(target, before)


def test_an_older_one_that_cannot_be_moved_back_is_kept(target, monkeypatch):
    rename, calls = Path.rename, []

    def fail(path, destination):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, destination)

    monkeypatch.setattr(Path, "rename", fail)
    before = read_folder(target)
    with pytest.raises(ArtefactError, match="cannot be written"):
        copy_artefact(BUNDLED, target)
    [kept] = target.parent.glob(".model.*/old")
    assert read_folder(kept) == before
