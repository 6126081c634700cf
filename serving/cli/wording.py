"""How numbers and names are written for people, in the app, on the terminal and in reports."""

from rich.markup import escape


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


def clean(text: str) -> str:
    """Make text from a file name safe to print: no markup, no control characters, only valid UTF-8."""
    printable = (one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return escape("".join(printable))
