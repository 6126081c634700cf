"""The one place that turns errors into a line on the terminal.

Goes in: whatever a command raises. Comes out: one line on stderr and an exit code, for what a person can
mend. A fault of this program keeps its traceback.
"""

import errno
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from serving.files.errors import UserError

errors = Console(stderr=True)


class CommandGroup(TyperGroup):
    """The commands of `tumor`, with one handler around all of them.

    Example:
        >>> app = typer.Typer(cls=CommandGroup)
    """

    def invoke(self, ctx: Any) -> Any:
        """Run a command; leave with one line where it cannot be done as asked, or a file cannot be used."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            _print_error(str(error))
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            # Who reads the output has left, as `head` does: Typer ends quietly.
            if error.errno == errno.EPIPE:
                raise
            _print_error(describe_os_error(error))
            raise typer.Exit(1) from error


def describe_os_error(error: OSError) -> str:
    """Say which file cannot be used, why, and what to do.

    Example:
        >>> describe_os_error(PermissionError(13, "Permission denied", "out.csv"))
        'out.csv cannot be used: Permission denied. Choose another place, or check its permissions.'
    """
    name = error.filename2 or error.filename or "A file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{name} cannot be written: the disk is full. Free some space, or choose another place."
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    return f"{name} cannot be used: {reason}. Choose another place, or check its permissions."


def _print_error(text: str) -> None:
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
