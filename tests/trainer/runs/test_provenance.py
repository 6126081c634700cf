"""The commit in an artefact is that of the source that made it, or none."""

import subprocess

import pytest

from trainer.runs.provenance import find_git_commit


def run_git(folder, *arguments) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A package in a repository of its own, committed."""
    folder = tmp_path / "checkout" / "trainer"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('"""A package."""\n')
    (tmp_path / "checkout" / ".gitignore").write_text(".venv/\n")
    run_git(tmp_path / "checkout", "init", "-q")
    run_git(tmp_path / "checkout", "add", ".")
    run_git(tmp_path / "checkout", "commit", "-qm", "first")
    return folder


def test_a_clean_checkout_gives_its_commit(package):
    assert find_git_commit(package) == run_git(package, "rev-parse", "HEAD")


def test_an_edited_file_is_told(package):
    (package / "__init__.py").write_text('"""Another package."""\n')
    assert find_git_commit(package) == run_git(package, "rev-parse", "HEAD") + "-dirty"


def test_a_new_module_is_told(package):
    (package / "extra.py").write_text("")
    assert find_git_commit(package) == run_git(package, "rev-parse", "HEAD") + "-dirty"


def test_an_installation_inside_a_foreign_checkout_has_no_commit(package):
    installed = package.parent / ".venv" / "lib" / "trainer"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert find_git_commit(installed) is None


def test_outside_any_repository_there_is_no_commit(tmp_path):
    assert find_git_commit(tmp_path) is None
