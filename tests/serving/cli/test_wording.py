import pytest

from serving.cli.wording import format_percent


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "> 99.9 %"),
        (0.9999, "> 99.9 %"),
        (0.9995001, "> 99.9 %"),
        (0.9994, "99.9 %"),
        (0.99, "99.0 %"),
        (0.123, "12.3 %"),
        (0.001, "0.1 %"),
        (0.0009, "< 0.1 %"),
        (0.0, "< 0.1 %"),
    ],
)
def test_percentages_claim_no_certainty(share, text):
    assert format_percent(share) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.95, "95 %"), (0.99, "99 %"), (0.999, "> 99 %"), (0.004, "< 1 %")]
)
def test_whole_percentages(share, text):
    assert format_percent(share, digits=0) == text
