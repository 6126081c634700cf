import gzip
import io

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from serving.files.entries import list_entries
from serving.pictures.nifti_masks import encode_mask
from serving.pictures.volumes import encode_volume_mask, read_volume

SHAPE, SECRET = (30, 40, 12), b"Doe^Jane"


def make_scan(codes: str = "RAS", zooms=(1.0, 1.0, 1.0), tilt: float = 0.0, image_class=nibabel.Nifti1Image):
    """A scan with a bright box that touches no two sides alike, stored in the axes `codes`."""
    data = np.full(SHAPE, 100, np.int16)
    data[5:14, 18:37, 2:7] = 1000
    turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(zooms), (-20, 30, -40)
    stored = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    image = image_class(
        nibabel.orientations.apply_orientation(data, stored), affine @ inv_ornt_aff(stored, SHAPE)
    )
    image.set_sform(image.affine, code=2)
    image.set_qform(image.affine, code=1)
    image.header["descrip"] = SECRET
    return image


def find_bright(content: bytes, plane: str | None) -> list[np.ndarray]:
    return [grey > 127 for grey in read_volume(content, plane).slices]


def load(content: bytes) -> nibabel.Nifti1Image:
    packed = io.BytesIO(gzip.decompress(content))
    return nibabel.Nifti1Image.from_stream(packed)


@pytest.mark.parametrize("plane", [None, "axial", "coronal", "sagittal"])
@pytest.mark.parametrize(
    ("codes", "zooms", "tilt"),
    [
        ("RAS", (1.0, 1.0, 1.0), 0.0),
        ("LPS", (0.5, 0.5, 5.0), 0.0),
        ("PIR", (1.0, 2.0, 3.0), 0.0),
        ("SAL", (1.0, 1.0, 2.5), 0.0),
        ("ASL", (0.9, 0.9, 4.0), 0.3),
        ("LIP", (2.0, 1.5, 1.0), -0.4),
    ],
)
def test_mask_lies_on_what_was_found_in_the_grid_of_the_scan(codes, zooms, tilt, plane):
    scan = make_scan(codes, zooms, tilt)
    content = scan.to_bytes()
    mask = load(encode_volume_mask(content, plane, find_bright(content, plane)))
    assert mask.shape == scan.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, nibabel.Nifti1Image.from_bytes(content).affine)
    assert mask.header.get_zooms() == scan.header.get_zooms()
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (2, 1)
    np.testing.assert_array_equal(mask.header.get_qform(), scan.header.get_qform())
    np.testing.assert_array_equal(np.asarray(mask.dataobj) == 1, np.asarray(scan.dataobj) > 500)


def test_no_text_of_the_scan_is_copied():
    content = make_scan().to_bytes()
    assert SECRET in content
    assert SECRET not in gzip.decompress(encode_volume_mask(content, None, find_bright(content, None)))


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 1), (*SHAPE, 3), SHAPE[:2]])
def test_axes_beyond_the_third(shape):
    scan = make_scan()
    data = np.broadcast_to(np.asarray(scan.dataobj)[..., None], (*SHAPE, 3))
    data = data[:, :, 4, 0] if len(shape) == 2 else data[..., : (*shape, 1)[3]].reshape(shape)
    content = nibabel.Nifti1Image(data, scan.affine).to_bytes()
    mask = load(encode_volume_mask(content, "axial", find_bright(content, "axial")))
    kept = SHAPE if shape[3:] == (3,) else shape
    assert mask.shape == kept
    expected = data[..., 0] if shape[3:] == (3,) else data
    np.testing.assert_array_equal(np.asarray(mask.dataobj) == 1, expected > 500)


def test_second_version_compressed_and_big_endian(tmp_path):
    scan = make_scan("PIR", image_class=nibabel.Nifti2Image)
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    plane = None
    masks = find_bright((tmp_path / "scan.nii.gz").read_bytes(), plane)
    packed = gzip.decompress(encode_volume_mask(tmp_path / "scan.nii.gz", plane, masks))
    second = nibabel.Nifti2Image.from_bytes(packed)
    np.testing.assert_array_equal(second.affine, scan.affine)
    np.testing.assert_array_equal(np.asarray(second.dataobj) == 1, np.asarray(scan.dataobj) > 500)
    header = make_scan().header.as_byteswapped(">")
    big = nibabel.Nifti1Image(np.asarray(make_scan().dataobj), None, header).to_bytes()
    mask = load(encode_volume_mask(big, None, find_bright(big, None)))
    np.testing.assert_array_equal(mask.affine, make_scan().affine)


def test_masks_of_other_slices_are_refused():
    content = make_scan().to_bytes()
    [entry], masks = list_entries(content), find_bright(content, "axial")
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        encode_mask(entry, "axial", masks[:-1])
    with pytest.raises(ValueError, match="Expected a mask of"):
        encode_mask(entry, "axial", [mask[:-1] for mask in masks])


def test_area_of_a_pixel_and_places_of_slices_are_those_of_the_scan():
    volume = read_volume(make_scan("PIR", (1.0, 2.0, 3.0), 0.3).to_bytes(), "axial")
    found = sum((grey > 127).sum() for grey in volume.slices) * volume.pixel_mm2
    assert found == pytest.approx(9 * 19 * 5 * 2.0)
    assert np.diff(volume.positions) == pytest.approx(3.0)
