"""DICOM: from files of a scanner to oriented grey slices.

Goes in: `serving.files.entries.Entry` objects that hold DICOM. Comes out: the slices of one series, in
anatomical order. Patient identifiers are neither kept nor shown: of the header only technical fields are
read, and no message of the parser, which may quote it, gets into an error or a log.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.files.entries import MAX_SLICES, MAX_VOXELS, Entry
from serving.files.errors import ImageError
from serving.pictures.anatomy import Volume, find_plane, measure_pixel
from serving.pictures.codestreams import check_frame
from serving.pictures.dicom_parser import (
    find_start,
    find_value,
    import_pydicom,
    list_damage,
    parse,
    silence_pydicom,
)
from serving.pictures.dicom_pixels import make_slice
from serving.pictures.image_files import Picture

if TYPE_CHECKING:
    from pydicom import Dataset

# An MRI has up to 1024 x 1024 pixels a slice.
MAX_FRAME_PIXELS = 2048 * 2048
# Before the pixels: an enhanced MR has some 2 kB a frame.
_MAX_HEADER_BYTES = 2 * 1024 * 1024
# MR, and what screen captures and converted files call themselves: of those the guard judges by their looks.
_MODALITIES = ("MR", "OT", "SC", "")
# PS3.3 C.7.3.1.1.1, the common ones; any other text in this field is not repeated.
_REFUSED = ("CR", "CT", "DX", "ECG", "ES", "GM", "IO", "MG", "NM", "OP", "PT", "RF", "SM", "US", "XA", "XC")
# Along the normal, images of one place (echoes, diffusion directions, points in time) differ by less, mm.
_SAME_PLACE = 1e-2
# PS3.3 C.8.3.1.1.1: the defined terms; anything else in these fields is not shown.
_SEQUENCES = {
    "SE": "spin echo",
    "IR": "inversion recovery",
    "GR": "gradient echo",
    "EP": "echo planar",
    "RM": "research mode",
}
_AGAIN = "Export it again."
_TIMES = {"EchoTime": "echo time", "RepetitionTime": "repetition time", "InversionTime": "inversion time"}


@dataclass(frozen=True)
class _Frame:
    """One picture of a DICOM file, as far as its header tells."""

    entry: Entry
    number: int
    series: tuple[Any, ...]
    plane: str | None
    position: float | None
    instance: int
    pixel_mm2: float | None
    thickness_mm: float | None


def is_dicom(head: bytes) -> bool:
    """Tell DICOM by its first bytes, see `serving.pictures.dicom_parser.find_start`."""
    return find_start(head) is not None


def read_dicom(entries: Sequence[Entry]) -> Volume:
    """Read the series with the most slices; other slices and what cannot be read are listed as skipped.

    Raises:
        ImageError: no file holds a slice of MRI, or there is too much.
    """
    skipped: list[str] = []
    with silence_pydicom():
        files = _read_each(_list_frames, entries, skipped, len(entries) == 1)
        frames = [frame for listed in files for frame in listed]
        if not frames:
            raise ImageError(f"None of {len(entries)} DICOM files can be scored. {skipped[0]}")
        (chosen, count), *others = Counter(frame.series for frame in frames).most_common()
        if others:
            left = f"{len(frames) - count:,} slices of {len(others)} other series or directions"
            skipped.append(f"{left}: the one with the most slices, {count:,}, was taken")
        ordered, repeats = _order([frame for frame in frames if frame.series == chosen])
        if repeats:
            left = f"{repeats:,} further pictures of the same places (echoes, directions or points in time)"
            skipped.append(f"{left}: the first of each was taken")
        return _decode(ordered, skipped, len(entries) == 1)


def _read_each(read: Callable, sources: Iterable, skipped: list[str], is_alone: bool) -> Iterator[Any]:
    """What can be read; what cannot is added to `skipped`, or is an error where it is alone."""
    for source in sources:
        try:
            yield read(source)
        except ImageError as error:
            if is_alone:
                raise
            skipped.append(str(error))


def _order(frames: list[_Frame]) -> tuple[list[_Frame], int]:
    """Sort along the normal, or by number where places are not known; drop and count repeated places."""
    places = [frame.position for frame in frames if frame.position is not None]
    if len(places) < len(frames):
        return sorted(frames, key=lambda frame: (frame.instance, frame.entry.name, frame.number)), 0
    kept: dict[int, _Frame] = {}
    placed = zip(places, frames, strict=True)
    for place, frame in sorted(placed, key=lambda pair: (pair[0], pair[1].instance, pair[1].number)):
        kept.setdefault(round(place / _SAME_PLACE), frame)
    return list(kept.values()), len(frames) - len(kept)


def _list_frames(entry: Entry) -> list[_Frame]:
    """Read the header of one file."""
    with entry.open() as stream:
        start = io.BytesIO(stream.read(_MAX_HEADER_BYTES))
    header = parse(start, entry, with_pixels=False)
    if start.tell() >= _MAX_HEADER_BYTES:
        raise ImageError(f"{entry.name} has a header of more than {_MAX_HEADER_BYTES:,} bytes. {_AGAIN}")
    try:
        _check_kind(header, entry.name)
        count = int(header.get("NumberOfFrames") or 1)
        rows, columns = int(header.Rows), int(header.Columns)
        if not 0 < rows * columns <= MAX_FRAME_PIXELS or not 0 < count <= MAX_SLICES:
            found = f"{entry.name} has {count:,} pictures of {columns} x {rows} pixels"
            limits = f"at most {MAX_SLICES:,} of {MAX_FRAME_PIXELS:,} are accepted"
            raise ImageError(f"{found}; {limits}. {_AGAIN}")
        return [_locate(header, entry, number, (rows, columns)) for number in range(count)]
    except ImageError:
        raise
    except list_damage():  # values are converted when they are asked for, and the message may quote them
        raise ImageError(f"{entry.name} has a damaged DICOM header. {_AGAIN}") from None


def _check_kind(header: "Dataset", name: str) -> None:
    """Refuse what holds no picture, or one that is no MRI."""
    if "Rows" not in header or "Columns" not in header:
        kind = import_pydicom().uid.UID(str(header.get("SOPClassUID", "")))
        described = f"an object of the kind {kind.name}" if kind and kind.name != kind else "a DICOM object"
        raise ImageError(f"{name} holds no picture: it is {described}. Send the files that hold the slices.")
    modality = str(header.get("Modality") or "")
    if modality not in _MODALITIES:
        stated = modality if modality in _REFUSED else "another modality"
        raise ImageError(f"{name} is no MRI: its header says {stated}. Send slices of modality MR.")


def _locate(header: "Dataset", entry: Entry, number: int, shape: tuple[int, int]) -> _Frame:
    """Say to which series a frame belongs, and where it lies along the normal."""
    axes = find_value(header, number, "PlaneOrientationSequence", "ImageOrientationPatient")
    place = find_value(header, number, "PlanePositionSequence", "ImagePositionPatient")
    plane, position, directions = None, None, None
    if axes is not None and len(axes) == 6:
        right, down = np.array(axes[:3], float), np.array(axes[3:], float)
        normal = np.cross(right, down)
        if np.isfinite(normal).all() and np.linalg.norm(normal) > 0.5:
            plane, directions = find_plane(normal), tuple(np.round([*right, *down], 2).tolist())
            normal *= np.sign(normal[np.argmax(np.abs(normal))])
            if place is not None and len(place) == 3:
                position = float(np.dot(np.array(place, float), normal / np.linalg.norm(normal)))
    is_localiser = "LOCALIZER" in [str(part).upper() for part in header.get("ImageType") or ()]
    series = (str(header.get("SeriesInstanceUID", "")), is_localiser, directions, shape)
    sides = _read_lengths(header, number, "PixelSpacing", 2)
    thickness = _read_lengths(header, number, "SliceThickness", 1)
    return _Frame(
        entry=entry,
        number=number,
        series=series,
        plane=plane,
        position=position,
        instance=int(header.get("InstanceNumber") or 0),
        pixel_mm2=sides[0] * sides[1] if sides else None,
        thickness_mm=thickness[0] if thickness else None,
    )


def _read_lengths(header: "Dataset", number: int, keyword: str, count: int) -> list[float] | None:
    """So many lengths of a frame, mm; None where the header has others, or something else there."""
    with suppress(TypeError, ValueError, OverflowError):
        lengths = [
            float(one) for one in np.ravel(find_value(header, number, "PixelMeasuresSequence", keyword))
        ]
        if len(lengths) == count and all(0.0 < length < np.inf for length in lengths):
            return lengths
    return None


def _find_common(values: Iterable[float | None]) -> float | None:
    """The value that all share, to a hundredth; else None."""
    numbers = np.array([np.nan if value is None else value for value in values])
    is_common = np.isfinite(numbers).all() and numbers.max() <= 1.01 * numbers.min()
    return float(np.median(numbers)) if is_common else None


def _decode(frames: list[_Frame], skipped: list[str], is_alone: bool) -> Volume:
    """Decode frames, file by file."""
    rows, columns = frames[0].series[-1]
    if len(frames) > MAX_SLICES or len(frames) * rows * columns > MAX_VOXELS:
        limits = f"at most {MAX_SLICES:,} slices and {MAX_VOXELS:,} pixels are accepted"
        raise ImageError(f"The series has {len(frames):,} slices of {columns} x {rows}; {limits}. {_AGAIN}")
    by_file: dict[int, list[_Frame]] = {}
    for frame in frames:
        by_file.setdefault(id(frame.entry), []).append(frame)
    slices: dict[_Frame, Picture] = {}
    facts: dict[str, str] = {}
    for described, decoded in _read_each(_decode_file, by_file.values(), skipped, is_alone):
        slices |= decoded
        facts = facts or described
    windows = Counter(_name_window(shown) for shown in slices.values())
    if len(windows) > 1:
        facts["window"] = "; ".join(f"{count:,} slices {window}" for window, count in windows.most_common())
    kept = [frame for frame in frames if frame in slices]
    if not kept:
        raise ImageError(f"No slice of the series can be read. {skipped[-1]}")
    shown, coloured = zip(*((slices[frame].grey, slices[frame].coloured) for frame in kept), strict=True)
    places = tuple(frame.position for frame in kept if frame.position is not None)
    # Places of some slices only would belong to none of them.
    positions = places if len(places) == len(kept) else None
    pixel_mm2 = _find_common(frame.pixel_mm2 for frame in kept)
    if pixel_mm2 is not None:
        pixel_mm2 = measure_pixel(pixel_mm2, (rows, columns), shown[0].shape)
    return Volume(
        shown,
        "DICOM",
        kept[0].plane,
        positions,
        facts,
        tuple(skipped),
        coloured,
        pixel_mm2=pixel_mm2,
        thickness_mm=_find_common(frame.thickness_mm for frame in kept),
    )


def _name_window(picture: Picture) -> str:
    return picture.facts.details.get("window", "none") if picture.facts else "none"


def _decode_file(frames: list[_Frame]) -> tuple[dict[str, str], dict[_Frame, Picture]]:
    """Facts and slices of one file."""
    entry = frames[0].entry
    with entry.open() as stream:
        dataset = parse(stream, entry, with_pixels=True)
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageError(f"{entry.name} holds no pixels, only their header. {_AGAIN}")
    try:
        _check_frames(dataset, frames)
        shift = _align_bits(dataset)
        pixels = import_pydicom().pixels.iter_pixels(dataset, indices=[frame.number for frame in frames])
        slices = {
            frame: make_slice(dataset, frame.number, frame.plane, array >> shift if shift else array)
            for frame, array in zip(frames, pixels, strict=True)
        }
        shown = slices[frames[0]].facts
        return _describe(dataset, frames[0]) | dict(shown.details if shown else {}), slices
    except ImageError as error:
        raise ImageError(f"{entry.name}: {error}") from None
    except RuntimeError as error:
        what = "has pixels that cannot be decompressed. Export it uncompressed."
        if "missing dependencies" in str(error):
            what = "is compressed; reading it needs the extra `medical`: pip install '.[medical]'"
        raise ImageError(f"{entry.name} {what}") from None
    except list_damage():  # decoders' messages may quote the header, too
        what = "has damaged pixels or a damaged header, or is cut short"
        raise ImageError(f"{entry.name} {what}. {_AGAIN}") from None


def _check_frames(dataset: "Dataset", frames: list[_Frame]) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    if syntax.name.startswith(("MPEG", "HEVC")):
        raise ImageError("it is a film, which is not read. Send the slices that it was made from.")
    count = int(dataset.get("NumberOfFrames") or 1)
    size = (dataset.BitsAllocated + 7) // 8 * dataset.SamplesPerPixel
    for frame in frames:
        stored = import_pydicom().encaps.get_frame(dataset.PixelData, frame.number, number_of_frames=count)
        check_frame(stored, str(syntax), dataset.Rows, dataset.Columns, size)


def _align_bits(dataset: "Dataset") -> int:
    """Let the parser keep the upper bits, where old files hold their values, and say how far to shift."""
    if "HighBit" not in dataset or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return 0
    shift = int(dataset.HighBit) + 1 - int(dataset.BitsStored)
    if not 0 < shift <= int(dataset.BitsAllocated) - int(dataset.BitsStored):
        return 0
    dataset.BitsStored += shift
    return shift


def _describe(dataset: "Dataset", frame: _Frame) -> dict[str, str]:
    """Technical facts; of texts only terms of the standard, since people write names into any field."""
    facts = {"modality": str(dataset.get("Modality") or "not stated")}
    terms = [_SEQUENCES[term] for term in np.ravel(dataset.get("ScanningSequence")) if term in _SEQUENCES]
    if terms:
        facts["sequence"] = ", ".join(terms)
    measures = "PixelMeasuresSequence"
    numbers = {name: ([dataset.get(keyword)], "ms") for keyword, name in _TIMES.items()}
    numbers["field strength"] = [dataset.get("MagneticFieldStrength")], "T"
    numbers["pixel spacing"] = find_value(dataset, frame.number, measures, "PixelSpacing") or [None], "mm"
    numbers["slice thickness"] = [find_value(dataset, frame.number, measures, "SliceThickness")], "mm"
    for name, (values, unit) in numbers.items():
        # Whatever else a person has typed there is not shown.
        with suppress(TypeError, ValueError):
            facts[name] = " x ".join(f"{float(value):.4g}" for value in values) + f" {unit}"
    facts["matrix"] = f"{dataset.Columns} x {dataset.Rows}"
    facts["contrast agent"] = "stated" if dataset.get("ContrastBolusAgent") else "not stated"
    facts["transfer syntax"] = dataset.file_meta.TransferSyntaxUID.name
    return facts
