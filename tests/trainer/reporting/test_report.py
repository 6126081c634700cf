"""The report tells what the files beside it tell, opens anywhere, and shows pictures only where it may."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from serving import from_pretrained
from serving.model.artefact import BUNDLED
from tests.open_page import open_page
from tests.trainer.make_predictions import simulate_predictions
from tests.trainer.marked_numbers import check_number, follow, parse
from trainer.cli.main import app
from trainer.evaluation.corruptions import CORRUPTIONS
from trainer.evaluation.gallery import list_gallery, load_gallery
from trainer.evaluation.metrics import compute_calibration_error
from trainer.evaluation.predictions import Predictions
from trainer.evaluation.predictions_file import load_predictions
from trainer.evaluation.robustness import choose_filenames
from trainer.evaluation.scoring import summarise
from trainer.reporting.evaluation_files import save_corruptions, save_evaluation
from trainer.reporting.report import Model, write_report

HOSTILE = "Testing/<script>document.title='x'<script>{{ 7 * 7 }}\"><img src=x>.jpg"
LABELS = ("glioma", "meningioma", "notumor", "pituitary")


def draw(names) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(len(name)).integers(0, 256, (60, 50), np.uint8) for name in names}


def make_corruptions(predictions: Predictions) -> dict:
    """What scoring worse pictures of these predictions gives, each as good as the clean one."""
    chosen = choose_filenames(predictions.filenames, predictions.true)
    part = predictions.take(np.array([name in chosen for name in predictions.filenames]))
    correct = part.predicted == part.true
    figures = {
        "count": len(correct),
        "accuracy": float(correct.mean()),
        "accuracy_interval": [0.5, 0.9],
        "macro_f1": 0.5,
        "tumour_sensitivity": 0.75,
        "refused": 0.125,
        "ece": compute_calibration_error(correct, part.probs.max(axis=1)),
    }
    rows = [{"severity": level, "parameter": "sigma", "value": level, **figures} for level in (1, 2, 3)]
    summary = {
        "mean_corruption_accuracy": 0.625,
        "mean_corruption_accuracy_interval": [0.5, 0.75],
        "relative_drop": 0.1,
    }
    scored = {
        "count": len(correct),
        "clean": figures,
        "corruptions": dict.fromkeys(CORRUPTIONS, rows),
        **summary,
    }
    return {"all": scored, "unseen": scored}


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """Answers with twins, refusals and mistakes; the surest mistake is quite sure, and its name hostile."""
    made = simulate_predictions(count=120, skill=1.0)
    wrong = np.flatnonzero(made.predicted != made.true)
    worst = wrong[made.probs[wrong].max(axis=1).argmax()]
    made.probs[worst] = np.eye(4)[made.predicted[worst]]
    names = tuple(HOSTILE if row == worst else name for row, name in enumerate(made.filenames))
    return Predictions(**{**vars(made), "filenames": names, "refused": np.arange(120) % 3 == 0})


@pytest.fixture(scope="module")
def folder(predictions, tmp_path_factory) -> Path:
    """Folder of an evaluation with everything that a report can show."""
    folder, classifier = tmp_path_factory.mktemp("evaluation"), from_pretrained()
    save_evaluation(predictions, summarise(predictions, classifier.config), folder)
    save_corruptions(make_corruptions(predictions), folder)
    curves = (folder / "figures" / "sets_official.png").read_bytes()
    write_report(
        folder, [Model(classifier.config, BUNDLED, curves)], load_gallery(predictions, classifier, draw)
    )
    return folder


def test_every_number_is_that_of_the_files(folder):
    files = {"config.json": json.loads((BUNDLED / "config.json").read_text())}
    files |= {name: json.loads((folder / name).read_text()) for name in ("metrics.json", "corruptions.json")}
    parsed = parse(folder / "report.html")
    for key, text in parsed.numbers:
        name, _, pointer = key.partition("#")
        check_number(follow(files[name], pointer), text)
    keys = {key for key, _ in parsed.numbers}
    for subset in ("all", "unseen"):
        for figure in (
            "accuracy",
            "count",
            "accuracy_interval/0",
            "macro/f2",
            "any_tumour/most_probable_label/sensitivity",
            "ece",
            "nll",
            "brier",
        ):
            assert f"metrics.json#/official/{subset}/{figure}" in keys
        for label in LABELS:
            assert f"metrics.json#/official/{subset}/per_class/{label}/recall" in keys
    assert "corruptions.json#/unseen/corruptions/noise/2/accuracy" in keys
    assert len(parsed.numbers) > 300


def test_columns_are_the_subsets_that_their_heads_name(folder):
    page = (folder / "report.html").read_text()
    table = page[page.index("All that is measured") : page.index("</table>")]
    assert re.findall(r'<th scope="col">(.*?)</th>', table) == ["figure", "all", "unseen", "with a twin"]
    rows = [re.findall(r"#/official/([a-z_]+)/([a-z0-9_/]+)", row) for row in re.split("<tr[ >]", table)[2:]]
    assert len(rows) > 15
    for keys in rows:
        assert list(dict.fromkeys(subset for subset, _ in keys)) == ["all", "unseen", "with_train_twin"]
        assert len({figure.removesuffix("/0").removesuffix("/1") for _, figure in keys}) == 1


def test_no_figure_stands_unmarked(folder):
    """But for versions and what others have published."""
    rest = parse(folder / "report.html").rest
    rest = re.sub(
        r"reference CNN.*the largest class.*?AUROC|tumor_ds/official\s+1\.0\.0", "", rest, flags=re.DOTALL
    )
    outside = re.sub(
        r"<style>.*?</style>", "", rest[rest.index("Evaluation of efficientnet_lite0, ") :], flags=re.DOTALL
    )
    assert re.findall(r"\d+\.\d{2,}", outside) == []


def test_the_first_screen_tells_the_leaked_figure_beside_the_unseen_one(folder):
    text = (folder / "report.html").read_text()
    hero = text[text.index("<header") : text.index("</header>")]
    assert "Leaked:" in hero
    for key in (
        "all/accuracy",
        "unseen/accuracy",
        "unseen/accuracy_interval/1",
        "unseen/any_tumour/most_probable_label/sensitivity",
    ):
        assert f"metrics.json#/official/{key}" in hero
    assert "not a medical device" in text


def test_mistakes_are_those_of_the_predictions_the_surest_first(folder):
    predictions = load_predictions(folder / "predictions.csv")
    parsed = parse(folder / "report.html")
    sureness = [predictions.probs[predictions.filenames.index(name)].max() for name in parsed.predictions]
    assert len(sureness) == 24
    assert sureness == sorted(sureness, reverse=True)
    assert next(iter(parsed.predictions.items())) == (HOSTILE, ">99.99%")  # no answer is certain
    for (name, text), probability in zip(parsed.predictions.items(), sureness, strict=True):
        row = predictions.filenames.index(name)
        assert predictions.predicted[row] != predictions.true[row]
        check_number(float(probability), text)
    page = (folder / "report.html").read_text()
    shown = [predictions.filenames.index(name) for name in parsed.predictions]
    assert page.count("refused, twin in Training") == sum(
        predictions.refused[row] and predictions.has_train_twin[row] for row in shown
    )
    assert page.count("answered, no twin") == sum(
        not predictions.refused[row] and not predictions.has_train_twin[row] for row in shown
    )


def test_what_strangers_wrote_is_escaped(folder):
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    assert page.count("<img ") == page.count('src="data:image/')
    assert "{{ 7 * 7 }}" in page


def test_the_page_is_small_and_shows_every_figure(folder):
    images = parse(folder / "report.html").images
    alts = [image["alt"] for image in images]
    assert alts[:2] == ["Confusion matrix", "By class"]
    assert {
        "ROC",
        "Precision and recall",
        "Reliability",
        "Risk and coverage",
        "Sets by class",
        "Worse pictures",
    } <= set(alts)
    assert {"Learning curves", "Architecture"} <= set(alts)
    assert sum(image["src"].startswith("data:image/jpeg") for image in images) == 24 * 2 + 4 * 6
    assert (folder / "report.html").stat().st_size < 4_000_000
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "mistakes_official.png",
        "samples_official.png",
    }


def test_without_pictures_it_may_be_published(folder, predictions, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    write_report(tmp_path / "copy", [Model(from_pretrained().config, BUNDLED)], list_gallery(predictions))
    parsed = parse(tmp_path / "copy" / "report.html")
    assert not any(image["src"].startswith("data:image/jpeg") for image in parsed.images)
    assert len(parsed.predictions) == 24
    assert "made with --no-pictures" in parsed.rest
    assert not list((tmp_path / "copy" / "pictures").iterdir())
    assert "No learning curves" in parsed.rest


def test_what_is_missing_is_said(tmp_path):
    """Every label right, no `notumor`, no twins, no worse pictures, an artefact without its diagram."""
    classifier, made = from_pretrained(), simulate_predictions(count=40, skill=60.0)
    right = Predictions(
        **{
            **vars(made),
            "labels": ("a", "b", "c~1", "<i>d"),
            "has_train_twin": np.zeros(40, bool),
            "protocol": "images-<b>x",
        }
    )
    save_evaluation(right, summarise(right, classifier.config), tmp_path)
    write_report(tmp_path, [Model(classifier.config, tmp_path)], load_gallery(right, classifier, draw))
    parsed = parse(tmp_path / "report.html")
    for said in (
        "every label is right",
        "There is no such question here",
        "Not scored for these predictions",
        "No learning curves",
        "No architecture",
    ):
        assert said in parsed.rest
    assert "eaked" not in parsed.rest[parsed.rest.index("Evaluation of efficientnet_lite0, ") :]
    assert "tumor evaluate MODEL --images <b>x" in parsed.rest
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for key, text in parsed.numbers:
        if key.startswith("metrics.json#"):
            check_number(follow(metrics, key.partition("#")[2]), text)


@pytest.mark.parametrize(
    "left",
    [
        json.dumps(make_corruptions(simulate_predictions(count=120, skill=1.0, seed=1))),
        '{"all": {}}',
        "{",
        "[]",
    ],
)
def test_worse_pictures_of_another_model_are_not_shown(folder, predictions, tmp_path, left):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "corruptions.json").write_text(left)
    write_report(tmp_path / "copy", [Model(from_pretrained().config, BUNDLED)], list_gallery(predictions))
    assert "Not scored for these predictions" in parse(tmp_path / "copy" / "report.html").rest


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_a_browser_and_asks_for_nothing(browser, folder, width, scheme):
    with open_page(browser, folder / "report.html", width, scheme) as page:
        assert page.title() == "Evaluation of efficientnet_lite0 on official"


# From the command line


def run_evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def hospital(tmp_path):
    for name in ("glioma/a.png", "notumor/b.png"):
        (tmp_path / "hospital" / name).parent.mkdir(parents=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(
            tmp_path / "hospital" / name
        )
    return tmp_path / "hospital"


def test_pictures_of_a_folder_are_shown_unless_they_shall_not_be(hospital, tmp_path):
    assert run_evaluate("--images", hospital, "--out", tmp_path / "out").exit_code == 0
    assert (
        sum(
            image["src"].startswith("data:image/jpeg")
            for image in parse(tmp_path / "out" / "report.html").images
        )
        >= 4
    )
    result = run_evaluate("--images", hospital, "--no-pictures", "--out", tmp_path / "out")
    assert f"Written: {tmp_path}/out/report.html" in result.output
    assert "data:image/jpeg" not in (tmp_path / "out" / "report.html").read_text()
    assert str(tmp_path) not in (tmp_path / "out" / "report.html").read_text()


def test_a_report_that_cannot_be_written_is_one_clear_line(hospital, tmp_path):
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    result = run_evaluate("--images", hospital, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"{tmp_path / 'out' / 'report.html'} cannot be used: Is a directory." in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_a_run_has_its_report_with_learning_curves_and_the_artefact_has_none(tiny_run):
    parsed = parse(tiny_run / "report.html")
    assert {"Learning curves", "Architecture"} <= {image["alt"] for image in parsed.images}
    assert (
        sum(image["src"].startswith("data:image/jpeg") for image in parsed.images) >= 8
    )  # of eight test images
    assert not list((tiny_run / "artefact").rglob("report.html"))
    assert not (tiny_run / "artefact" / "pictures").exists()
    metrics = json.loads((tiny_run / "artefact" / "metrics.json").read_text())
    for key, text in parsed.numbers:
        if key.startswith("metrics.json#"):
            check_number(follow(metrics, key.partition("#")[2]), text)


def test_evaluating_a_run_shows_its_learning_curves(tiny_run, dummy_dataset_dir, tmp_path):
    result = run_evaluate(tiny_run, "--data-dir", dummy_dataset_dir, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    parsed = parse(tmp_path / "report.html")
    assert "Learning curves" in {image["alt"] for image in parsed.images}
    assert "tumor evaluate MODEL --protocol official" in parsed.rest


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("0,", "zero,", 1), "could not convert string to float: 'zero'"),
        (lambda text: text.rstrip("\n").rpartition(",")[0] + "\n", "is damaged"),
        (lambda text: text.replace("val_loss", "vol_loss"), "missing: val_loss"),
        (lambda text: "", "missing: epoch, loss"),
        (lambda text: "\xff", "is damaged"),
    ],
)
def test_a_damaged_history_is_one_clear_line(tiny_run, tmp_path, spoil, message):
    shutil.copytree(tiny_run / "artefact", tmp_path / "run" / "artefact")
    (tmp_path / "run" / "history.csv").write_bytes(
        spoil((tiny_run / "history.csv").read_text()).encode("latin-1")
    )
    result = run_evaluate(
        tmp_path / "run", "--predictions", tiny_run / "predictions.csv", "--out", tmp_path / "out"
    )
    assert result.exit_code == 1
    assert f"{tmp_path / 'run' / 'history.csv'} is damaged" in result.stderr
    assert message in result.stderr
    assert "goes without learning curves" in result.stderr
    assert not (tmp_path / "out").exists()
