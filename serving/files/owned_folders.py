"""Folders that this process made, and the only ones that it removes.

Goes in: where the new folder shall lie; later a path, which may come from a request. Comes out: a folder;
later its removal. What is removed is the remembered path, never the one that was handed in.
"""

import secrets
import shutil
from contextlib import suppress
from pathlib import Path


class OwnedFolders:
    """Makes folders and removes none but those that it made; safe to call from several threads.

    Example:
        >>> folders = OwnedFolders()
        >>> path = folders.make(Path.cwd())
        >>> folders.remove(path)
        True
        >>> folders.remove(path)  # not, or no longer, a folder of this process
        False
    """

    def __init__(self) -> None:
        self._made: dict[Path, tuple[Path, tuple[int, ...]]] = {}

    def __contains__(self, path: Path) -> bool:
        """Tell whether a path is, letter for letter, that of a folder made here and not removed since."""
        return path in self._made

    def make(self, parent: Path, prefix: str = "") -> Path:
        """Make a folder with a name that cannot be guessed; no other user of the machine may open it.

        Raises:
            OSError: it cannot be made.
        """
        path = parent / f"{prefix}{secrets.token_urlsafe(24)}"
        path.mkdir(mode=0o700)
        self._made[path] = path, _identify(path)
        return path

    def remove(self, path: Path) -> bool:
        """Remove a folder with all that it holds, and forget it; links in it are removed, not followed.

        Returns:
            False, and nothing is removed, where this object did not make the folder, or where another folder
            or a link has taken its place.
        """
        made = self._made.pop(path, None)
        with suppress(OSError):  # it is gone already
            if made is not None and _identify(made[0]) == made[1]:
                shutil.rmtree(made[0], ignore_errors=True)
                return True
        return False


def _identify(path: Path) -> tuple[int, ...]:
    # The mode too: a link, or a folder of somebody else's, may get the number of a folder that is gone.
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_mode
