"""Volumes with and without masks: cut as the app shows them, described by a table or by their names."""

import csv
import gzip
import logging
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from serving.pictures.volumes import read_volume
from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.slices import Slice
from tumor_ds.sources.volume_choice import MAX_SLICES, MIN_TUMOUR_PIXELS, choose_slices
from tumor_ds.sources.volume_names import name_rows
from tumor_ds.sources.volumes import make_adapter

PLANES = ("axial", "coronal", "sagittal")
SCAN, MASK = "sub/scan.nii.gz", "sub/mask.nii.gz"
ROW = {
    "file": SCAN,
    "mask": MASK,
    "patient": "p1",
    "label": "glioma",
    "sequence": "T1C",
    "skull": "kept",
    "planes": "sagittal;axial;coronal",
}
OBLIQUE = np.array([[0.96, -0.28, 0, -20], [0.28, 0.96, 0, -30], [0, 0, 1, -10], [0, 0, 0, 1]])


def draw_head() -> np.ndarray:
    """int16 (40, 48, 36) in RAS: a head that is brighter to the right, with a tumour off its middle."""
    x, y, z = np.mgrid[:40, :48, :36]
    inside = ((x - 20) / 18) ** 2 + ((y - 24) / 22) ** 2 + ((z - 18) / 16) ** 2 < 1
    return np.where(draw_tumour() > 0, 1000, np.where(inside, 300 + 4 * x, 0)).astype(np.int16)


def draw_tumour() -> np.ndarray:
    """uint8 (40, 48, 36): 4 inside."""
    x, y, z = np.mgrid[:40, :48, :36]
    return np.where((x - 28) ** 2 + (y - 34) ** 2 + (z - 22) ** 2 < 36, 4, 0).astype(np.uint8)


def save(data: np.ndarray, path: Path, code: str = "RAS", affine: np.ndarray | None = None) -> None:
    image = nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine)
    target = nibabel.orientations.axcodes2ornt(code)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target)
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if affine is not None else image.as_reoriented(turn)).to_filename(path)


