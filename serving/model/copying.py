"""Copying of an artefact into a folder, which may replace an older artefact and nothing else.

Goes in: an artefact and the folder for the copy. Comes out: the copy, or the folder as it was.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from serving.model.artefact import CONFIG_FILE, FIGURES_FOLDER, ArtefactError, list_files


def copy_artefact(source: Path, target: Path) -> None:
    """Copy an artefact's files to a temporary folder beside the target, then put it in the target's place.

    A failure leaves an older artefact where it is; it is deleted once the new one is in its place.

    Args:
        source: holds an artefact, perhaps only what serving needs.
        target: new, empty, or an artefact of any format version.

    Raises:
        ArtefactError: the target holds something else, or cannot be written.
    """
    target = target.resolve()  # "." has no name
    try:
        _check_replaceable(target, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name in list_files(source):
                copy = scratch / "new" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, copy)
            _put_in_place(scratch / "new", target, scratch / "old")
        finally:
            shutil.rmtree(scratch / "new", ignore_errors=True)
            with suppress(OSError):  # an older artefact that could not be moved back stays there
                scratch.rmdir()
    except OSError as error:
        problem = f"{target} cannot be written: {error.strerror or error}"
        raise ArtefactError(f"{problem}. Name another folder, or free some space.") from error


def _check_replaceable(folder: Path, name: Path) -> None:
    """Refuse a folder, called `name` in the message, that is neither new nor empty nor an artefact."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError("it is a file")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    if others := sorted(found - {*list_files(folder), FIGURES_FOLDER}):
        raise ArtefactError(f"{name} holds {others[0]}, which is no file of an artefact. Name a new folder.")
    # Many folders hold a README.md and nothing else.
    if found and (CONFIG_FILE not in found or b'"format_version"' not in (folder / CONFIG_FILE).read_bytes()):
        raise ArtefactError(f"{name} holds no {CONFIG_FILE} of an artefact. Name a new folder.")


def _put_in_place(new: Path, target: Path, old: Path) -> None:
    """Rename `new` to `target`; what was there becomes `old`, is checked again and then deleted."""
    if target.exists():
        target.rename(old)
    try:
        _check_replaceable(old, target)  # nobody adds a file to it any more
        new.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
