"""What the texts of VQA-Med 2019 say of a picture: whether it is brain MR, its sequence, its case.

Goes in: a question and its answer in each of four categories, in lower case. Comes out: why a picture is left
out, or its sequence; and which pictures are of one case. Phrases are those that the organisers list.

Source: README of VQA-Med 2019, lists of planes, organ systems and modalities,
https://github.com/abachaa/VQA-Med-2019
"""

from pathlib import PurePosixPath

from tumor_ds.sources.diagnoses import name_kind

CATEGORIES = MODALITY, PLANE, ORGAN, ABNORMALITY = ("C1_Modality", "C2_Plane", "C3_Organ", "C4_Abnormality")
BRAIN = "skull and contents"
PLANES = ("axial", "transverse", "coronal", "frontal", "sagittal")
# Sequence by answer; all other MR sequences, and T1 of which no more is said, are `unknown`.
ANSWERS = {
    "mr - t1w w/gadolinium": "T1C",
    "mr - t1w w/gd (fat suppressed)": "T1C",
    "mr - t1w - noncontrast": "T1",
    "mr - t2 weighted": "T2",
    "t2": "T2",
    "mr - flair": "FLAIR",
    "mr - flair w/gd": "FLAIR",
    "mr - t2 flair w/contrast": "FLAIR",
    "flair": "FLAIR",
}
# Pictures of one case have numbers at most this far apart: 38 in 267 cases that are known.
MAX_STEP = 40

# (question, answer) by category.
Texts = dict[str, tuple[str, str]]


def find_fault(pairs: Texts) -> str | None:
    """Find why a picture is left out, in words; None where it is not."""
    if not _is_stated_mr(pairs):
        return "not stated to be MR"
    if pairs[ORGAN][1] != BRAIN:
        return "not stated to be of the brain"
    if pairs[PLANE][1] not in PLANES:
        return "not stated to be a slice in one of three planes"
    if name_kind(*pairs[ABNORMALITY]) is None:
        return "no diagnosis of one known kind"
    return None


def _is_stated_mr(pairs: Texts) -> bool:
    """Whether an answer names an MR sequence, or any question speaks of an MRI and none denies it."""
    question, answer = pairs[MODALITY]
    # Angiography and spectroscopy show no slice as the other sequences do.
    if answer.startswith(("mra ", "mrs ")) or (question, answer) == ("is this an mri image?", "no"):
        return False
    if answer.startswith("mr ") or answer in ("t1", "t2", "flair"):
        return True
    is_weighted = answer == "yes" and "weighted image" in question
    return is_weighted or any("mri" in asked for asked, _ in pairs.values())


def find_sequence(question: str, answer: str) -> str:
    """Find the sequence that question and answer about the modality state.

    Example:
        >>> find_sequence("what is the mr weighting in this image?", "t2")
        'T2'
        >>> find_sequence("what is the mr weighting in this image?", "t1")
        'unknown'
    """
    if answer == "yes" and "t2 weighted image" in question:
        return "T2"
    return ANSWERS.get(answer, "unknown")


def name_patients(diagnoses: dict[str, str]) -> dict[str, str]:
    """Name the patient of each picture: the first picture of a run of close numbers with one diagnosis.

    Args:
        diagnoses: by path `.../synpicN.jpg`.

    Example:
        >>> list(name_patients({"a/synpic7.jpg": "stroke", "b/synpic9.jpg": "stroke"}).values())
        ['synpic7', 'synpic7']
    """
    latest: dict[str, tuple[int, str]] = {}
    names = {}
    stems = {path: PurePosixPath(path).stem for path in diagnoses}
    for path in sorted(stems, key=lambda path: _read_number(stems[path])):
        number = _read_number(stems[path])
        before, name = latest.get(diagnoses[path], (-MAX_STEP - 1, ""))
        names[path] = name if number - before <= MAX_STEP else stems[path]
        latest[diagnoses[path]] = number, names[path]
    return names


def _read_number(stem: str) -> int:
    return int(stem.removeprefix("synpic"))
