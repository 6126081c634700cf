"""What the app says of answers, in words.

Goes in: predictions, areas and volumes. Comes out: short sentences, the same on all pages.
"""

from collections.abc import Sequence

from serving.cli.wording import format_head_share, format_measure, format_percent
from serving.model.guard import Verdict
from serving.model.prediction import Prediction

NAMES = {
    "glioma": "Glioma",
    "meningioma": "Meningioma",
    "notumor": "No tumour",
    "pituitary": "Pituitary tumour",
}


# More labels than this are counted, not named.
MOST_LISTED = 6


def name_label(label: str) -> str:
    """The label as a person would say it."""
    return NAMES.get(label, label)


def describe_sets(prediction: Prediction) -> str:
    """Say in a sentence which labels are ruled out at which level.

    Such as "Ruled out at 95 %: all other labels; at 99 %: all but meningioma.".
    """
    levels: dict[str, list[str]] = {}
    for coverage, members in prediction.prediction_sets.items():
        others = [lower(name_label(label)) for label in members if label != prediction.label]
        if not others:
            told = "all other labels"
        elif len(members) == len(prediction.unguarded_probabilities):
            told = "none"
        else:
            told = f"all other labels but {join_names(others, 'and')}"
        levels.setdefault(told, []).append(f"at {format_percent(coverage, digits=0)}")
    parts = [f"{' and '.join(shares)}: {told}" for told, shares in levels.items()]
    return f"Ruled out {'; '.join(parts)}."


def describe_scope(labels: Sequence[str], healthy_label: str | None) -> str:
    """Say what a healthy answer does not mean, such as "Only glioma was looked for, no other disease."."""
    others = [lower(name_label(label)) for label in labels if label != healthy_label]
    if len(others) > MOST_LISTED:
        return f"Only the {len(others)} other labels were looked for, no other disease."
    verb = "was" if len(others) == 1 else "were"
    return f"Only {join_names(others, 'and')} {verb} looked for, no other disease."


def list_labels(labels: Sequence[str], healthy_label: str | None) -> str:
    """Name the labels in a sentence, the healthy one last, such as "Glioma, meningioma or no tumour"."""
    if len(labels) > MOST_LISTED + 1:
        return f"One of {len(labels)} labels"
    ordered = sorted(labels, key=lambda label: label == healthy_label)
    return capitalise(join_names([lower(name_label(label)) for label in ordered], "or"))


def join_names(names: Sequence[str], word: str) -> str:
    """Join names with commas, the last two with a word."""
    return f" {word} ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])


def lower(name: str) -> str:
    """The name without its capital, to stand within a sentence; an abbreviation stays as it is."""
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]


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
