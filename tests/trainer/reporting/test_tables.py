"""The comparison says what others have published and what memory reaches."""

import io
import re
from pathlib import Path

from rich.console import Console

from serving import from_pretrained
from tests.trainer.make_predictions import simulate_predictions
from trainer.evaluation.scoring import summarise
from trainer.reporting.tables import REFERENCES, build_comparison, has_comparison
from trainer.reporting.terminal import print_summary

ROOT = Path(__file__).resolve().parents[3]


def test_references_are_what_their_source_says():
    text = (ROOT / "tumor_ds" / "README.md").read_text()
    for start, reference in (
        ("| the most similar training picture", REFERENCES[2]),
        ("| the same, every picture", REFERENCES[3]),
    ):
        row = next(line for line in text.splitlines() if line.startswith(start))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:3] == [
            f"{reference.accuracy:.1%}".replace("%", " %"),
            f"{reference.unseen_accuracy:.1%}".replace("%", " %"),
        ]
        assert [int(number) / 100 for number in re.findall(r"\d+", cells[4])] == list(
            reference.recall.values()
        )
    # Recall and counts of the published network give its accuracy.
    counts = (300, 306, 405, 300)
    published = REFERENCES[0]
    assert (
        round(
            sum(recall * count for recall, count in zip(published.recall.values(), counts, strict=True))
            / 1311,
            4,
        )
        == published.accuracy
    )
    assert round(405 / 1311, 3) == REFERENCES[4].accuracy


def test_the_model_stands_beside_them():
    summary = summarise(simulate_predictions(), from_pretrained().config)
    header, images, unseen_images, own, own_unseen, _, later, *_ = build_comparison(summary)
    whole, unseen = summary["all"], summary["unseen"]
    assert header == ["accuracy and recall", "all", "unseen", "glioma", "meningioma", "notumor", "pituitary"]
    assert images[1:] == [
        "400",
        str(unseen["count"]),
        *(str(figures["support"]) for figures in whole["per_class"].values()),
    ]
    assert unseen_images[3:] == [str(figures["support"]) for figures in unseen["per_class"].values()]
    assert own[:3] == ["this model", f"{whole['accuracy']:.2%}", f"{unseen['accuracy']:.2%}"]
    assert own[3:] == [f"{figures['recall']:.2%}" for figures in whole["per_class"].values()]
    assert own_unseen[3:] == [f"{figures['recall']:.2%}" for figures in unseen["per_class"].values()]
    assert later[1:] == ["98.32%", "-", "-", "-", "-", "-"]


def test_only_on_the_official_split():
    summary = summarise(simulate_predictions(), from_pretrained().config)
    assert has_comparison("official", summary)
    assert not has_comparison("grouped", summary)
    assert not has_comparison("official", {"all": summary["all"]})
    console = Console(width=200, record=True, file=io.StringIO())
    print_summary("grouped", {"all": summary["all"]}, console)
    printed = console.export_text()
    assert "grouped: all images" in printed
    assert "reference CNN" not in printed
