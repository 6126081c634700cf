"""Checkpoints: whole or not there; the one before where the newest is damaged; a full disk said clearly."""

import contextlib
import errno
import json

import numpy as np
import pytest
from etils import epath

from serving.files import writing
from trainer.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path) -> epath.Path:
    return epath.Path(tmp_path / "checkpoints")


def save(folder: epath.Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(
            folder,
            step,
            {"weights/0": np.full((2, 3), step, np.float32), "steps": np.array(step)},
            {"epoch": step},
        )


def names(folder: epath.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded(folder):
    save(folder, 7)
    arrays, state, damaged = load_checkpoint(folder)
    np.testing.assert_array_equal(arrays["weights/0"], np.full((2, 3), 7))
    assert arrays["weights/0"].dtype == np.float32
    assert int(arrays["steps"]) == 7
    assert state == {"epoch": 7}
    assert damaged == []


def test_nothing_saved_is_nothing_loaded(folder):
    assert load_checkpoint(folder) == ({}, {}, [])


def test_the_newest_two_are_kept(folder):
    save(folder, 1, 9, 10)  # numbers sort as numbers
    assert names(folder) == [
        f"checkpoint-{step:09}.{suffix}" for step in (9, 10) for suffix in ("json", "npz")
    ]
    assert load_checkpoint(folder)[1] == {"epoch": 10}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_is_noticed_and_the_one_before_is_used(folder, share):
    save(folder, 1, 2)
    path = folder / "checkpoint-000000002.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    _, state, damaged = load_checkpoint(folder)
    assert state == {"epoch": 1}
    assert len(damaged) == 1
    assert "checkpoint-000000002 is damaged" in damaged[0]


def test_a_changed_byte_is_noticed(folder):
    save(folder, 1, 2)
    path = folder / "checkpoint-000000002.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert load_checkpoint(folder)[1] == {"epoch": 1}


@pytest.mark.parametrize("text", ["", "{", '{"state": {}}', "[]"])
def test_a_torn_manifest_is_noticed(folder, text):
    save(folder, 1, 2)
    (folder / "checkpoint-000000002.json").write_text(text)
    assert load_checkpoint(folder)[1] == {"epoch": 1}


@pytest.mark.parametrize("written", [0, 1])
def test_a_checkpoint_that_was_interrupted_does_not_count(folder, monkeypatch, written):
    """Killed before the first, or between the two files."""
    save(folder, 1)
    replace_whole = writing.replace_whole
    done = []

    @contextlib.contextmanager
    def stop_after(path):
        """As if killed there: half a temporary file stays, as no clean-up runs."""
        if len(done) == written:
            path.with_name(f"{path.name}.partial").write_bytes(b"half")
            raise KeyboardInterrupt
        done.append(path)
        with replace_whole(path) as partial:
            yield partial

    monkeypatch.setattr(writing, "replace_whole", stop_after)
    with pytest.raises(KeyboardInterrupt):
        save(folder, 2)
    monkeypatch.undo()
    assert load_checkpoint(folder)[1] == {"epoch": 1}
    save(folder, 2)
    assert load_checkpoint(folder)[1] == {"epoch": 2}


def test_all_damaged_is_said_for_each(folder):
    save(folder, 1, 2)
    for path in folder.glob("*.npz"):
        path.write_bytes(b"")
    arrays, state, damaged = load_checkpoint(folder)
    assert (arrays, state) == ({}, {})
    assert len(damaged) == 2


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_a_full_disk_is_an_error_and_keeps_what_is_there(folder, monkeypatch, suffix):
    save(folder, 1)
    before = names(folder)
    write = epath.Path.write_bytes
    gpath = type(folder)

    def fill(path, content):
        if suffix in path.name:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(gpath, "write_bytes", fill)
    with pytest.raises(
        CheckpointError, match=r"The disk is full.*still there: checkpoint-000000001"
    ) as caught:
        save(folder, 2)
    monkeypatch.undo()
    assert "run the same command again" in str(caught.value)
    assert [name for name in names(folder) if name.endswith("json")] == ["checkpoint-000000001.json"]
    assert set(before) <= set(names(folder))
    assert not any(name.endswith("partial") for name in names(folder))
    assert load_checkpoint(folder)[1] == {"epoch": 1}


def test_the_manifest_is_readable(folder):
    save(folder, 3)
    manifest = json.loads((folder / "checkpoint-000000003.json").read_text())
    assert manifest["step"] == 3
    assert len(manifest["sha256"]) == 64
