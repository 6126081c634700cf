"""The builder on Kaggle's own collection: every count that the README publishes, and TFDS's command line."""

import csv
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.make_groups import join_rows
from tumor_ds.collection.archive import find_source, open_collection
from tumor_ds.grouping.duplicates import Duplicates, find_duplicates, match_twins
from tumor_ds.grouping.facts import GROUPS_CSV

pytestmark = pytest.mark.real_data

ROOT = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_SECONDS = 900
LABELS = ("glioma", "meningioma", "notumor", "pituitary")

DigestExamples = Callable[[Path], dict[str, list[str]]]


@pytest.fixture(scope="module")
def records(real_dataset_dir: Path) -> dict[str, list[dict]]:
    """All records by split; the image as shape, dtype and bytes."""
    import tensorflow_datasets as tfds

    import tumor_ds  # noqa: F401  registers the builder

    datasets = tfds.load("tumor_ds/official", data_dir=real_dataset_dir, shuffle_files=False)
    found: dict[str, list[dict]] = {}
    for split, dataset in datasets.items():
        found[split] = []
        for record in tfds.as_numpy(dataset):
            image = record.pop("image")
            found[split].append(
                record
                | {
                    "shape": image.shape,
                    "dtype": image.dtype,
                    "has_contrast": image.min() < image.max(),
                    "pixels": image.tobytes(),
                }
            )
    return found


def test_sizes_of_the_splits(records):
    assert {split: len(rows) for split, rows in records.items()} == {
        "train": 5141,
        "validation": 571,
        "test": 1311,
    }
    assert len(records["train"]) + len(records["validation"]) == 5712


def test_counts_by_label_and_split(records):
    counts = {
        split: {LABELS[label]: count for label, count in Counter(row["label"] for row in rows).items()}
        for split, rows in records.items()
    }
    assert counts == {
        "train": {"glioma": 1189, "meningioma": 1206, "notumor": 1435, "pituitary": 1311},
        "validation": {"glioma": 132, "meningioma": 133, "notumor": 160, "pituitary": 146},
        "test": {"glioma": 300, "meningioma": 306, "notumor": 405, "pituitary": 300},
    }


def test_leak_table_of_the_readme(records):
    train = records["train"] + records["validation"]
    train_pixels, train_groups = {row["pixels"] for row in train}, {row["group"] for row in train}
    rows = {
        "all": lambda row: True,
        "pixel-identical to a training image": lambda row: row["pixels"] in train_pixels,
        "a training image up to a flip or a turn (`has_train_twin`)": lambda row: row["has_train_twin"],
        "unseen pictures (`not has_train_twin`)": lambda row: not row["has_train_twin"],
        "of a group without any training image": lambda row: row["group"] not in train_groups,
    }
    readme = (ROOT / "tumor_ds" / "README.md").read_text()
    for name, belongs in rows.items():
        counts = Counter(LABELS[row["label"]] for row in records["test"] if belongs(row))
        cells = " | ".join(f"{count:,}" for count in (*(counts[label] for label in LABELS), counts.total()))
        assert f"| {name} | {cells} |" in readme


def test_label_and_split_agree_with_the_folder(records):
    for split, rows in records.items():
        for row in rows:
            folder, label, _ = row["filename"].decode().split("/")
            assert label == LABELS[row["label"]]
            assert folder == ("Testing" if split == "test" else "Training")


def test_every_file_occurs_once(records):
    assert len({row["filename"] for rows in records.values() for row in rows}) == 7023


def test_test_images_with_a_train_twin(records):
    twins = Counter(LABELS[row["label"]] for row in records["test"] if row["has_train_twin"])
    assert twins == {"glioma": 81, "meningioma": 289, "notumor": 403, "pituitary": 219}
    assert twins.total() == 992
    assert not any(row["has_train_twin"] for split in ("train", "validation") for row in records[split])


def test_no_group_in_both_train_and_validation(records):
    train = {row["group"] for row in records["train"]}
    validation = {row["group"] for row in records["validation"]}
    assert not train & validation
    assert len(validation) == 105


def test_test_images_of_unseen_groups(records):
    """The 319 test images without a twin are unseen pictures, not patients: 10 are of unseen groups."""
    training = {row["group"] for split in ("train", "validation") for row in records[split]}
    assert sum(row["group"] not in training for row in records["test"]) == 10


