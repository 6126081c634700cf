"""Which source made an artefact.

Goes in: nothing but this package's own place. Comes out: a commit, marked where the tree differed from it.
"""

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def find_git_commit(package: Path = PACKAGE) -> str | None:
    """Commit of the source tree that a package runs from.

    Args:
        package: folder of the package, inside a checkout or inside an installation.

    Returns:
        The commit, with `-dirty` behind it where a tracked file differs from it or a Python file of the
        package is not tracked; None where the package is not part of a repository: an installation is not,
        even if its virtual environment lies inside a checkout of something else.
    """
    if not _run_git(package, "ls-files", "--", "__init__.py"):
        return None
    commit = _run_git(package, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _run_git(package, "status", "--porcelain", "--untracked-files=no", ":/")
    untracked = _run_git(package, "ls-files", "--others", "--exclude-standard", "--", "*.py")
    return f"{commit}-dirty" if changed or untracked else commit


def _run_git(folder: Path, *arguments: str) -> str:
    """What git prints; nothing where it fails or is not installed."""
    try:
        return subprocess.check_output(
            ["git", "-C", str(folder), *arguments], stderr=subprocess.DEVNULL, text=True
        ).strip()
    except (subprocess.CalledProcessError, FileNotFoundError):
        return ""
