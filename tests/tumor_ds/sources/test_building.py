"""From slices to splits: whole patients, copies in one group, figshare's groups, and Beam."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tumor_ds import LABELS, Builder
from tumor_ds.grouping.facts import load_facts
from tumor_ds.sources.building import plan_splits
from tumor_ds.sources.slices import Adapter, Slice, deal_fold

# Slices of one unit: file name, patient, fold, seed of the picture; a negative seed is its mirror image.
Unit = list[tuple[str, str, int, int]]


def make_adapter(units: list[Unit]) -> Adapter:
    def read(_: Path, number: int) -> list[Slice]:
        from PIL import Image

        slices = []
        for filename, patient, fold, seed in units[number]:
            noise = np.random.default_rng(abs(seed)).integers(30, 200, (7, 7), dtype=np.uint8)
            image = np.asarray(Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC))
            image = image[:, ::-1] if seed < 0 else image
            slices.append(Slice(filename, image, "glioma", True, "mine", "T1C", "kept", patient, fold))
        return slices

    return Adapter(lambda folder: True, lambda folder: list(range(len(units))), read)


def place(units: list[Unit], name: str = "mine") -> dict[str, tuple[int, int]]:
    """Group and fold of each slice."""
    splits = plan_splits(name, make_adapter(units), Path())
    placed = {}
    for split, parts in splits.items():
        for part in parts:
            placed |= part.slices
            assert {f"fold{fold}" for _, fold in part.slices.values()} == {split}
    assert len(placed) == sum(map(len, units))
    return placed


def test_slices_of_one_patient_share_group_and_fold():
    placed = place([[("a1", "a", 0, 1), ("b1", "b", 0, 2)], [("a2", "a", 0, 3)]])
    assert placed["a1"] == placed["a2"]
    assert placed["a1"][0] != placed["b1"][0]
    assert placed["b1"][1] == deal_fold("b")


def test_a_mirrored_copy_under_another_patient_joins_the_two():
    """The fold is that of most of their slices."""
    placed = place([[("a1", "a", 2, 1)], [("b1", "b", 4, -1), ("b2", "b", 4, 2)], [("c1", "c", 2, 3)]])
    assert placed["a1"] == placed["b1"] == placed["b2"]
    assert placed["a1"][1] == 4
    assert placed["c1"][0] != placed["a1"][0]


def test_a_tie_goes_to_the_lower_fold():
    placed = place([[("a1", "a", 5, 1), ("b1", "b", 3, -1)]])
    assert {fold for _, fold in placed.values()} == {3}


def test_groups_of_two_sources_and_of_the_collection_differ():
    units = [[("a1", "a", 0, 1), ("b1", "b", 0, 2)]]
    groups = [{group for group, _ in place(units, name).values()} for name in ("lgg_tcga", "nins")]
    assert not groups[0] & groups[1]
    assert not {row.group for row in load_facts().values()} & (groups[0] | groups[1])
    assert max(groups[0] | groups[1]) < 2**63


def test_slices_of_figshare_have_the_groups_of_the_collection():
    row = load_facts()["Testing/glioma/Te-glTr_0000.jpg"]
    name = f"{row.figshare_slice:04d}_T1C.jpg"
    placed = place([[(name, "x", row.patient_fold, 1)]], "figshare")
    assert placed[name] == (row.group, row.patient_fold)


def test_folds_without_a_slice_are_left_out():
    assert list(plan_splits("mine", make_adapter([[("a1", "a", 4, 1)]]), Path())) == ["fold4"]


def test_every_source_is_a_config(tmp_path: Path):
    from tumor_ds.sources.catalogue import SOURCES

    assert set(SOURCES) < set(Builder.builder_configs)
    info = Builder(config="lgg_tcga", data_dir=tmp_path).info
    assert info.features["label"].names == list(LABELS)
    assert "FLAIR" in info.description
    assert "Buda" in info.citation
    assert info.homepage.startswith("https://www.kaggle.com/")


class TestAsTfdsUsersDo:
    """Loading, slicing, data frames and random access of a source."""

    @pytest.fixture
    def data_dir(self, gathered_dir: Path, build_dataset: Callable[..., Path], tmp_path: Path) -> Path:
        return build_dataset(gathered_dir, tmp_path / "data", config="gathered")

    def test_slices_of_splits(self, data_dir: Path):
        both = tfds.load("tumor_ds/gathered", split="fold1+fold2[:50%]", data_dir=data_dir)
        assert len(both) == 4 + 1

    def test_a_data_frame(self, data_dir: Path):
        dataset, info = tfds.load("tumor_ds/gathered", split="fold1", data_dir=data_dir, with_info=True)
        frame = tfds.as_dataframe(dataset, info)
        assert len(frame) == 4
        assert {"image", "mask", "mask_known", "label", "tumor", "sequence"} < set(frame.columns)

    def test_random_access_by_array_record(
        self, gathered_dir: Path, build_dataset: Callable[..., Path], tmp_path: Path
    ):
        folder = build_dataset(
            gathered_dir, tmp_path / "array", config="gathered", file_format="array_record"
        )
        source = tfds.data_source("tumor_ds/gathered", split="fold1", data_dir=folder)
        assert len(source) == 4
        assert source[0]["mask"].shape == source[0]["image"].shape


@pytest.mark.parametrize("config", ["gathered", "folder"])
def test_beam_stores_the_same_records(
    gathered_dir: Path,
    dummy_data_dir: Path,
    build_dataset: Callable[..., Path],
    digest_examples,
    tmp_path: Path,
    config: str,
):
    """Two processes of the direct runner; TFDS sorts records by key either way."""
    import apache_beam as beam

    folder = {"gathered": gathered_dir, "folder": dummy_data_dir}[config]
    plain = build_dataset(folder, tmp_path / "plain", config=config)
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    )
    builder = Builder(config=config, data_dir=tmp_path / "beam")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=folder, beam_options=options)
    )
    one, two = digest_examples(plain), digest_examples(tmp_path / "beam")
    assert {name: sorted(rows) for name, rows in one.items()} == {
        name: sorted(rows) for name, rows in two.items()
    }


def test_the_readme_counts_as_the_catalogue_does():
    from tumor_ds.sources.catalogue import SOURCES

    text = (Path(__file__).parents[3] / "tumor_ds" / "README.md").read_text(encoding="utf-8")
    kinds = ("glioma", "meningioma", "notumor", "pituitary", "other_tumor", "no_tumor_in_slice")
    for name, source in SOURCES.items():
        counts = " | ".join(f"{source.counts[kind]:,}" if kind in source.counts else "" for kind in kinds)
        assert f"| `{name}` | {source.title} | {counts} | {source.licence} |" in text
