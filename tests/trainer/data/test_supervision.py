"""What images of which little is known teach."""

import pytest

from trainer.data.input_pipeline import RecordFacts
from trainer.data.supervision import supervise, supervise_known

LABELS = ("glioma", "meningioma", "notumor", "pituitary")


def describe(label: int = -1, tumor: int = -1) -> RecordFacts:
    return RecordFacts("a.png", label, 0, False, tumor=tumor)


@pytest.mark.parametrize(
    ("facts", "may_show", "weight"),
    [
        (describe(1, 1), [0, 1, 0, 0], 1),
        (describe(2, 0), [0, 0, 1, 0], 1),
        (describe(3), [0, 0, 0, 1], 1),
        (describe(tumor=1), [1, 1, 0, 1], 1),
        (describe(tumor=0), [0, 0, 1, 0], 0.25),
        (describe(), [1, 1, 1, 1], 0),
    ],
    ids=["tumour", "healthy", "label alone", "some tumour", "no tumour in the slice", "nothing"],
)
def test_an_image_teaches_what_is_known_of_it(facts, may_show, weight):
    # Between two others, so that each row keeps its own.
    supervision = supervise([describe(0), facts, describe(0)], LABELS, "notumor", no_tumor_weight=0.25)
    assert supervision.targets[1].tolist() == may_show
    assert supervision.weights.tolist() == [1, weight, 1]
    known = supervise_known([facts], LABELS, "notumor")
    assert known.targets[0].tolist() == may_show
    assert known.weights.tolist() == [float(facts.label >= 0)]


def test_the_healthy_label_has_any_name():
    supervision = supervise([describe(tumor=0), describe(tumor=1)], ("left", "sain", "right"), "sain", 0.5)
    assert supervision.weights.tolist() == [0.5, 1]
    assert supervision.targets.tolist() == [[0, 1, 0], [1, 0, 1]]


def test_labels_of_another_study_may_have_no_name_for_no_tumour():
    supervision = supervise([describe(tumor=0), describe(tumor=1)], ("left", "right"), None, 0.5)
    assert supervision.weights.tolist() == [0, 1]
    assert supervision.targets.tolist() == [[1, 1], [1, 1]]
