"""A file is whole or not there, whatever happens while it is written."""

import errno
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from serving.files.writing import cut_name, replace_whole, write_as_it_comes, write_json, write_whole


@pytest.mark.parametrize(
    "make", [lambda path: path, lambda path: epath.Path(str(path))], ids=["pathlib", "epath"]
)
@pytest.mark.parametrize("content", [b"\x00\xff", "Glióma\n"])
def test_what_is_written_is_read(tmp_path, make, content):
    write_whole(make(tmp_path / "file"), content)
    assert (tmp_path / "file").read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def stop_half_way(path):
    path.write_text("half of")
    raise KeyboardInterrupt


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("earlier")
    with pytest.raises(KeyboardInterrupt), replace_whole(path) as partial:
        stop_half_way(partial)
    assert path.read_text() == "earlier"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_nobody_sees_a_file_before_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with replace_whole(path) as partial:
        partial.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"


def test_a_folder_that_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        write_whole(tmp_path / "missing" / "file", "text")


def test_json_has_no_nan_and_an_earlier_file_stays(tmp_path):
    path = tmp_path / "numbers.json"
    write_json(path, {"a": [1, 2.5]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float(np.nan)})
    assert json.loads(path.read_text()) == {"a": [1, 2.5]}
    assert path.read_text().endswith("}\n")


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("there", "not_yet"):
        (tmp_path / name).symlink_to(Path("folder") / name)
    (tmp_path / "folder" / "there").write_text("earlier")
    for name in ("there", "not_yet"):
        write_whole(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "folder" / name).read_text() == "new"
    assert sorted(one.name for one in (tmp_path / "folder").iterdir()) == ["not_yet", "there"]


@pytest.mark.parametrize("make", [Path, epath.Path], ids=["pathlib", "epath"])
def test_a_pipe_is_written_through_and_stays(tmp_path, make):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        write_whole(make(str(pipe)), "content")
        assert read.result(timeout=20) == b"content"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_is_mounted_by_itself_is_replaced_in_place(tmp_path, monkeypatch, code):
    path = tmp_path / "file"
    path.write_text("a longer earlier content")
    number = path.stat().st_ino

    def refuse(self, target):
        raise OSError(code, os.strerror(code), str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    write_whole(path, "new")
    assert (path.read_text(), path.stat().st_ino) == ("new", number)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_file_in_a_folder_that_is_read_only_is_replaced_in_place(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("earlier")
    number = path.stat().st_ino
    # Who is root may write everywhere, so the folder is said to be read-only.
    may = os.access
    monkeypatch.setattr(os, "access", lambda one, mode: str(one) != str(tmp_path) and may(one, mode))
    write_whole(path, "new")
    assert (path.read_text(), path.stat().st_ino) == ("new", number)


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "脳" * 85])
def test_a_name_may_have_all_the_bytes_that_a_file_system_gives(tmp_path, name):
    write_whole(tmp_path / name, "content")
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("most", range(9))
def test_a_name_is_cut_by_bytes_and_between_characters(most):
    cut = cut_name("aé脳b", most)
    assert len(cut.encode()) <= most
    assert "aé脳b".startswith(cut)


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
def test_standard_output_gets_what_follows_what_was_printed(tmp_path, path):
    code = (
        "import sys; from pathlib import Path; from serving.files.writing import write_whole;"
        f"print('before'); write_whole(Path({path!r}), 'content\\n'); print('after')"
    )
    for out in (tmp_path / "redirected", None):
        with (out or Path(os.devnull)).open("wb") as file:
            finished = subprocess.run(
                [sys.executable, "-c", code], stdout=file if out else subprocess.PIPE, check=True
            )
        printed = out.read_bytes() if out else finished.stdout
        assert printed.split() == [b"before", b"content", b"after"]


def test_what_comes_is_seen_at_once(tmp_path):
    path = tmp_path / "file"

    def stop_half_way(stream):
        stream.write(b"half of")
        stream.flush()
        assert path.read_bytes() == b"half of"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), write_as_it_comes(path) as stream:
        stop_half_way(stream)
    assert path.read_bytes() == b"half of"
