import dataclasses
import html
import re

import pytest

from serving import from_pretrained
from serving.app import views
from serving.app.page import EXAMPLES
from serving.app.service import Answer
from serving.model.guard import UNLIKE, Verdict
from serving.preprocess import decode


@pytest.fixture(scope="module")
def answer() -> Answer:
    picture = decode(EXAMPLES / "glioma.png")
    return Answer("slice.png", picture, from_pretrained().predict(picture))


@pytest.fixture(scope="module")
def config():
    return from_pretrained().config


def with_sets(answer: Answer, *labels: str, **changes) -> Answer:
    return dataclasses.replace(
        answer, prediction=dataclasses.replace(answer.prediction, prediction_sets={0.95: labels}, **changes)
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("glioma",), "Glioma alone; every other label is ruled out at 95 %."),
        (("glioma", "meningioma"), "Glioma or meningioma; cannot be told apart at 95 %."),
        (
            ("notumor", "glioma", "pituitary"),
            "No tumour, glioma or pituitary tumour; cannot be told apart at 95 %.",
        ),
        (("glioma", "meningioma", "notumor", "pituitary"), "No label can be ruled out at 95 %."),
    ],
)
def test_set_in_words(answer, labels, words):
    assert views.describe_set(with_sets(answer, *labels).prediction, 0.95) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9999, "> 99.9 %"), (1.0, "100.0 %"), (0.0004, "< 0.1 %"), (0.0, "0.0 %"), (0.123, "12.3 %")],
)
def test_percentages_claim_no_certainty(value, text):
    assert views.percent(value) == text


def test_unlike_training_is_warned_of(answer, config):
    reason = UNLIKE
    page = views.render_slice(
        with_sets(answer, "glioma", "meningioma", verdict=Verdict.unlike_training, reason=reason), config
    )
    assert re.search(r'class="warning" role="note"><strong>Unlike the training pictures\.', page)
    assert html.escape(reason) in page
    assert "Unlike the training pictures" not in views.render_slice(answer, config)


def test_refusal_has_the_reason_in_place_of_numbers(answer, config):
    page = views.render_slice(
        with_sets(answer, label=None, verdict=Verdict.not_brain_mri, reason="It is a drawing."), config
    )
    assert "This does not look like a brain MRI slice" in page
    assert "It is a drawing." in page
    assert 'class="bars"' not in page
    assert "heat&#34;: {}" in page


def test_text_from_outside_is_escaped(answer, config):
    evil = "<script>alert(1)</script>"
    pages = [
        views.render_slice(dataclasses.replace(answer, name=evil), config),
        views.render_batch(
            [dataclasses.replace(answer, name=evil), Answer(evil, None, None, error=evil)], config
        ),
        views.render_error(evil),
    ]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_names_in_the_csv_are_no_formulas(answer, config):
    lines = views.write_csv(
        [dataclasses.replace(answer, name="=1+1"), Answer("bad", None, None, error="no, not")], config.labels
    ).splitlines()
    assert lines[1].startswith("'=1+1,glioma,like_training,,0.9")
    assert lines[2].endswith('"no, not"')


def test_card_is_shown_without_front_matter_and_pictures():
    card = "---\nlicense: mit\n---\n\n# Title\n\n![figure](figures/x.png)\nText, see [this](there)."
    assert views.strip_card(card).split() == ["#", "Title", "Text,", "see", "[this](there)."]


def test_model_without_figures_says_so(config):
    assert "came without its figures" in views.render_about(config, None, "abc")
