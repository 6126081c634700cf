import io
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from serving import ImageError, from_pretrained
from serving.app.views import EXAMPLES
from serving.pictures.anatomy import orient_slice, square_pixels
from serving.pictures.volumes import read_volume
from serving.preprocess import decode_grey
from serving.summary import summarise_volume
from tests.bad_inputs import encode
from tests.bad_volumes import PATIENT, make_dicom, make_nifti, save_dicom

AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


@pytest.fixture(scope="module")
def classifier():
    return from_pretrained()


@pytest.fixture
def glioma() -> np.ndarray:
    """The bundled example, uint8 (h, w)."""
    return decode_grey(EXAMPLES / "glioma.png")


def make_ramp(height: int = 30, width: int = 40) -> np.ndarray:
    """uint16 (h, w), no two values alike, neither symmetric nor square."""
    return np.arange(height * width, dtype=np.uint16).reshape(height, width)


def make_series(places, axis=AXIAL, series="1.2.3", **fields) -> list[bytes]:
    """A slice for each place along the normal, with its place as its brightness."""
    normal = np.cross(axis[:3], axis[3:])
    return [
        save_dicom(
            make_dicom(
                np.full((16, 16), 1000 + int(place), np.uint16),
                ImageOrientationPatient=axis,
                ImagePositionPatient=list(normal * place),
                SeriesInstanceUID=series,
                WindowCenter=1000,
                WindowWidth=512,
                **fields,
            )
        )
        for place in places
    ]


def pack(contents: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number:03d}", content)
    return buffer.getvalue()


def read_one(dataset) -> np.ndarray:
    return decode_grey(save_dicom(dataset))


def test_dicom_equals_its_export_of_16_bits():
    np.testing.assert_array_equal(
        read_one(make_dicom(make_ramp())), decode_grey(encode(Image.fromarray(make_ramp())))
    )


def test_dicom_slice_and_its_export_get_the_same_answer(classifier, glioma):
    dataset = make_dicom(glioma.astype(np.uint16) * 16, WindowCenter=2040.5, WindowWidth=4081)
    answers = classifier.predict_batch([save_dicom(dataset), glioma])
    assert answers[0].label == answers[1].label == "glioma"
    assert list(answers[0].probabilities.values()) == pytest.approx(
        list(answers[1].probabilities.values()), abs=0.02
    )


