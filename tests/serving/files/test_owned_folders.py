import pytest

from serving.files.owned_folders import OwnedFolders


@pytest.fixture
def foreign(tmp_path):
    """A folder that somebody else made, with a file in it."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")
    return folder


def test_own_folder_is_private_and_goes_with_its_content(tmp_path):
    folders = OwnedFolders()
    folder = folders.make(tmp_path, "uploads-")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.name.startswith("uploads-")
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("content")
    assert folder in folders
    assert folders.remove(folder)
    assert not folder.exists()
    assert folder not in folders
    assert not folders.remove(folder)


def test_foreign_folder_is_refused(tmp_path, foreign):
    folders = OwnedFolders()
    own = folders.make(tmp_path)
    for path in (foreign, tmp_path, own.parent, own / ".." / "foreign", own / "..", own / "sub"):
        assert path not in folders
        assert not folders.remove(path)
    assert not OwnedFolders().remove(own)
    assert (foreign / "kept.txt").exists()
    assert own.is_dir()


def test_folder_in_the_place_of_an_own_one_is_refused(tmp_path, foreign):
    folders = OwnedFolders()
    own = folders.make(tmp_path)
    own.rename(tmp_path / "moved")
    foreign.rename(own)
    assert not folders.remove(own)
    assert (own / "kept.txt").exists()


def test_link_in_the_place_of_an_own_one_is_not_followed(tmp_path, foreign):
    folders = OwnedFolders()
    own = folders.make(tmp_path)
    own.rmdir()
    own.symlink_to(foreign)
    assert not folders.remove(own)
    assert (foreign / "kept.txt").exists()


def test_link_in_an_own_folder_is_removed_and_not_followed(tmp_path, foreign):
    folders = OwnedFolders()
    own = folders.make(tmp_path)
    (own / "link").symlink_to(foreign)
    assert folders.remove(own)
    assert not own.exists()
    assert (foreign / "kept.txt").exists()


def test_folder_that_is_gone_already(tmp_path):
    folders = OwnedFolders()
    own = folders.make(tmp_path)
    own.rmdir()
    assert not folders.remove(own)
