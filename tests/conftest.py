"""Shared fixtures: the real collection, where present, and datasets built of it or of dummy data."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
DUMMY_DATA = ROOT / "tumor_ds" / "dummy_data"
DUMMY_COUNTS = {
    (split, label): count
    for split, count in (("Training", 10), ("Testing", 2))
    for label in ("glioma", "meningioma", "notumor", "pituitary")
}

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
# Without these a browser asks its maker's hosts for updates while a test counts requests.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

BuildDataset = Callable[..., Path]
DigestExamples = Callable[[Path], dict[str, list[str]]]
MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def dummy_data_dir() -> Path:
    """Folder with the synthetic collection (40 training, 8 test JPEGs) in Kaggle's layout."""
    return DUMMY_DATA


@pytest.fixture(scope="session")
def dummy_counts() -> Mapping[tuple[str, str], int]:
    """Number of dummy images by (split folder, label)."""
    return DUMMY_COUNTS


@pytest.fixture(scope="session")
def build_dataset() -> BuildDataset:
    """A function that builds a dataset and gives `data_dir`.

    Further arguments go to the builder.
    """

    def build(
        manual_dir: Path | None,
        data_dir: Path,
        expected_counts: Mapping[tuple[str, str], int] = DUMMY_COUNTS,
        config: str = "official",
        **more: Any,
    ) -> Path:
        import tensorflow_datasets as tfds

        from tumor_ds import Builder

        with mock.patch.object(Builder, "EXPECTED_COUNTS", expected_counts):
            builder = Builder(config=config, data_dir=data_dir, **more)
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
        return data_dir

    return build


@pytest.fixture(scope="session")
def digest_examples() -> DigestExamples:
    """A function that gives, by tfrecord file, the sha256 of every stored example in the order on disk.

    Protobuf draws the order of an example's features anew in every process, and TFDS writes them as they
    come; so files are compared example by example, with the features sorted, rather than byte by byte.
    """

    def digest(data_dir: Path) -> dict[str, list[str]]:
        import tensorflow as tf

        found = {}
        for path in sorted(data_dir.rglob("*.tfrecord*")):
            examples = (
                tf.train.Example.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(path))
            )
            found[path.relative_to(data_dir).as_posix()] = [
                hashlib.sha256(example.SerializeToString(deterministic=True)).hexdigest()
                for example in examples
            ]
        return found

    return digest


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """A function `make_once(name, make)`: a folder that `make(folder)` fills, once for all workers.

    The folder is read only.
    """
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    common = tmp_path_factory.getbasetemp().parent if is_worker else tmp_path_factory.getbasetemp()

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = common / name, common / f"{name}_is_made"
        with FileLock(common / f"{name}.lock"):
            if not made.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException:  # the next worker starts afresh, and tells the reason itself
                    shutil.rmtree(folder)
                    raise
                made.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def dummy_dataset_dir(build_dataset: BuildDataset, make_once: MakeOnce) -> Path:
    """Data directory with tumor_ds/official of the dummy data: 36 train, 4 validation, 8 test; read only."""
    return make_once("dummy_dataset", partial(build_dataset, DUMMY_DATA))


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """Folder that holds Kaggle's zip; skips where it is absent."""
    folder = Path(os.environ.get("TUMOR_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "brain-tumor-mri-dataset.zip").is_file() and not (folder / "Training").is_dir():
        pytest.skip(f"real data not found in {folder}; set TUMOR_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def real_dataset_dir(real_data_dir: Path, build_dataset: BuildDataset, make_once: MakeOnce) -> Path:
    """Data directory with tumor_ds/official of the real collection; read only."""
    from tumor_ds import Builder

    return make_once(
        "real_dataset", lambda folder: build_dataset(real_data_dir, folder, Builder.EXPECTED_COUNTS)
    )


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium of the system."""
    if CHROMIUM is None:
        pytest.skip(
            "no Chromium found; install it to run the browser tests (Debian: apt-get install chromium)"
        )
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()
