"""What all commands share: `~` in their arguments, names that a terminal cannot show, and their errors.

Goes in: a command line, and whatever a command raises. Comes out: arguments with the home folder in place of
`~`; one line on stderr and an exit code, for what a person can mend. A fault of this program keeps its
traceback.
"""

import errno
import io
import os
import sys
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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the home folder in place of `~`: a shell does so only at the start of a word."""
        return super().parse_args(ctx, [expand_home(argument) for argument in args])

    def invoke(self, ctx: Any) -> Any:
        """Run a command; leave with one line where it cannot be done as asked, or a file cannot be used."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A terminal of another encoding than a file's name shows it escaped, as stderr does anyway.
            sys.stdout.reconfigure(errors="backslashreplace")
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


def expand_home(argument: str) -> str:
    """Expand `~` and `~user` in an argument, and behind the `=` of an option or a setting.

    Example:
        >>> expand_home("--csv=~/out.csv") == f"--csv={os.path.expanduser('~')}/out.csv"
        True
        >>> expand_home("a~b.png")
        'a~b.png'
    """
    if argument.startswith("~"):
        return argument if os.path.lexists(argument) else os.path.expanduser(argument)
    name, equals, value = argument.rpartition("=~")
    return f"{name}={os.path.expanduser(f'~{value}')}" if equals else argument


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
