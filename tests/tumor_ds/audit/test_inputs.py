"""What an audit across sources reads: a built dataset says what the pictures say that it was built from."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from rich.progress import Progress

from tests.tumor_ds.audit.draw_sources import save, write_classes, write_sources
from tumor_ds.audit.inputs import PictureFacts, Shown, is_table_of_sources, read_pictures
from tumor_ds.collection.errors import DatasetError
from tumor_ds.collection.versions import LABELS
from tumor_ds.sources.slices import MASK_STATES, SEQUENCES, SKULLS

PICTURE = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
# Of the record of this package those that an audit reads.
FEATURES = {
    "image": PICTURE,
    "label": tfds.features.ClassLabel(names=LABELS),
    "tumor": tfds.features.Scalar(np.int64),
    "filename": tfds.features.Text(),
    "source": tfds.features.Text(),
    "sequence": tfds.features.ClassLabel(names=SEQUENCES),
    "skull": tfds.features.ClassLabel(names=SKULLS),
    "patient": tfds.features.Text(),
    "mask": PICTURE,
    "mask_known": tfds.features.ClassLabel(names=MASK_STATES),
}


def read(name: str, thing) -> list[Shown]:
    unreadable: list[tuple[str, str]] = []
    shown = list(read_pictures(name, thing, Progress(disable=True), unreadable))
    assert unreadable == []
    return shown


def build(shown: list[Shown], folder: Path, leave_out: tuple[str, ...] = ()):
    """Store pictures as TFDS does: half of them in each of two splits."""
    records = []
    for one in shown:
        facts = one.facts
        mask = np.zeros_like(one.image) if one.mask is None else one.mask
        state = "unknown" if one.mask is None else "outlined" if mask.any() else "empty"
        record = {
            "image": one.image[..., None],
            "label": LABELS.index(facts.label) if facts.label else -1,
            "tumor": {True: 1, False: 0, None: -1}[facts.tumor],
            **{name: getattr(facts, name) for name in ("filename", "source", "sequence", "skull")},
            "patient": facts.patient or "",
            "mask": mask[..., None],
            "mask_known": state,
        }
        records.append({name: value for name, value in record.items() if name not in leave_out})
    features = {name: value for name, value in FEATURES.items() if name not in leave_out}
    return tfds.dataset_builders.store_as_tfds_dataset(
        name="drawn",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"fold1": list(enumerate(records[::2])), "fold2": list(enumerate(records[1::2]))},
        data_dir=str(folder),
    )


def test_a_built_dataset_says_what_its_table_says(tmp_path):
    table = {one.facts.filename: one for one in read("drawn", write_sources(tmp_path / "table"))}
    built = {one.facts.filename: one for one in read("drawn", build([*table.values()], tmp_path / "tfds"))}
    assert built.keys() == table.keys()
    for name, one in table.items():
        there = built[name]
        assert there.facts.kind == one.facts.kind
        assert vars(there.facts) | {"folder": ""} == vars(one.facts) | {"folder": ""}
        assert np.array_equal(there.image, one.image)
        assert (there.mask is None) == (one.mask is None)
        assert one.mask is None or np.array_equal(there.mask, one.mask)


def test_a_dataset_without_sources_is_refused(tmp_path):
    built = build(read("drawn", write_sources(tmp_path / "table")), tmp_path / "tfds", leave_out=("source",))
    with pytest.raises(DatasetError, match=r"built by an earlier version .* Build it anew"):
        read("drawn", built)


def test_folders_that_are_no_label_keep_their_name(tmp_path):
    folder = write_classes(tmp_path / "classes")
    (folder / "glioma").rename(folder / "cat")
    shown = read("mine", folder)
    assert {(one.facts.kind, one.facts.label, one.facts.tumor) for one in shown} == {("cat", None, None)}
    assert not is_table_of_sources(folder)


def test_masks_beside_pictures_are_read(tmp_path):
    folder = write_classes(tmp_path / "classes")
    mask = np.zeros((48, 40), np.uint8)
    mask[10:20, 5:9] = 255
    save(folder / "glioma" / "m0_mask.png", mask)
    masks = {one.facts.filename: one.mask for one in read("mine", folder)}
    assert np.array_equal(masks.pop("glioma/m0.png"), mask)
    assert set(masks.values()) == {None}


@pytest.mark.parametrize(
    ("label", "tumor", "kind"),
    [
        ("glioma", True, "glioma"),
        (None, True, "other tumour"),
        (None, False, "tumour not in slice"),
        (None, None, "unknown"),
    ],
)
def test_the_class_in_words(label, tumor, kind):
    assert PictureFacts("mine", "mine", "a.png", label, tumor).kind == kind


@pytest.mark.real_data
def test_figshare_is_in_kaggles_collection_and_no_other_source_is(real_data_dir):
    """All 3,064 slices, of which 1,401 are there only mirrored; 4,750 files of the collection."""
    from tumor_ds.audit.between import count_between
    from tumor_ds.collection.archive import find_source
    from tumor_ds.grouping.duplicates import find_duplicates

    sources = real_data_dir / "sources"
    if not is_table_of_sources(sources):
        pytest.skip(f"no table of sources in {sources}")
    facts: list[PictureFacts] = []

    def stream():
        for name, thing in (("sources", sources), ("kaggle", find_source(real_data_dir))):
            for one in read_pictures(name, thing, Progress(disable=True), []):
                facts.append(one.facts)
                yield one.image

    duplicates = find_duplicates(stream())
    copies = count_between(duplicates, facts, [one.source for one in facts], with_pairs=False)
    found = {(one.of, one.among): one.count for one in copies if one.count.near}
    assert {pair: count.near for pair, count in found.items()} == {
        ("figshare", "kaggle"): 3064,
        ("kaggle", "figshare"): 4750,
    }
    assert found["kaggle", "figshare"].transforms == {"none": 1686, "left-right": 3064}
