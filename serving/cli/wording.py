"""How numbers and names are written for people, in the app, on the terminal and in reports."""

from serving.model.artefact import NO_TUMOUR

# By `serving.summary.VolumeSummary.volume_basis`.
_BASES = {
    "positions": "from the positions of the slices",
    "thickness": "from the thickness of the slices: their positions are not stated, so gaps are left out",
}


def format_percent(share: float, digits: int = 1) -> str:
    """Write a probability, [0, 1], as a percentage that never claims to be certain.

    Example:
        >>> format_percent(0.1234), format_percent(1.0), format_percent(0.0), format_percent(0.95, digits=0)
        ('12.3 %', '> 99.9 %', '< 0.1 %', '95 %')
    """
    least = 10.0**-digits
    text = f"{100 * share:.{digits}f}"
    if float(text) >= 100:
        return f"> {100 - least:.{digits}f} %"
    return f"{text} %" if 100 * share >= least else f"< {least:.{digits}f} %"


def format_head_share(share: float) -> str:
    """Write how much of the head is outlined, [0, 1], no finer than outlines are.

    Example:
        >>> format_head_share(0.0378), format_head_share(0.002), format_head_share(0.0)
        ('about 4 % of the head', 'under 1 % of the head', 'nothing')
    """
    if share <= 0:
        return "nothing"
    return f"about {100 * share:.0f} % of the head" if share >= 0.01 else "under 1 % of the head"


def name_finding(healthy_label: str | None) -> str:
    """What a label other than the healthy one is called: kinds of own pictures need not be tumours.

    Example:
        >>> name_finding("notumor"), name_finding("sans lésion")
        ('tumour', 'finding')
    """
    return "tumour" if healthy_label == NO_TUMOUR else "finding"


def format_measure(value: float, unit: str) -> str:
    """Write an area or a volume with the digits that it can bear.

    Example:
        >>> format_measure(1234.5, "mm²"), format_measure(9.87, "ml"), format_measure(0.02, "ml")
        ('1,234 mm²', '9.9 ml', 'under 0.1 ml')
    """
    if 0 < value < 0.1:
        return f"under 0.1 {unit}"
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def describe_outlined(found: int | None, count: int, volume_ml: float | None, basis: str | None) -> str:
    """Say in how many slices of a volume something is outlined, and how much.

    Args:
        found: slices with an outline; None: the model has no tumour map.
        count: slices of the volume.
        volume_ml: of what is outlined; None: not known.
        basis: what the volume rests on, see `serving.summary.VolumeSummary`.

    Returns:
        A sentence or two; empty where the model has no tumour map.

    Example:
        >>> describe_outlined(7, 20, 12.3, "positions")
        'Outlined in 7 of 20 slices: about 12 ml, from the positions of the slices.'
    """
    if found is None:
        return ""
    if not found:
        return "Nothing is outlined."
    text = f"Outlined in {found} of {count} slices"
    if volume_ml is None or basis is None:
        return (
            f"{text}. The file does not say how far its pixels and slices lie apart, so no volume is given."
        )
    return f"{text}: about {format_measure(volume_ml, 'ml')}, {_BASES[basis]}."


def clean(text: str) -> str:
    """Make text from a file name safe to print: no control characters, only valid UTF-8, all on one line."""
    printable = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return "".join(printable)