def write_table(folder: Path, *rows: dict[str, str]) -> None:
    with (folder / "volumes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_folder(folder: Path, code: str = "RAS", affine: np.ndarray | None = None, **cells: str) -> Path:
    save(draw_head(), folder / SCAN, code, affine)
    save(draw_tumour(), folder / MASK, code, affine)
    write_table(folder, ROW | cells)
    return folder


def read_all(folder: Path, source: str | None = None) -> list[Slice]:
    adapter = make_adapter(source)
    assert adapter.recognise(folder)
    return [piece for unit in adapter.list_units(folder) for piece in adapter.read_unit(folder, unit)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "mine")


def test_a_mask_lies_on_its_tumour_in_any_orientation(tmp_path):
    expected = read_all(make_folder(tmp_path / "RAS"))
    assert {piece.mask_known for piece in expected} == {"outlined", "empty"}
    for piece in expected:
        bright = piece.image > 200 if piece.tumor else np.zeros_like(piece.image)
        np.testing.assert_array_equal(piece.mask > 0, bright, err_msg=piece.filename)
    for code in ("LPS", "SPL", "ARI", "PIR"):
        found = read_all(make_folder(tmp_path / code, code))
        assert [piece.filename for piece in found] == [piece.filename for piece in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.mask, other.mask)


def test_an_oblique_volume_is_cut_along_its_own_axes_as_in_the_app(tmp_path):
    found = read_all(make_folder(tmp_path, affine=OBLIQUE))
    assert [piece.filename for piece in found] == [p.filename for p in read_all(make_folder(tmp_path / "x"))]
    assert all(np.array_equal(piece.mask > 0, piece.image > 200) for piece in found if piece.tumor)


def test_pictures_are_those_of_the_app(folder):
    shown = {plane: read_volume(folder / SCAN, plane).slices for plane in PLANES}
    for piece in read_all(folder):
        plane, number = piece.filename.partition("#")[2].split("_")
        np.testing.assert_array_equal(piece.image, shown[plane][int(number)])


def test_pixels_and_their_masks_become_square(tmp_path):
    folder = make_folder(tmp_path, affine=np.diag([1, 1, 3, 1.0]))
    coronal = [piece for piece in read_all(folder) if "#coronal" in piece.filename and piece.tumor]
    assert {piece.mask.shape for piece in coronal} == {(36 * 3, 40)}
    for piece in coronal:
        assert set(np.unique(piece.mask)) == {0, 255}
        bright, inside = piece.image > 200, piece.mask > 0
        assert (bright & inside).sum() > 0.9 * (bright | inside).sum()


def test_what_is_known_of_a_slice(folder):
    pieces = read_all(folder)
    assert {(p.label, p.tumor, p.mask_known) for p in pieces} == {
        ("glioma", True, "outlined"),
        (None, False, "empty"),
    }
    facts = {(p.source, p.sequence, p.skull, p.patient, p.fold) for p in pieces}
    assert facts == {("mine", "T1C", "kept", "p1", 0)}
    write_table(folder, ROW | {"label": "other_tumor", "fold": "3", "source": "abc"})
    assert {(p.label, p.tumor, p.fold, p.source) for p in read_all(folder)} == {
        (None, True, 3, "abc"),
        (None, False, 3, "abc"),
    }


@pytest.mark.parametrize(
    ("label", "known"),
    [
        ("glioma", ("glioma", True, "unknown")),
        ("other_tumor", (None, True, "unknown")),
        ("notumor", ("notumor", False, "empty")),
    ],
)
def test_without_a_mask_the_label_is_that_of_the_patient(folder, label, known):
    write_table(folder, ROW | {"label": label, "mask": ""})
    assert {(p.label, p.tumor, p.mask_known) for p in read_all(folder)} == {known}


def test_a_healthy_volume_may_have_an_empty_mask(folder):
    save(np.zeros((40, 48, 36), np.uint8), folder / MASK)
    write_table(folder, ROW | {"label": "notumor"})
    assert {(p.label, p.mask_known) for p in read_all(folder)} == {("notumor", "empty")}


def test_slices_come_in_one_order_and_twice_the_same(folder):
    first, again = read_all(folder), read_all(folder)
    names = [piece.filename for piece in first]
    assert names == sorted(names)
    assert names[0].startswith(f"{SCAN}#axial_0")
    assert [list(pickle.dumps(p)) for p in first] == [list(pickle.dumps(p)) for p in again]
    [unit] = make_adapter().list_units(folder)
    assert pickle.loads(pickle.dumps(unit)) == unit


def test_few_pixels_of_tumour_are_neither_and_counted(folder, caplog):
    with caplog.at_level(logging.INFO):
        pieces = read_all(folder)
    assert {np.count_nonzero(p.mask) >= MIN_TUMOUR_PIXELS for p in pieces if p.tumor} == {True}
    areas = np.count_nonzero(draw_tumour(), axis=(0, 1))
    few = np.count_nonzero((areas > 0) & (areas < MIN_TUMOUR_PIXELS))
    assert few
    assert f"{SCAN}: {few} axial slices with fewer than {MIN_TUMOUR_PIXELS} pixels" in caplog.text


def test_slices_are_thinned_evenly_and_those_with_tumour_apart():
    head = [0] * 10 + [100] * 100 + [49] * 10
    kept, left_out = choose_slices(head, [0] * 120)
    assert (kept[0], kept[-1], len(kept), left_out) == (10, 109, MAX_SLICES, 0)
    assert set(np.diff(kept)) == {9}
    kept, _ = choose_slices(head, [0] * 110 + [MIN_TUMOUR_PIXELS] * 3 + [0] * 7)
    assert kept[-3:] == [110, 111, 112]  # with tumour, however small the head is there
    assert len(kept) == MAX_SLICES + 3


def test_air_is_no_slice_even_where_it_is_not_dark(tmp_path):
    head = draw_head()
    noise = np.random.default_rng(0).integers(0, 20, head.shape)
    normalised = np.where(head > 0, head - 440.0, 0)
    for number, data in enumerate((head + noise, normalised)):
        folder = make_folder(tmp_path / str(number), mask="", label="notumor", planes="axial")
        save(data.astype(np.float32), folder / SCAN)
        numbers = [int(piece.filename[-3:]) for piece in read_all(folder)]
        assert 5 < min(numbers) < max(numbers) < 31


@pytest.mark.parametrize("code", ["RAS", "ASL", "LPI"])
def test_jaw_and_neck_are_no_slice(tmp_path, code):
    x, y, z = np.mgrid[:40, :40, :36]
    body = ((x - 20) ** 2 + (y - 20) ** 2 < 225) & (z < 34)
    image = nibabel.Nifti1Image((body * 500).astype(np.int16), np.diag([5, 5, 5, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(code)
    )
    image.as_reoriented(turn).to_filename(tmp_path / "a.nii")
    write_table(tmp_path, ROW | {"file": "a.nii", "mask": "", "label": "notumor"})
    numbers = [int(p.filename[-3:]) for p in read_all(tmp_path) if "#axial" in p.filename]
    assert (min(numbers), max(numbers)) == (7, 33)  # 130 mm


def test_without_planes_it_is_cut_as_it_was_taken(tmp_path):
    pieces = read_all(make_folder(tmp_path, affine=np.diag([1, 4, 1, 1.0]), planes=""))
    assert {piece.filename.split("#")[1][:7] for piece in pieces} == {"coronal"}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"sequence": "PD"}, "line 2: sequence 'PD', expected one of T1, T1C"),
        ({"label": "astrocytoma"}, "line 2: label 'astrocytoma', expected one of glioma"),
        ({"label": ""}, "line 2: no label"),
        ({"patient": " "}, "line 2: no patient"),
        ({"skull": "half"}, "line 2: skull 'half'"),
        ({"planes": "axial;oblique"}, "line 2: planes 'oblique'"),
        ({"fold": "6"}, "line 2: fold '6'"),
        ({"fold": "12"}, "line 2: fold '12'"),
        ({"colour": "red"}, "Rename or remove 'colour'"),
        ({"file": "sub/other.nii.gz"}, "line 2: file sub/other.nii.gz, and there is no such file"),
        ({"mask": "sub/other.nii.gz"}, "line 2: mask sub/other.nii.gz, and there is no such file"),
        ({"file": "../scan.nii.gz"}, "line 2: file '../scan.nii.gz', expected a path below"),
        ({"label": "notumor"}, "mask.nii.gz marks a tumour, and the label is notumor"),
        ({"file": "volumes.csv"}, "volumes.csv is no NIfTI file"),
    ],
)
def test_a_wrong_table_fails_by_line(folder, cells, message):
    write_table(folder, ROW | cells)
    with pytest.raises(DatasetError) as error:
        read_all(folder)
    assert message in str(error.value)