def test_pictures_are_grey_bytes_with_content(records):
    for rows in records.values():
        for row in rows:
            assert row["dtype"] == np.uint8
            assert len(row["shape"]) == 3
            assert row["shape"][2] == 1
            assert row["has_contrast"], row["filename"]


# What the pixels say


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with GROUPS_CSV.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(real_data_dir: Path, rows: list[dict[str, str]]) -> Duplicates:
    with open_collection(find_source(real_data_dir)) as collection:
        assert set(collection.paths) == {row["path"] for row in rows}
        return find_duplicates(collection.read_grey(row["path"]) for row in rows)


@pytest.fixture(scope="module")
def in_testing(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([row["path"].startswith("Testing/") for row in rows])


def count_labels(rows: list[dict[str, str]], chosen: np.ndarray) -> Counter:
    return Counter(rows[index]["path"].split("/")[1] for index in np.flatnonzero(chosen))


def test_pixel_identical_test_images(found: Duplicates, rows: list[dict[str, str]], in_testing: np.ndarray):
    identical = in_testing & np.isin(found.identical, found.identical[~in_testing])
    assert count_labels(rows, identical) == {"meningioma": 106, "notumor": 105, "pituitary": 5}


def test_test_images_with_a_near_twin_are_those_of_groups_csv(
    found: Duplicates, rows: list[dict[str, str]], in_testing: np.ndarray
):
    twins = match_twins(found, in_testing, ~in_testing)
    assert count_labels(rows, twins.partner >= 0) == {
        "glioma": 81,
        "meningioma": 289,
        "notumor": 403,
        "pituitary": 219,
    }
    assert [bool(row["train_twin"]) for row in rows] == (twins.partner >= 0).tolist()


def test_every_pair_of_groups_csv_is_found_with_its_transform(found: Duplicates, rows: list[dict[str, str]]):
    place = {row["path"]: index for index, row in enumerate(rows)}
    pairs = found.pairs
    transforms = dict(
        zip(
            zip(pairs.first.tolist(), pairs.second.tolist(), strict=True),
            pairs.transform.tolist(),
            strict=True,
        )
    )
    with_twin = [row for row in rows if row["train_twin"]]
    assert len(with_twin) == 992
    for row in with_twin:
        first, second = sorted(
            (found.identical[place[row["path"]]], found.identical[place[row["train_twin"]]])
        )
        assert (0 if first == second else transforms[first, second]) == int(row["twin_transform"]), row[
            "path"
        ]


def test_no_computed_group_mixes_patients_of_two_folds(found: Duplicates, rows: list[dict[str, str]]):
    folds: dict[int, set[str]] = {}
    for group, row in zip(found.groups.tolist(), rows, strict=True):
        folds.setdefault(group, set()).add(row["patient_fold"])
    assert [group for group, known in folds.items() if len(known - {""}) > 1] == []
    assert len(folds) == 3470


def test_no_twins_in_two_groups_of_groups_csv(found: Duplicates, rows: list[dict[str, str]]):
    """Joining them once more, as `make_groups.py` does, changes nothing."""
    assert join_rows(rows, found.groups) == rows
    assert len({row["group"] for row in rows}) == 993


# The command line of TFDS


# Runs a console script and writes CPU seconds and peak resident kilobytes. `ru_maxrss` would count the parent
# before the exec.
MEASURE = """
import pathlib, re, runpy, sys, time
out, *sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1)
    pathlib.Path(out).write_text(f"{time.process_time()} {peak}")
"""


def test_the_tfds_command_line_builds_the_same_dataset(
    real_data_dir: Path, real_dataset_dir: Path, digest_examples: DigestExamples, tmp_path: Path
):
    tfds = Path(sys.executable).with_name("tfds")
    build = [
        str(tfds),
        "build",
        "tumor_ds",
        "--config",
        "official",
        "--manual_dir",
        str(real_data_dir.resolve()),
        "--data_dir",
        str(tmp_path),
    ]
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "cost"), *build]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    cpu_seconds, kilobytes = map(float, (tmp_path / "cost").read_text().split())
    assert cpu_seconds < 60
    assert kilobytes < 1_500_000
    expected = digest_examples(real_dataset_dir)
    assert sum(len(examples) for examples in expected.values()) == 7023
    built = digest_examples(tmp_path)
    assert built.keys() == expected.keys()
    for name in expected:
        assert built[name] == expected[name], f"{name} differs between two builds"
