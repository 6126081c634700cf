"""`tumor predict` with a model that outlines what is bright."""

import csv
import io
import json

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image
from typer.testing import CliRunner

from serving.app.views import EXAMPLES
from serving.cli.pictures import PictureWriter
from tests.bad_volumes import make_dicom, save_dicom
from tests.bright_map import BRIGHT, load_bright_classifier
from trainer.cli.main import app

SIDE = 160


@pytest.fixture(scope="module")
def bright():
    return load_bright_classifier(refuses=False)


@pytest.fixture
def predict(bright, monkeypatch):
    """Run `tumor predict` and give its rows."""
    monkeypatch.setattr("serving.cli.commands.from_pretrained", lambda model, revision: bright)

    def predict(*arguments) -> list[dict]:
        result = CliRunner().invoke(app, ["predict", *map(str, arguments), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return predict


def draw_slice(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A grey slope with a bright box that has a hole, uint8 (h, w)."""
    grey = np.broadcast_to(np.arange(width) % 150, (height, width)).astype(np.uint8)
    grey[40:90, 30:100] = 255
    grey[60:70, 50:60] = 20
    return grey


def read_mask(path: str) -> np.ndarray:
    with Image.open(path) as mask:
        return np.asarray(mask)


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (SIDE, 120), (110, SIDE)])
def test_mask_is_what_is_bright_in_the_size_of_the_picture(predict, tmp_path, shape):
    grey = draw_slice(*shape)
    Image.fromarray(grey).save(tmp_path / "slice.png")
    [row] = predict(tmp_path / "slice.png", "--outlines", tmp_path / "masks")
    mask = read_mask(row["mask"])
    np.testing.assert_array_equal(mask, np.where(grey >= BRIGHT, 255, 0))
    assert (row["outlines"]["type"], row["area_mm2"]) == ("MultiPolygon", None)
    [polygon] = row["outlines"]["coordinates"]
    around, hole = (np.array(ring) for ring in polygon)
    assert (around[0] == around[-1]).all()
    np.testing.assert_allclose([around.min(axis=0), around.max(axis=0)], [[30, 40], [100, 90]], atol=0.5)
    np.testing.assert_allclose([hole.min(axis=0), hole.max(axis=0)], [[50, 60], [60, 70]], atol=0.5)


def test_masks_never_collide_and_long_names_are_cut(predict, tmp_path):
    for name in ("a/slice.png", "b/slice.png", "c/" + "脑" * 80 + ".png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(draw_slice()).save(tmp_path / name)
    rows = predict(*(tmp_path / name for name in "abc"), "--outlines", tmp_path / "masks")
    assert sorted(row["mask"] for row in rows) == sorted(map(str, (tmp_path / "masks").iterdir()))
    assert len({row["mask"] for row in rows}) == 3


def test_nothing_of_the_name_leads_out_of_the_folder(tmp_path):
    writer = PictureWriter("pad", None, tmp_path)
    written = [writer.write_volume(name, b"") for name in ("../../x.nii.gz", "..", "a\0b.nii", "/")]
    assert sorted(one["mask"] for one in written) == sorted(map(str, tmp_path.iterdir()))
    assert written[0]["mask"] == f"{tmp_path}/0001_x_mask.nii.gz"


def test_table_and_csv_tell_the_share(bright, predict, tmp_path, monkeypatch):
    Image.fromarray(draw_slice()).save(tmp_path / "slice.png")
    [row] = predict(tmp_path / "slice.png", "--csv", tmp_path / "out.csv")
    [written] = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert float(written["tumor_share"]) == row["tumor_share"] > 0.1
    assert "mask" not in row
    header, values = CliRunner().invoke(app, ["predict", str(tmp_path / "slice.png")]).stdout.splitlines()
    printed = dict(zip(header.split("\t"), values.split("\t"), strict=True))
    assert float(printed["tumor_share"]) == row["tumor_share"]


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize("codes", ["RAS", "PIR"])
def test_nifti_in_nifti_out(predict, tmp_path, codes, plane):
    """In both planes slices are as large as the model's input: nothing is resized, and the truth is exact."""
    data = np.tile(np.arange(SIDE, dtype=np.int16)[:, None] % 90, (20, 1, 24))
    data[6:17, 30:90, 4:15] = 1000
    data[:, 150:154] = 1000  # in every slice, since each has a window of its own
    scan = nibabel.Nifti1Image(data, np.diag([1.0, 1.0, 1.05, 1.0])).as_reoriented(
        ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    )
    scan.set_sform(scan.affine, code=4)
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    [row] = predict(
        tmp_path / "scan.nii.gz",
        "--plane",
        plane,
        "--outlines",
        tmp_path / "masks",
        "--csv",
        tmp_path / "out.csv",
    )
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["0001_scan_mask.nii.gz"]
    mask = nibabel.load(row["mask"])
    assert mask.shape == scan.shape
    np.testing.assert_array_equal(mask.affine, scan.affine)
    assert (mask.header["sform_code"], mask.header["qform_code"]) == (4, scan.header["qform_code"])
    found = np.asarray(mask.dataobj)
    np.testing.assert_array_equal(found == 1, np.asarray(scan.dataobj) == 1000)
    assert row["summary"]["volume_ml"] == pytest.approx(found.sum() * 1.05 / 1000)
    assert not any("mask" in one for one in row["slices"])
    written = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [one["mask"] for one in written] == [row["mask"]] * len(row["slices"])


def test_series_has_a_mask_a_slice_and_a_volume(predict, tmp_path):
    (tmp_path / "series").mkdir()
    for number in range(4):
        grey = draw_slice() if number in (1, 2) else np.broadcast_to(np.arange(SIDE) % 150, (SIDE, SIDE))
        dataset = make_dicom(
            grey.astype(np.uint16),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, 6 * number],
            PixelSpacing=[0.5, 0.5],
            SliceThickness=4,
            WindowCenter=128,
            WindowWidth=256,
        )
        (tmp_path / "series" / f"{number}.dcm").write_bytes(save_dicom(dataset))
    [row] = predict(tmp_path / "series", "--outlines", tmp_path / "masks")
    masks = [read_mask(one["mask"]) for one in row["slices"]]
    assert [np.count_nonzero(mask) for mask in masks] == [0, 3400, 3400, 0]
    assert [one["area_mm2"] for one in row["slices"]] == pytest.approx([0, 850, 850, 0])
    assert row["summary"]["volume_ml"] == pytest.approx(2 * 850 * 6 / 1000)
    assert (row["summary"]["volume_basis"], row["summary"]["outlined_slices"]) == ("positions", 2)
    told = CliRunner().invoke(app, ["predict", str(tmp_path / "series")]).stderr
    assert "Outlined in 2 of 4 slices: about 10 ml, from the positions of the slices." in told


def test_refused_picture_has_no_mask(monkeypatch, tmp_path):
    classifier = load_bright_classifier()
    monkeypatch.setattr("serving.cli.commands.from_pretrained", lambda model, revision: classifier)
    noise = np.random.default_rng(0).integers(0, 256, (99, 99), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    result = CliRunner().invoke(
        app, ["predict", str(tmp_path / "noise.png"), "--outlines", str(tmp_path / "masks"), "--json"]
    )
    [row] = json.loads(result.stdout)
    assert row["verdict"] == "not_brain_mri"
    assert row["outlines"] is row["tumor_share"] is row["area_mm2"] is None
    assert list((tmp_path / "masks").iterdir()) == []


def test_model_without_a_map_is_told_before_work(tmp_path):
    arguments = ["predict", str(EXAMPLES / "glioma.png"), "--outlines", str(tmp_path / "masks")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "no tumour map" in result.output
    assert not (tmp_path / "masks").exists()
