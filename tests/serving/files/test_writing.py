"""A file is whole or not there, whatever happens while it is written."""

import json

import numpy as np
import pytest
from etils import epath

from serving.files.writing import replace_whole, write_json, write_whole


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
