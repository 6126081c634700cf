"""What the app says of answers, in words.

Goes in: predictions, areas and volumes. Comes out: short sentences, the same on all pages.
"""

from serving.cli.wording import format_head_share, format_measure, format_percent
from serving.model.guard import Verdict
from serving.model.prediction import Prediction

NAMES = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "notumor": "No tumour",
    "pituitary": "Pituitary tumour",
}


def name_label(label: str) -> str:
    """The label as a person would say it."""
    return NAMES.get(label, label)


def describe_set(prediction: Prediction, coverage: float) -> str:
    """Say which labels cannot be ruled out, such as "Glioma or meningioma; cannot be told apart at 95 %."."""
    members, level = prediction.prediction_sets[coverage], format_percent(coverage, digits=0)
    names = [name_label(label) for label in members]
    if len(members) == 1:
        return f"{names[0]} alone; every other label is ruled out at {level}."
    if len(members) == len(prediction.unguarded_probabilities):
        return f"No label can be ruled out at {level}."
    listed = ", ".join([names[0], *map(lower, names[1:-1])])
    return f"{listed} or {lower(names[-1])}; cannot be told apart at {level}."


def lower(name: str) -> str:
    """The name without its capital, to stand within a sentence."""
    return name[:1].lower() + name[1:]


def capitalise(name: str) -> str:
    """The name with a capital, all else as it is."""
    return name[:1].upper() + name[1:]


def describe_extent(prediction: Prediction, area_mm2: float | None) -> str:
    """Say how much is outlined, such as "About 4 % of the head is outlined, 812 mm²."; else empty.

    Empty where the slice is refused or the model has no tumour map.
    """
    if prediction.tumor_share is None:
        return ""
    if not prediction.outlines:
        return "Nothing is outlined."
    area = "" if area_mm2 is None else f", {format_measure(area_mm2, 'mm²')}"
    return f"{capitalise(format_head_share(prediction.tumor_share))} is outlined{area}."


def summarise(prediction: Prediction, area_mm2: float | None) -> str:
    """Say an answer in a sentence or three."""
    if prediction.label is None or prediction.probabilities is None:
        return "This does not look like a brain MRI slice."
    share = format_percent(prediction.probabilities[prediction.label])
    warning = " Unlike the training pictures." if prediction.verdict is Verdict.unlike_training else ""
    extent = describe_extent(prediction, area_mm2)
    return f"{name_label(prediction.label)}, {share}.{' ' + extent if extent else ''}{warning}"