def test_window_of_the_header_is_applied():
    grey = read_one(make_dicom(make_ramp(), WindowCenter=600.5, WindowWidth=401))
    assert grey[400 // 40, 0] == 0
    assert grey[600 // 40, 0] == 128
    assert grey[800 // 40, 0] == 255


@pytest.mark.parametrize(("function", "middle"), [("LINEAR_EXACT", 128), ("SIGMOID", 128)])
def test_other_functions_of_the_window(function, middle):
    grey = read_one(make_dicom(make_ramp(), WindowCenter=600, WindowWidth=400, VOILUTFunction=function))
    assert abs(int(grey[15, 0]) - middle) <= 1
    assert grey[12, 0] < grey[15, 0] < grey[18, 0]


def test_rescaling_comes_before_the_window():
    plain = read_one(make_dicom(make_ramp(), WindowCenter=600, WindowWidth=400))
    dataset = make_dicom(
        make_ramp(), WindowCenter=600 * 2 - 100, WindowWidth=799, RescaleSlope=2, RescaleIntercept=-100
    )
    np.testing.assert_allclose(read_one(dataset), plain, atol=1)


def test_lookup_table_of_the_header_is_applied():
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = (
        [1200, 0, 16],
        (np.clip(np.arange(1200) - 300, 0, 600) * (65535 / 600)).astype(np.uint16).tobytes(),
    )
    grey = read_one(make_dicom(make_ramp(), VOILUTSequence=[table]))
    np.testing.assert_array_equal(grey == 0, make_ramp() <= 301)
    np.testing.assert_array_equal(grey == 255, make_ramp() >= 899)


def test_monochrome1_is_inverted():
    np.testing.assert_array_equal(
        read_one(make_dicom(make_ramp(), PhotometricInterpretation="MONOCHROME1")),
        255 - read_one(make_dicom(make_ramp())),
    )


def test_signed_values():
    pixels = (make_ramp().astype(np.int32) - 600).astype(np.int16)
    np.testing.assert_array_equal(
        read_one(make_dicom(pixels, PixelRepresentation=1)), read_one(make_dicom(make_ramp()))
    )


def test_colour_becomes_luma():
    rgb = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    dataset = make_dicom(rgb, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert read_one(dataset)[0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_without_loss_equals_uncompressed(syntax):
    dataset = make_dicom()
    expected = read_one(dataset)
    dataset.compress(syntax)
    np.testing.assert_array_equal(read_one(dataset), expected)


def test_without_prefix_and_meta_header():
    whole = save_dicom(make_dicom(make_ramp()))
    start = whole.index(b"\x08\x00\x16\x00UI")
    np.testing.assert_array_equal(decode_grey(whole[start:]), decode_grey(whole))


@pytest.mark.parametrize(
    ("right", "down", "plane", "turned"),
    [
        ((1, 0, 0), (0, 1, 0), "axial", lambda a: a),
        ((-1, 0, 0), (0, 1, 0), "axial", lambda a: a[:, ::-1]),
        ((0, 1, 0), (1, 0, 0), "axial", lambda a: a.T),
        ((1, 0, 0), (0, 0, -1), "coronal", lambda a: a),
        ((0, 1, 0), (0, 0, -1), "sagittal", lambda a: a),
        ((0, -1, 0), (0, 0, 1), "sagittal", lambda a: a[::-1, ::-1]),
        ((0.9, 0.3, 0), (-0.3, -0.9, 0.2), "axial", lambda a: a[::-1]),
    ],
)
def test_slices_are_shown_as_radiologists_do(right, down, plane, turned):
    np.testing.assert_array_equal(
        orient_slice(make_ramp(), np.array(right, float), np.array(down, float), plane), turned(make_ramp())
    )


def test_pixels_become_square_only_where_they_are_clearly_not():
    grey = np.zeros((30, 40), np.uint8)
    assert square_pixels(grey, 1.0, 1.09).shape == (30, 40)
    assert square_pixels(grey, 2.0, 1.0).shape == (60, 40)
    assert square_pixels(grey, 0.5, 1.0).shape == (30, 80)


@pytest.mark.parametrize(("axis", "plane"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal")])
def test_series_is_sorted_by_place_not_by_name(axis, plane):
    volume = read_volume(pack(make_series([20, -10, 5, 0], axis)))
    assert volume.plane == plane
    assert volume.format == "DICOM"
    sign = np.sign(np.cross(axis[:3], axis[3:]).sum())
    assert volume.positions == pytest.approx(sorted(sign * place for place in (20, -10, 5, 0)))
    brightness = [int(grey[0, 0]) for grey in volume.slices]
    assert brightness == sorted(brightness, reverse=bool(sign < 0))


def test_the_largest_series_is_taken_and_the_rest_is_said():
    localisers = make_series([0, 1], series="9.9") + make_series(
        [3, 4, 5, 6], SAGITTAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    volume = read_volume(pack([b"notes", *localisers, *make_series(range(10, 15)), *make_series([12])]))
    assert len(volume.slices) == 5
    assert volume.plane == "axial"
    assert any("000 is neither DICOM nor NIfTI" in reason for reason in volume.skipped)
    assert any("6 slices of 2 other series" in reason for reason in volume.skipped)
    assert any("1 further pictures of the same places" in reason for reason in volume.skipped)


def test_a_damaged_slice_is_left_out_and_said():
    contents = make_series([0, 1, 2])
    contents[1] = contents[1][:-100]
    volume = read_volume(pack(contents))
    assert volume.positions == pytest.approx((0, 2))
    assert any("001 has damaged pixels" in reason for reason in volume.skipped)


def test_places_of_some_slices_only_are_not_told():
    placed = make_series([0, 1])
    unplaced = make_dicom(
        np.ones((16, 16), np.uint16), ImageOrientationPatient=AXIAL, SeriesInstanceUID="1.2.3"
    )
    volume = read_volume(pack([*placed, save_dicom(unplaced)]))
    assert len(volume.slices) == 3
    assert volume.positions is None


def test_enhanced_frames_have_their_own_places_and_windows():
    dataset = make_dicom(np.full((3, 16, 16), 500, np.uint16), NumberOfFrames=3, Rows=16, Columns=16)
    frames = []
    for place, centre in ((4, 300), (0, 500), (2, 700)):
        frame, position, window = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient, window.WindowCenter, window.WindowWidth = [0, 0, place], centre, 1000
        frame.PlanePositionSequence, frame.FrameVOILUTSequence = [position], [window]
        frames.append(frame)
    shared, orientation = pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient = AXIAL
    shared.PlaneOrientationSequence = [orientation]
    dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence = frames, [shared]
    volume = read_volume(save_dicom(dataset))
    assert volume.positions == (0, 2, 4)
    assert [int(grey[0, 0]) for grey in volume.slices] == pytest.approx([128, 77, 179], abs=1)


def test_folder_zip_and_paths_agree(tmp_path):
    contents = make_series([3, 1, 2])
    for number, content in enumerate(contents):
        (tmp_path / f"IM{number}").write_bytes(content)
    (tmp_path / "empty").touch()
    archive = tmp_path.with_suffix(".zip")
    archive.write_bytes(pack(contents))
    volumes = [
        read_volume(source) for source in (tmp_path, archive, sorted(tmp_path.iterdir()), pack(contents))
    ]
    for volume in volumes:
        assert volume.positions == (1, 2, 3)
        np.testing.assert_array_equal(volume.slices, volumes[0].slices)


def test_no_identifier_and_no_typed_text_is_told():
    fields = {
        "ProtocolName": PATIENT,
        "ScanningSequence": [PATIENT, "SE"],
        "EchoTime": None,
        "ContrastBolusAgent": PATIENT,
    }
    volume = read_volume(
        pack(make_series([0, 1], **{name: value for name, value in fields.items() if value}))
    )
    assert PATIENT not in repr((volume.facts, volume.skipped))
    assert volume.facts["sequence"] == "spin echo"
    assert volume.facts["contrast agent"] == "stated"
    assert "1.2.3" not in repr(volume.facts.values())


def test_several_slices_are_no_picture():
    with pytest.raises(ImageError, match=r"holds 2 slices, expected one.*read_volume"):
        decode_grey(pack(make_series([0, 1])))


def test_dicom_has_its_own_plane_only():
    with pytest.raises(ImageError, match="is axial and cannot be shown as coronal"):
        read_volume(pack(make_series([0, 1])), "coronal")


def test_without_the_extra_it_is_named(monkeypatch):
    for name in ("pydicom", "nibabel"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    for content in (save_dicom(make_dicom()), make_nifti(np.ones((4, 4, 4), np.uint8))):
        with pytest.raises(ImageError, match=r"pip install '\.\[medical\]'"):
            read_volume(content)


def make_head() -> np.ndarray:
    """uint8 (20, 24, 16) in RAS: brighter to the right, to the front and to the head."""
    x, y, z = np.mgrid[:20, :24, :16]
    return (x * 6 + y * 3 + z).astype(np.uint8)


def test_nifti_is_the_same_in_any_orientation():
    image = nibabel.Nifti1Image(make_head(), np.diag([1, 1, 1, 1.0]))
    expected = {plane: read_volume(image.to_bytes(), plane) for plane in ("axial", "coronal", "sagittal")}
    for code in ("LPS", "SPL", "ARI", "PIR"):
        target = nibabel.orientations.axcodes2ornt(code)
        turned = image.as_reoriented(
            nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target)
        )
        for plane, volume in expected.items():
            other = read_volume(turned.to_bytes(), plane)
            np.testing.assert_array_equal(other.slices, volume.slices)
            assert other.positions == pytest.approx(volume.positions)


def test_nifti_planes_are_shown_as_radiologists_do():
    axial, coronal, sagittal = (
        read_volume(make_nifti(make_head()), plane) for plane in ("axial", "coronal", "sagittal")
    )
    assert axial.plane == "axial"
    assert [len(volume.slices) for volume in (axial, coronal, sagittal)] == [16, 24, 20]
    assert axial.slices[0].shape == (24, 20)
    right, front = axial.slices[3], axial.slices[3]
    assert right[0, 0] > right[0, -1]  # the patient's right is on the left
    assert front[0, 0] > front[-1, 0]  # the front is up
    assert coronal.slices[3][0, 0] > coronal.slices[3][-1, 0]  # the head is up
    assert sagittal.slices[3][0, 0] > sagittal.slices[3][0, -1]  # the face is on the left
    assert axial.positions == pytest.approx(range(16))
    assert coronal.positions == pytest.approx(range(-23, 1))  # from front to back


def test_thick_slices_are_taken_as_they_were_acquired():
    assert read_volume(make_nifti(make_head(), np.diag([1, 5, 1, 1.0]))).plane == "coronal"
    axial = read_volume(make_nifti(make_head(), np.diag([1, 5, 1, 1.0])), "axial")
    assert axial.slices[0].shape == (24 * 5, 20)


def test_slope_colour_and_further_volumes_of_nifti():
    image = nibabel.Nifti1Image(np.stack([make_head(), make_head()[::-1]], axis=-1), np.eye(4))
    volume = read_volume(image.to_bytes())
    assert volume.facts["volumes"] == "the first of 2"
    np.testing.assert_array_equal(volume.slices, read_volume(make_nifti(make_head())).slices)
    colour = np.zeros((4, 4, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["R"] = 200
    assert read_volume(make_nifti(colour)).slices[0][0, 0] == round(0.299 * 200)


def test_header_text_of_nifti_is_not_told():
    image = nibabel.Nifti1Image(make_head(), np.eye(4))
    image.header["descrip"] = image.header["db_name"] = PATIENT
    assert PATIENT not in repr(read_volume(image.to_bytes()).facts)


@pytest.mark.real_data
def test_every_real_file_is_read_or_refused_with_a_reason(classifier, real_data_dir):
    folder: Path = real_data_dir / "formats"
    if not folder.is_dir():
        pytest.skip(f"no DICOM or NIfTI files in {folder}")
    refused = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            volume = read_volume(path)
            summary = summarise_volume(classifier.predict_batch(volume.slices), volume)
            assert sum(summary.counts.values()) == len(volume.slices)
        except ImageError as error:
            refused[path.name] = str(error)
    assert {name: reason.split(". ")[0] for name, reason in refused.items()} == {
        "CT_small.dcm": "CT_small.dcm is no MRI: its header says CT",
        "MR_truncated.dcm": "MR_truncated.dcm has damaged pixels or a damaged header, or is cut short",
        "examples_ybr_color.dcm": "examples_ybr_color.dcm is no MRI: its header says US",
        "no_meta.dcm": "no_meta.dcm is neither DICOM nor NIfTI",
        "rtstruct.dcm": "rtstruct.dcm holds no picture: it is an object of the kind RT Structure Set Storage",
        "waveform_ecg.dcm": (
            "waveform_ecg.dcm holds no picture: it is an object of the kind 12-lead ECG Waveform Storage"
        ),
    }


@pytest.mark.real_data
def test_real_slices_and_their_exports_get_the_same_label(classifier, real_data_dir):
    paths = sorted((real_data_dir / "formats" / "dicom_series_t1").glob("*.dcm"))
    if not paths:
        pytest.skip(f"no DICOM series in {real_data_dir}")
    for path in paths:
        stored = pydicom.dcmread(path).pixel_array
        low, high = np.percentile(stored, (0.5, 99.5))
        exports = [
            stored.astype(np.uint16),
            np.clip((stored - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8),
        ]
        answers = classifier.predict_batch([path, *(encode(Image.fromarray(export)) for export in exports)])
        assert len({(answer.label, answer.verdict) for answer in answers}) == 1
