import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serving.cli.terminal import CommandGroup, expand_home
from serving.files.errors import ImageError, UserError


class LocatedError(UserError):
    exit_code = 3


def run(error: Exception):
    app = typer.Typer(cls=CommandGroup)

    @app.command()
    def fail() -> None:
        raise error

    # With one command alone Typer would make no group.
    app.command()(lambda: None)
    return CliRunner().invoke(app, ["fail"])


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("Say [this]."), 1), (ImageError("Say [this]."), 1), (LocatedError("Say [this]."), 3)],
)
def test_what_a_person_can_mend_is_one_line(error, code):
    result = run(error)
    assert result.exit_code == code
    assert result.stderr == "Say [this].\n"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out.csv"),
            "out.csv cannot be written: the disk is full. Free some space, or choose another place.\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "out.csv"),
            "out.csv cannot be used: Permission denied. Choose another place, or check its permissions.\n",
        ),
        (
            FileExistsError(errno.EEXIST, "File exists", "from", None, "to"),
            "to cannot be used: File exists. Choose another place, or check its permissions.\n",
        ),
        (
            OSError("half a line"),
            "A file cannot be used: half a line. Choose another place, or check its permissions.\n",
        ),
    ],
)
def test_file_that_cannot_be_used_is_one_line(error, line):
    result = run(error)
    assert result.exit_code == 1
    assert result.stderr == line
    assert result.stdout == ""


def test_reader_that_has_left_is_told_nothing():
    result = run(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.output) == (1, "")


def test_fault_of_the_program_keeps_its_traceback():
    fault = KeyError("fault")
    result = run(fault)
    assert result.exception is fault
    assert result.exc_info[2] is not None
    code = (
        "import typer; from serving.cli.terminal import CommandGroup; app = typer.Typer(cls=CommandGroup);"
        " app.command('a')(lambda: 1 / 0); app.command('b')(lambda: None); app(['a'])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr
    assert "ZeroDivisionError" in shown.stderr


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--out=~/a/b", "HOME/a/b"),
        ("--setting=data.dir=~/a", "data.dir=HOME/a"),
        ("data.dir=~/a", "data.dir=HOME/a"),
        ("~", "HOME"),
        ("~/*.png", "HOME/*.png"),
        ("a~b", "a~b"),
        ("x=a~b", "x=a~b"),
        ("~nobody-of-this-name/a", "~nobody-of-this-name/a"),
    ],
)
def test_home_is_put_in_place_of_a_tilde(tmp_path, monkeypatch, argument, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    app = typer.Typer(cls=CommandGroup)

    @app.command()
    def see(words: list[str], out: Path | None = None, setting: str = "") -> None:
        seen.extend([*words, *filter(None, (out, setting))])

    app.command()(lambda: None)
    words = [argument] if argument.startswith("--") else ["see-me", argument]
    result = CliRunner().invoke(app, ["see", *(["word"] if argument.startswith("--") else []), *words])
    assert result.exit_code == 0, result.output
    assert str(seen[-1]) == value.replace("HOME", str(tmp_path))


def test_a_file_whose_name_is_a_tilde_is_meant_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").touch()
    assert expand_home("~") == "~"
