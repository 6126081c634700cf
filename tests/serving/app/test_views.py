import dataclasses
import html
import re

import pytest

from serving import from_pretrained
from serving.app import views, words
from serving.app.page import EXAMPLES
from serving.app.service import Answer
from serving.model.guard import UNLIKE, Verdict
from serving.pictures.anatomy import Volume
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
    ("labels", "expected"),
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
def test_set_in_words(answer, labels, expected):
    assert words.describe_set(with_sets(answer, *labels).prediction, 0.95) == expected


def test_certain_answer_is_shown_as_not_quite_certain(answer, config):
    probabilities = {"glioma": 1.0, "meningioma": 0.0, "notumor": 0.0, "pituitary": 0.0}
    certain = with_sets(answer, "glioma", unguarded_probabilities=probabilities)
    for page in (views.render_slice(certain, config), views.render_batch([certain], config)):
        assert "&gt; 99.9 %" in page
        assert "100.0 %" not in page
    assert "&lt; 0.1 %" in views.render_slice(certain, config)


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
        views.render_batch([dataclasses.replace(answer, name=evil), Answer(evil, error=evil)], config),
        views.render("error.html.j2", message=evil),
    ]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_every_answer_can_be_downloaded(answer, config):
    volume = Volume((answer.picture.grey,) * 2, "DICOM", None, None, {}, ())
    pages = [
        views.render_slice(answer, config),
        views.render_batch([answer], config),
        views.render_volume("series.zip", volume, [answer.prediction] * 2, config),
    ]
    for page in pages:
        assert page.count('download="answers.csv" href="data:text/csv;charset=utf-8,file%2Cslice%2C') == 1
    assert "%0Aseries.zip%2C0%2C" in html.unescape(pages[2]).replace("%0D", "")
    assert "2</strong> Glioma (up to 2 in a row)" in pages[2]


def test_card_is_shown_without_front_matter_and_pictures():
    card = "---\nlicense: mit\n---\n\n# Title\n\n![figure](figures/x.png)\nText, see [this](there)."
    assert views.strip_card(card).split() == ["#", "Title", "Text,", "see", "[this](there)."]


def test_model_without_figures_says_so(config):
    assert "came without its figures" in views.render_about(config, {}, "abc")
