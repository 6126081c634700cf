import dataclasses
import html
import re

import pytest

from serving import from_pretrained
from serving.app import views, words
from serving.app.service import Answer
from serving.app.views import EXAMPLES
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


@pytest.fixture(scope="module")
def other_config(config):
    """Of a model of other classes."""
    raw = config.raw | {"dataset": config.raw["dataset"] | {"name": "tumor_ds/mes_patients"}}
    return dataclasses.replace(
        config, labels=("lésion ischémique", "SEP", "sans lésion"), healthy_label="sans lésion", raw=raw
    )


def with_sets(answer: Answer, *labels: str, **changes) -> Answer:
    return dataclasses.replace(
        answer, prediction=dataclasses.replace(answer.prediction, prediction_sets={0.95: labels}, **changes)
    )


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([["glioma"], ["glioma"]], "Ruled out at 95 % and at 99 %: all other labels."),
        (
            [["glioma"], ["glioma", "meningioma"]],
            "Ruled out at 95 %: all other labels; at 99 %: all other labels but meningioma.",
        ),
        (
            [["glioma", "notumor", "pituitary"], ["glioma", "meningioma", "notumor", "pituitary"]],
            "Ruled out at 95 %: all other labels but no tumour and pituitary tumour; at 99 %: none.",
        ),
    ],
)
def test_one_sentence_says_what_is_ruled_out_at_which_level(answer, sets, expected):
    prediction = dataclasses.replace(
        answer.prediction, prediction_sets=dict(zip((0.95, 0.99), map(tuple, sets), strict=True))
    )
    assert words.describe_sets(prediction) == expected


def test_no_tumour_says_that_other_disease_is_not_looked_for(answer, config):
    told = "Only glioma, meningioma and pituitary tumour were looked for, no other disease."
    scope = f'<p class="scope">{told}</p>'
    assert scope in views.render_slice(with_sets(answer, "notumor", label="notumor"), config)
    assert scope not in views.render_slice(answer, config)


def test_no_mark_says_that_an_answer_is_right(answer, config):
    for page in (views.render_slice(answer, config), views.render_batch([answer], config)):
        assert not re.search("[✓✔☑]", page)


def test_head_and_about_are_about_the_labels_of_the_model(other_config):
    head = html.unescape(views.render_masthead(other_config))
    assert "Lésion ischémique, SEP or sans lésion: how likely" in head
    assert "one dataset (<code>tumor_ds/mes_patients</code>)" in head
    metrics = {"mes_patients": {"all": {"count": 18, "accuracy": 0.75, "accuracy_interval": [0.5, 0.9]}}}
    about = html.unescape(views.render_about(other_config, metrics, "abc"))
    assert re.search(r"Test pictures of mes_patients, .*18.*75\.0 %.*50\.0 to 90\.0 %", about, re.DOTALL)
    assert "Only lésion ischémique and SEP were looked for, no other disease." in about
    for page in (head, about):
        assert not re.search("(?i)glioma|meningioma|pituitary|tumour|kaggle|official|figshare", page)


def test_many_labels_are_counted_and_not_named():
    labels = tuple(f"class {number}" for number in range(50))
    assert words.list_labels(labels, None) == "One of 50 labels"
    assert words.describe_scope(labels, "class 3").startswith("Only the 49 other labels")


def test_only_examples_that_the_model_has_a_label_for_are_shown(config, other_config):
    assert len(views.find_examples(config)) == 4
    assert views.find_examples(other_config) == []
    assert "Or try an example" not in views.render("intake.html.j2", name="slice", examples=[])


def test_volume_starts_at_its_most_affected_slice(answer, config):
    """Of a model that outlines nothing: the one that is least probably healthy."""
    volume = Volume((answer.picture.grey,) * 5, "DICOM", None, None, {}, ())
    shares = [0.9, 0.8, 0.9, 0.2, 0.9]
    predictions = [
        dataclasses.replace(
            answer.prediction,
            unguarded_probabilities=answer.prediction.unguarded_probabilities | {"notumor": p},
        )
        for p in shares
    ]
    page = views.render_volume("series.zip", volume, predictions, config)
    assert 'max="5" value="4"' in page
    unnamed = [dataclasses.replace(one, healthy_label=None) for one in predictions]
    assert 'max="5" value="3"' in views.render_volume("series.zip", volume, unnamed, config)


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
