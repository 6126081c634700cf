"""`vqamed2019`: teaching cases of many hospitals, as ImageCLEF VQA-Med 2019 comes.

What: 3,700 pictures of all organs with questions and answers: 3,200 for training and 500 for validation. Read
are slices of brain MR whose answers name a diagnosis.
From: https://zenodo.org/records/10499039 and https://github.com/abachaa/VQA-Med-2019; pixels of MedPix (NLM).
Unpack `ImageClef-2019-VQA-Med-Training` and `-Validation`, and the zips of pictures in them.
Licence: texts CC BY 4.0; MedPix pictures for teaching and research, with attribution.
Citation: Ben Abacha et al. (2019), VQA-Med: Overview of the Medical Visual Question Answering Task, CLEF.

`tumor_ds.sources.diagnoses` reads the diagnosis. A tumour of none of the four kinds has no label and `tumor`
1. A picture without tumour has an empty mask; that of the others is unknown.

Left out and logged, by reason: pictures that are not stated to be MR of the brain in one of three planes;
diagnoses that the word lists do not know, or that name two kinds; pictures of which only "not normal" is
said. The 500 test pictures have one question each, which never tells both organ and diagnosis: they are not
read.

Known faults: the label is the diagnosis of the case, and a slice may not show it. Letters stand at the edges.
The sequence is `unknown` where the text says T1, and not whether contrast agent was given. Cases have no
numbers. So pictures of one diagnosis whose own numbers are close count as one patient.
"""

import logging
import re
from collections import Counter, defaultdict
from pathlib import Path

from tumor_ds.collection.errors import DatasetError
from tumor_ds.sources.diagnoses import OTHER_TUMOUR, name_kind
from tumor_ds.sources.folders import check_count, empty_mask, find_below, read_picture
from tumor_ds.sources.slices import NO_TUMOUR, Adapter, Slice
from tumor_ds.sources.vqamed2019_texts import (
    ABNORMALITY,
    CATEGORIES,
    MODALITY,
    Texts,
    find_fault,
    find_sequence,
    name_patients,
)

SOURCE = "vqamed2019"
HOMEPAGE = "https://zenodo.org/records/10499039"
# (folder of pictures, their number) by the ending of the files of text.
PARTS = {"train": ("Train_images", 3200), "val": ("Val_images", 500)}

# Path below the folder, kind of `diagnoses`, sequence, patient.
Unit = tuple[str, str, str, str]

logger = logging.getLogger(__name__)


def _list_pictures(folder: Path) -> list[Unit]:
    texts: dict[str, Texts] = {}
    for part, (images, expected) in PARTS.items():
        found = _read_texts(folder, part, images)
        check_count(f"{SOURCE}: pictures with texts of {part} in {folder}", len(found), expected, HOMEPAGE)
        texts |= found
    reasons = {path: find_fault(pairs) for path, pairs in texts.items()}
    for reason, number in sorted(Counter(filter(None, reasons.values())).items()):
        logger.warning("%s: %d pictures left out: %s", SOURCE, number, reason)
    chosen = sorted(path for path in texts if not reasons[path])
    patients = name_patients({path: texts[path][ABNORMALITY][1] for path in chosen})
    kinds = {path: name_kind(*texts[path][ABNORMALITY]) or "" for path in chosen}
    return [(path, kinds[path], find_sequence(*texts[path][MODALITY]), patients[path]) for path in chosen]


def _read_texts(folder: Path, part: str, images: str) -> dict[str, Texts]:
    """(question, answer) by category, by path of the picture below the folder."""
    found: dict[str, Texts] = defaultdict(lambda: dict.fromkeys(CATEGORIES, ("", "")))
    for category in CATEGORIES:
        files = find_below(folder, f"QAPairsByCategory/{category}_{part}.txt")
        if len(files) != 1:
            what = f"{len(files)} files {category}_{part}.txt"
            raise DatasetError(f"{SOURCE}: {what} in {folder}, expected one. Download it from {HOMEPAGE}.")
        for number, line in enumerate(files[0].read_text("utf-8", "replace").splitlines(), 1):
            fields = [field.strip().lower() for field in line.split("|")]
            if len(fields) != 3 or not re.fullmatch(r"synpic\d+", fields[0]):
                where = f"line {number} of {files[0]}"
                raise DatasetError(f"{SOURCE}: {where} is not synpicN|question|answer. Download it again.")
            path = files[0].parents[1] / images / f"{fields[0]}.jpg"
            if not path.is_file():
                raise DatasetError(f"{SOURCE}: there is no {path}. Unpack the zip of the pictures there.")
            found[path.relative_to(folder).as_posix()][category] = fields[1], fields[2]
    return dict(found)


def _read_picture(folder: Path, unit: Unit) -> list[Slice]:
    path, kind, sequence, patient = unit
    label = None if kind == OTHER_TUMOUR else kind
    tumor = kind != NO_TUMOUR
    image = read_picture(folder, path).grey
    name = "/".join(Path(path).parts[-2:])
    mask = empty_mask(image, tumor)
    return [Slice(name, image, label, tumor, SOURCE, sequence, "kept", patient, mask=mask)]


ADAPTER = Adapter(
    lambda folder: bool(find_below(folder, "QAPairsByCategory/C4_Abnormality_train.txt")),
    _list_pictures,
    _read_picture,
)
