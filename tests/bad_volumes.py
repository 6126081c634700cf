"""The part of `bad_inputs` that is DICOM, NIfTI or a zip."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RLELossless,
    RTStructureSetStorage,
)

from tests.bad_inputs import SCORED, Case, draw, encode, replace

PATIENT = "Doe^Jane^Secret"


def make_dicom(
    pixels: np.ndarray | None = None, syntax: str = ExplicitVRLittleEndian, **fields: object
) -> Dataset:
    """An MR slice of a patient whose name must never be seen."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        syntax,
        MRImageStorage,
        pydicom.uid.generate_uid(),
    )
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    pixels = (np.arange(64 * 64).reshape(64, 64) % 1000).astype(np.uint16) if pixels is None else pixels
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.SeriesInstanceUID = (
        MRImageStorage,
        meta.MediaStorageSOPInstanceUID,
        "1.2.3.4",
    )
    dataset.PatientName, dataset.PatientID, dataset.Modality = PATIENT, PATIENT, "MR"
    dataset.SeriesDescription = dataset.StudyDescription = PATIENT
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
        1,
        "MONOCHROME2",
        0,
    )
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelData = dataset.BitsStored - 1, pixels.tobytes()
    with pydicom.config.disable_value_validation():
        for keyword, value in fields.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
    return dataset


def save_dicom(dataset: Dataset) -> bytes:
    """Write DICOM into memory, however wrong it is."""
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
    return buffer.getvalue()


def dicom(*arguments: object, **fields: object) -> Callable[[], bytes]:
    """A case's content: `make_dicom`, saved."""
    return lambda: save_dicom(make_dicom(*arguments, **fields))


def packed(frame: bytes, syntax: str, **fields: object) -> Callable[[], bytes]:
    """An MR slice with a frame as it is."""
    return dicom(None, syntax, PixelData=encapsulate([frame]), **fields)


def rle_bomb() -> bytes:
    """Runs that unpack to far more than the picture."""
    segment = b"\x81\xff" * 500_000
    return struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2


def jpeg_2000_of_size(side: int, offset: int = 0) -> bytes:
    """A JPEG 2000 stream that states another grid, and another place of picture and tile in it."""
    stream = encode(draw(), "JPEG2000", no_jp2=True)
    return stream[:8] + struct.pack(">8I", *(side, side, offset, offset) * 2) + stream[40:]


def nested(depth: int) -> bytes:
    """Sequences in sequences, each of unknown length, in place of a header."""
    opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return bytes(128) + b"DICM" + opened * depth


def many_elements() -> bytes:
    """A header of half a million empty elements."""
    return bytes(128) + b"DICM" + b"\x09\x00\x01\x00LO\0\0" * 500_000


def many_items() -> bytes:
    """A sequence of unknown length with half a million empty elements in one item."""
    start = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return bytes(128) + b"DICM" + start + b"\x09\x00\x01\x00LO\0\0" * 500_000


