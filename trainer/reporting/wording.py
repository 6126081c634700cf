"""Words that tables, page, card and figures share: names of subsets, and how numbers are written.

Goes in: names and numbers of `metrics.json`. Comes out: text.
"""

from collections.abc import Collection

# What is unknown, or not defined, as the recall of a class without images.
UNKNOWN = "-"
# The part with a twin in Training says nothing that the whole does not: most tables leave it out.
MAIN_SUBSETS = ("all", "unseen")
SUBSET_TITLES = {
    "all": "all test images",
    "unseen": "test images without a twin in Training",
    "with_train_twin": "test images that are a mirrored or turned training image",
}
SUBSET_HEADINGS = {"all": "all", "unseen": "unseen", "with_train_twin": "with a twin"}
# By protocol and subset: for whoever sees nothing of the card but its metadata.
SPLIT_TITLES = {
    ("official", "all"): (
        "official test split (leaked: most test images are mirrored or turned training images)"
    ),
    ("official", "unseen"): "official test images without a twin in Training",
    ("grouped", "all"): "split anew by whole groups of copies and neighbouring slices",
    ("patient", "all"): (
        "one of five folds, split by patient where patients are known and by whole groups elsewhere"
    ),
}
# By what points at the tumour, with the prefix of its columns: the map, then the two floors.
POINTER_TITLES = {"": "tumour map", "cam_": "class activation map", "centre_": "middle of the picture"}
FIGURE_TITLES = {"accuracy": "accuracy", "macro_f1": "macro F1", "nll": "NLL", "brier": "Brier", "ece": "ECE"}


def title_subset(subset: str, subsets: Collection[str]) -> str:
    """Name a subset in full; one that stands alone is `all images`."""
    return SUBSET_TITLES[subset] if len(subsets) > 1 else "all images"


def title_subsets(subsets: Collection[str]) -> dict[str, str]:
    """Name what figures show side by side; only a split with twins of training images is called leaked."""
    if "with_train_twin" not in subsets:
        return {"all": "all images"}
    titles = {"all": f"{SUBSET_TITLES['all']} (leaked)", "unseen": "without a twin in Training"}
    return {name: title for name, title in titles.items() if name in subsets}


def name_subset(subset: str, subsets: Collection[str]) -> str:
    """Name a subset in a row of a table; the leaked one is called leaked."""
    whole = "whole test split, leaked" if "with_train_twin" in subsets else "whole test split"
    return whole if subset == "all" else "without a twin in Training"


def format_figure(value: float | None, form: str = ".2%") -> str:
    """Write a figure over counted images, which may be 100 %.

    Args:
        value: None where it is not defined.
        form: as of `format`; `.2%` or `.4f`.
    """
    return UNKNOWN if value is None else f"{value:{form}}"


def format_interval(bounds: list[float] | None, form: str = ".2%") -> str:
    """Write the two ends of an interval; arguments as for `format_figure`."""
    return UNKNOWN if bounds is None else f"{bounds[0]:{form}} to {bounds[1]:{form}}"


def format_probability(probability: float, digits: int = 2) -> str:
    """Write what a model said of one picture, [0, 1]; it is never certain.

    Example:
        >>> format_probability(0.98765), format_probability(0.99999), format_probability(0.0, digits=0)
        ('98.77%', '>99.99%', '<1%')
    """
    least = 10.0 ** -(digits + 2)
    if probability < least:
        return f"<{least:.{digits}%}"
    text = f"{probability:.{digits}%}"
    return f">{1 - least:.{digits}%}" if float(text[:-1]) >= 100 else text


def format_duration(seconds: float) -> str:
    """Write hours and minutes, at least one minute."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(1, minutes)} min"
