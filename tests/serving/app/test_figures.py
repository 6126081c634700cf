"""Which figures the page shows first."""

import pytest

from serving.app.figures import describe_figures, list_figures


def make(count: int, accuracy: float | None = 0.9) -> dict:
    return {"count": count, "accuracy": accuracy, "accuracy_interval": [0.8, 0.95]}


OFFICIAL = {"all": make(1311), "unseen": make(319), "with_train_twin": make(992)}
SOURCES = {"all": make(9) | {"sources": {"by_source": {"nins": make(5), "lgg_tcga": make(4, None)}}}}


def test_unseen_patients_and_other_sources_come_first_and_the_leaked_figure_last():
    metrics = {"official": OFFICIAL, "images-clinic": {"all": make(7)}, "sources-nins": SOURCES}
    figures = list_figures(metrics | {"patient": {"all": make(1404)}})
    assert [figure.count for figure in figures] == [1404, 7, 5, 319, 1311]
    assert [figure.is_leaked for figure in figures] == [False, False, False, False, True]
    assert figures[2].title == "Another source, not learnt from: nins"


@pytest.mark.parametrize(
    ("metrics", "told", "missing"),
    [
        ({"official": OFFICIAL}, "rewards memory", "unseen patients or other hospitals"),
        ({"mine": {"all": make(18)}}, "", "unseen patients or other hospitals"),
        ({"patient": {"all": make(9)}}, "", "other hospitals"),
        ({"sources-unseen_patients": SOURCES}, "", "other hospitals"),
        ({"sources-left_out": SOURCES}, "", "unseen patients"),
        ({"patient": {"all": make(9)}, "sources-nins": SOURCES}, "", ""),
    ],
)
def test_what_figures_are_not_about_is_said(metrics, told, missing):
    text = describe_figures(metrics)
    assert told in text
    assert ("rewards memory" in text) == bool(told)
    assert (f"No figure is about {missing}," in text) == bool(missing)