def test_tables_that_are_none(folder):
    for content, message in (
        ("file,patient\na,b\n", "Add label"),
        (f"file,patient,label\n{SCAN},p1,glioma,more\n", "line 2: more cells than columns"),
        ("file,patient,label\n", "has no row of a volume, but of nothing"),
    ):
        (folder / "volumes.csv").write_text(content)
        with pytest.raises(DatasetError, match=message):
            read_all(folder)
    (folder / "volumes.csv").write_bytes("file,patient,label\nä,b,c".encode("latin-1"))
    with pytest.raises(DatasetError, match="is not a CSV file in UTF-8"):
        read_all(folder)


def test_a_volume_is_named_once_and_a_patient_is_in_one_fold(folder):
    write_table(folder, ROW, ROW)
    with pytest.raises(DatasetError, match=r"scan\.nii\.gz is named 2 times"):
        read_all(folder)
    save(draw_head(), folder / "b.nii")
    write_table(folder, ROW | {"fold": "1"}, ROW | {"file": "b.nii", "fold": "2"})
    with pytest.raises(DatasetError, match="line 3: patient p1 is in fold 2 and in 1"):
        read_all(folder)


def test_rows_of_one_source(folder):
    save(draw_head(), folder / "b.nii")
    write_table(folder, ROW | {"source": "abc"}, ROW | {"file": "b.nii", "source": "ixi_small"})
    assert {piece.filename.partition("#")[0] for piece in read_all(folder, "ixi_small")} == {"b.nii"}
    with pytest.raises(DatasetError, match="has no row of nichart_elderly, but of abc, ixi_small"):
        read_all(folder, "nichart_elderly")


def test_damaged_volumes_and_masks_fail_by_name(folder):
    shifted, short = np.eye(4), draw_tumour()[:, :, :-1]
    shifted[0, 3] = 1
    four = np.stack([draw_head()] * 2, axis=-1)
    image = nibabel.Nifti1Image(draw_head(), np.eye(4)).to_bytes()
    cases = {
        "on another grid": lambda: save(draw_tumour(), folder / MASK, affine=shifted),
        "40 x 48 x 36 and 40 x 48 x 35 voxels": lambda: save(short, folder / MASK),
        "mask.nii.gz is empty": lambda: save(np.zeros_like(draw_tumour()), folder / MASK),
        "the first of 2": lambda: nibabel.Nifti1Image(four, np.eye(4)).to_filename(folder / SCAN),
        "scan.nii.gz is damaged or cut short": lambda: (folder / SCAN).write_bytes(
            gzip.compress(image)[:-20]
        ),
        "scan.nii.gz is cut short": lambda: (folder / SCAN).write_bytes(gzip.compress(image[:-20])),
        "scan.nii.gz is no NIfTI file": lambda: (folder / SCAN).write_bytes(b""),
        "of one grey level": lambda: save(np.ones_like(draw_head()), folder / SCAN),
    }
    for message, damage in cases.items():
        make_folder(folder)
        damage()
        with pytest.raises(DatasetError) as error:
            read_all(folder)
        assert message in str(error.value)
        assert str(error.value).startswith(f"volumes.csv, line 2: cannot read {SCAN}")