def deflated() -> bytes:
    """A deflated data set that would unpack to 200 MB."""
    whole = save_dicom(make_dicom(None, DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (
        whole[: whole.index(DeflatedExplicitVRLittleEndian.encode()) + 22]
        + packer.compress(bytes(200_000_000))
        + packer.flush()
    )


def build_dicoms() -> list[Case]:
    """DICOM."""
    whole = save_dicom(make_dicom())
    sloped = save_dicom(make_dicom(RescaleSlope="123456", RescaleIntercept="0"))
    colour = np.zeros((64, 64), np.uint8)
    return [
        Case("dicom prefix alone", "a.dcm", lambda: bytes(128) + b"DICM", "holds no picture"),
        Case(
            "dicom of garbage",
            "a.dcm",
            lambda: bytes(128) + b"DICM" + np.random.default_rng(2).bytes(9000),
            "damaged|holds no picture",
        ),
        Case("dicom cut in its header", "a.dcm", lambda: whole[:400], "damaged|holds no picture"),
        Case("dicom cut in its pixels", "a.dcm", lambda: whole[:-1000], "cut short"),
        Case("dicom without pixels", "a.dcm", dicom(PixelData=None), "holds no pixels"),
        Case("dicom without rows", "a.dcm", dicom(Rows=None), "holds no picture"),
        Case("dicom of no rows", "a.dcm", dicom(Rows=0), "pictures of 64 x 0"),
        Case("dicom of 65,535 x 65,535", "a.dcm", dicom(Rows=65_535, Columns=65_535), "65535 x 65535"),
        Case("dicom of a billion frames", "a.dcm", dicom(NumberOfFrames=10**9), "1,000,000,000 pictures"),
        Case("dicom of -1 frames", "a.dcm", dicom(NumberOfFrames=-1), "-1 pictures"),
        Case("dicom of more frames than pixels", "a.dcm", dicom(NumberOfFrames=50), "cut short"),
        Case("dicom of 7 bits", "a.dcm", dicom(BitsAllocated=7), "damaged pixels"),
        Case(
            "dicom of an unknown colour", "a.dcm", dicom(PhotometricInterpretation="SECRET"), "damaged pixels"
        ),
        Case(
            "dicom palette without a table",
            "a.dcm",
            dicom(colour, PhotometricInterpretation="PALETTE COLOR"),
            "damaged pixels",
        ),
        Case("dicom of CT", "a.dcm", dicom(Modality="CT"), "is no MRI: its header says CT"),
        Case(
            "dicom of a name in place of the modality",
            "a.dcm",
            dicom(Modality="DOE JANE"),
            "another modality",
        ),
        Case(
            "dicom structure set",
            "a.dcm",
            dicom(SOPClassUID=RTStructureSetStorage, Rows=None, PixelData=None),
            "RT Structure Set",
        ),
        Case(
            "dicomdir",
            "DICOMDIR",
            dicom(SOPClassUID=MediaStorageDirectoryStorage, Rows=None, PixelData=None),
            "Media Storage Directory",
        ),
        Case("dicom deflated to 200 MB", "a.dcm", deflated, "deflated"),
        Case("dicom of unknown transfer syntax", "a.dcm", dicom(None, "1.2.3.4.5"), "damaged"),
        Case(
            "dicom, JPEG of garbage", "a.dcm", packed(b"\xff\xd8garbage", JPEGBaseline8Bit), "states no size"
        ),
        Case(
            "dicom, JPEG 2000 of 30,000 x 30,000",
            "a.dcm",
            packed(jpeg_2000_of_size(30_000), JPEG2000Lossless),
            "is 30000 x 30000",
        ),
        Case(
            "dicom, JPEG 2000 of 64 x 64 at 40,000 of its grid",
            "a.dcm",
            packed(jpeg_2000_of_size(40_064, offset=40_000), JPEG2000Lossless),
            "starts at 40000, 40000",
        ),
        Case(
            "dicom, JPEG 2000 cut short",
            "a.dcm",
            packed(jpeg_2000_of_size(64)[:300], JPEG2000Lossless),
            "damaged pixels|decompressed",
        ),
        Case("dicom, runs that unpack to 64 MB", "a.dcm", packed(rle_bomb(), RLELossless), "does not unpack"),
        Case("dicom, film", "a.dcm", packed(b"\0\0\x01\xb3" + bytes(99), MPEG2MPML), "it is a film"),
        Case("dicom, runs of garbage", "a.dcm", packed(b"\xff" * 100, RLELossless), "segments"),
        Case(
            "dicom, slope that is no number", "a.dcm", dicom(RescaleSlope="nan", RescaleIntercept="0"), SCORED
        ),
        Case("dicom, slope of text", "a.dcm", lambda: sloped.replace(b"123456", b"SECRET"), "damaged pixels"),
        Case("dicom, window without width", "a.dcm", dicom(WindowCenter=[5], WindowWidth=[0]), SCORED),
        Case(
            "dicom, orientation of zeros",
            "a.dcm",
            dicom(ImageOrientationPatient=[0] * 6, ImagePositionPatient=[0] * 3),
            SCORED,
        ),
        Case("dicom, pixels of 1 x 1,000 mm", "a.dcm", dicom(PixelSpacing=[1, 1000]), "too long and thin"),
        Case("dicom, unknown character set", "a.dcm", dicom(SpecificCharacterSet="SECRET"), SCORED),
        Case("dicom in 3,000 sequences", "a.dcm", lambda: nested(3000), "damaged|holds no picture"),
        Case("dicom of half a million elements", "a.dcm", many_elements, "holds no picture"),
        Case(
            "dicom of a long header",
            "a.dcm",
            dicom(**{"SpectroscopyData": bytes(4_000_000)}),
            "header of more than",
        ),
        Case(
            "dicom of half a million elements in a sequence", "a.dcm", many_items, "damaged|holds no picture"
        ),
    ]


def make_nifti(data: np.ndarray, affine: np.ndarray | None = None) -> bytes:
    """A NIfTI file."""
    return nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine).to_bytes()


def change(content: bytes, at: int, kind: str, *values: float) -> bytes:
    """Overwrite fields of a header."""
    field = struct.pack(f"<{kind}", *values)
    return content[:at] + field + content[at + len(field) :]


def build_niftis() -> list[Case]:
    """NIfTI: the offsets are those of its first version's header."""
    data = np.random.default_rng(3).integers(0, 900, (20, 22, 6)).astype(np.int16)
    whole = make_nifti(data)
    # Long enough that the voxels have a volume all the same.
    parallel = [1e9, 1e9, 0.0, 0.0, 0.0, 1e-8, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    bomb = change(whole, 40, "8h", 3, 1000, 1000, 1000, 1, 1, 1, 1)
    return [
        Case("nifti header alone", "a.nii", lambda: whole[:348], "cut short"),
        Case("nifti cut in its pixels", "a.nii", lambda: whole[:-100], "cut short"),
        Case("nifti.gz cut in its pixels", "a.nii.gz", lambda: gzip.compress(whole)[:-3000], "cut short"),
        Case(
            "nifti.gz with a wrong check sum",
            "a.nii.gz",
            lambda: gzip.compress(whole)[:-8] + bytes(8),
            "cut short",
        ),
        Case("nifti.gz that unpacks to 2 GB", "a.nii.gz", lambda: gzip.compress(bomb), "2,000,000,352 bytes"),
        Case(
            "nifti.gz with 500 MB behind its pixels",
            "a.nii.gz",
            lambda: gzip.compress(whole) + gzip.compress(bytes(500_000_000), 1),
            SCORED,
        ),
        Case(
            "nifti of negative size",
            "a.nii",
            lambda: change(whole, 40, "4h", 3, -20, 22, 6),
            "damaged|no picture|bytes",
        ),
        Case(
            "nifti of no dimension",
            "a.nii",
            lambda: change(whole, 40, "4h", 0, 20, 22, 6),
            "damaged|no picture",
        ),
        Case("nifti of 99 dimensions", "a.nii", lambda: change(whole, 40, "h", 99), "damaged|no picture"),
        Case("nifti of an unknown type", "a.nii", lambda: change(whole, 70, "h", 9999), "damaged"),
        Case("nifti of single bits", "a.nii", lambda: change(whole, 70, "2h", 1, 1), "damaged|no picture"),
        Case(
            "nifti that starts beyond its end", "a.nii", lambda: change(whole, 108, "f", 1e9), "bytes|damaged"
        ),
        Case(
            "nifti that starts before its start",
            "a.nii",
            lambda: change(whole, 108, "f", -400),
            "bytes|damaged",
        ),
        Case(
            "nifti whose axes point nowhere",
            "a.nii",
            lambda: change(whole, 280, "12f", *[0.0] * 12),
            "point nowhere",
        ),
        Case(
            "nifti whose axes are no numbers",
            "a.nii",
            lambda: change(whole, 280, "4f", *[float("nan")] * 4),
            "point nowhere",
        ),
        Case(
            "nifti of two axes that point the same way",
            "a.nii",
            lambda: change(whole, 280, "12f", *parallel),
            "point nowhere",
        ),
        Case(
            "nifti of an infinite slope", "a.nii", lambda: change(whole, 112, "2f", float("inf"), 0.0), SCORED
        ),
        Case("nifti of needles", "a.nii", lambda: make_nifti(data, np.diag([1, 1, 1000.0, 1])), SCORED),
        Case("nifti, the header of a pair", "a.hdr", lambda: change(whole, 344, "4s", b"ni1\0"), "pair"),
        Case(
            "nifti of numbers that are none",
            "a.nii",
            lambda: make_nifti(np.full((9, 9, 2), np.nan, np.float32)),
            SCORED,
        ),
        Case(
            "nifti of complex numbers", "a.nii", lambda: make_nifti((data * 1j).astype(np.complex64)), SCORED
        ),
        Case("nifti of one row", "a.nii", lambda: make_nifti(data[:, 0, 0]), "no picture"),
    ]


def pack(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def lock(archive: bytes) -> bytes:
    """Set the bit that says that members are encrypted."""
    local, central = archive.index(b"PK\x03\x04"), archive.index(b"PK\x01\x02")
    changed = bytearray(archive)
    changed[local + 6] |= 1
    changed[central + 8] |= 1
    return bytes(changed)


def lie(archive: bytes) -> bytes:
    """State in the directory that the member is larger than it is."""
    at = archive.index(b"PK\x01\x02") + 24
    return archive[:at] + struct.pack("<I", 200_000_000) + archive[at + 4 :]


def build_zips() -> list[Case]:
    """Zips."""
    slice_, other = save_dicom(make_dicom()), save_dicom(make_dicom(SeriesInstanceUID="9.9"))
    structures = save_dicom(make_dicom(SOPClassUID=RTStructureSetStorage, Rows=None, PixelData=None))
    return [
        Case("zip of nothing", "a.zip", lambda: pack({}), "holds 0 files"),
        Case("zip cut short", "a.zip", lambda: pack({"a.dcm": slice_})[:-40], "damaged zip"),
        Case("zip of garbage", "a.zip", lambda: b"PK\x03\x04" + bytes(500), "damaged zip"),
        Case("zip with a password", "a.zip", lambda: lock(pack({"a.dcm": slice_})), "password"),
        Case(
            "zip that unpacks to 1 GB",
            "a.zip",
            lambda: pack({f"{n}.dcm": bytes(125_000_000) for n in range(8)}),
            "1,000,000,000 bytes",
        ),
        Case("zip with a wrong size", "a.zip", lambda: lie(pack({"a.dcm": slice_})), SCORED),
        Case(
            "zip with a wrong check sum",
            "a.zip",
            lambda: replace(pack({"a.dcm": slice_}, zipfile.ZIP_STORED), b"MONO", b"MANO"),
            "damaged in its zip",
        ),
        Case(
            "zip in a zip",
            "a.zip",
            lambda: pack({"b.zip": pack({"c.zip": pack({"a.dcm": slice_})})}),
            "neither DICOM nor NIfTI",
        ),
        Case(
            "zip of 2,000 structure sets",
            "a.zip",
            lambda: pack({f"{n}": structures for n in range(2000)}),
            "None of 2000 DICOM files",
        ),
        Case(
            "zip of 6,000 files",
            "a.zip",
            lambda: pack({f"{n}": b"a" for n in range(6000)}, zipfile.ZIP_STORED),
            "6,000 files",
        ),
        Case(
            "zip of pictures",
            "a.zip",
            lambda: pack({"a.png": encode(draw()), "b.png": encode(draw())}),
            "None of 2 files",
        ),
        Case(
            "zip of an office document",
            "a.docx",
            lambda: pack({"word/document.xml": b"<w/>"}),
            "document.xml is SVG, XML",
        ),
        Case("zip of names that climb", "a.zip", lambda: pack({"../../../etc/passwd": slice_}), SCORED),
        Case(
            "zip of another name's patient", "a.zip", lambda: pack({"a.dcm": slice_, "b.dcm": other}), SCORED
        ),
        Case(
            "zip of two volumes",
            "a.zip",
            lambda: pack({n: make_nifti(np.ones((4, 4, 4), np.uint8)) for n in "ab"}),
            "2 NIfTI files",
        ),
    ]


def build_volumes() -> list[Case]:
    """All of them."""
    return [*build_dicoms(), *build_niftis(), *build_zips()]