@pytest.mark.parametrize(
    ("source", "file", "mask", "expected"),
    [
        (
            "tiantan_pituitary",
            "1_Classifer/imagesTr_nii_gz/Pituitarytumor_135_0000.nii.gz",
            "1_Classifer/labelsTr_nii_gz/Pituitarytumor_135.nii.gz",
            ("t7", "T1C", "pituitary", "kept", ("coronal",)),
        ),
        (
            "tiantan_pituitary",
            "imagesTr_nii_gz/Pituitarytumor_1_0000.nii.gz",
            "labelsTr_nii_gz/Pituitarytumor_1.nii.gz",
            ("t1", "unknown", "pituitary", "kept", ("coronal",)),
        ),
        (
            "brats_samples",
            "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t2f.nii.gz",
            "BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz",
            ("BraTS-GLI-00001", "FLAIR", "glioma", "stripped", PLANES),
        ),
        (
            "brats_samples",
            "BraTS20_Training_001/BraTS20_Training_001_t1ce.nii",
            "BraTS20_Training_001/BraTS20_Training_001_seg.nii",
            ("BraTS20_Training_001", "T1C", "glioma", "stripped", PLANES),
        ),
        ("ixi_small", "IXI012-HH-1211-T1.nii.gz", "", ("IXI012", "T1", "notumor", "kept", PLANES)),
        ("nichart_elderly", "t1/Subj10_T1.nii.gz", "", ("Subj10", "T1", "notumor", "kept", PLANES)),
        ("nichart_elderly", "fl/Subj10_FL.nii.gz", "", ("Subj10", "FLAIR", "notumor", "kept", ("axial",))),
        (
            "ms_ljubljana",
            "cross_sectional/MNI/patient07/T1POST_N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz",
            "",
            ("cross-patient07", "T1C", "notumor", "stripped", PLANES),
        ),
        (
            "ms_ljubljana",
            "longitudinal/raw/patient01/study2_T1W.nii.gz",
            "",
            ("long-patient01", "T1", "notumor", "kept", ()),
        ),
    ],
)
def test_public_downloads_are_known_by_their_names(tmp_path, source, file, mask, expected):
    others = (
        "gt.nii.gz",
        "t1/Subj10_T1_DLMUSE.nii.gz",
        "IXI012-HH-1211-PD.nii.gz",
        "BraTS-MEN-00001-000-t1c.nii.gz",
    )
    assert not make_adapter(source).recognise(tmp_path)
    for name in (file, mask, *others):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    assert make_adapter(source).recognise(tmp_path)
    [row] = name_rows(tmp_path, source)
    assert (row.file, row.mask, row.source, row.fold) == (file, mask, source, 0)
    assert (row.patient, row.sequence, row.label, row.skull, row.planes) == expected


def test_a_download_without_a_mask_fails_and_a_table_goes_before_names(tmp_path):
    name = "BraTS-GLI-00001-000-t1c.nii.gz"
    save(draw_head(), tmp_path / name)
    with pytest.raises(
        DatasetError, match=r"mask BraTS-GLI-00001-000-seg\.nii\.gz, and there is no such file"
    ):
        read_all(tmp_path, "brats_samples")
    write_table(tmp_path, ROW | {"file": name, "mask": "", "patient": "mine"})
    assert {piece.patient for piece in read_all(tmp_path, "brats_samples")} == {"mine"}


def test_a_folder_without_a_table_is_not_recognised(tmp_path):
    assert not make_adapter().recognise(tmp_path)
    assert not make_adapter("feltrin44").recognise(tmp_path)


@pytest.mark.real_data
def test_a_real_head_is_cut_through_its_middle(real_data_dir, tmp_path):
    name = "nilearn_mni152_t1.nii.gz"
    (tmp_path / name).symlink_to((real_data_dir / "formats" / "nifti" / name).resolve())
    write_table(tmp_path, ROW | {"file": name, "mask": "", "label": "notumor", "skull": "stripped"})
    pieces = read_all(tmp_path)
    for plane in PLANES:
        shown = [piece.image for piece in pieces if f"#{plane}" in piece.filename]
        assert len(shown) == MAX_SLICES
        assert min((image > 60).mean() for image in shown) > 0.2
