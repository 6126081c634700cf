"""Own classes, from pictures to the page: what a user with other classes than this project's does.

The names of the classes have blanks and accents, and one of them is healthy.
"""

import html
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import from_pretrained
from serving.cli.lines import COLUMNS
from tests.app_process import start_app
from tests.hub_client import Shell
from tests.hub_server import HubServer
from tests.trainer.models.test_decoder import RESNET_V2
from tests.trainer.models.test_keras_cv_presets import save_preset
from tests.use_app import open_tab, send, upload

HEALTHY = "sans lésion"
LABELS = ("hémorragie récente", "lésion ischémique", HEALTHY)
# What belongs to this project's own model, and to no other.
STRANGE = re.compile(r"glioma|meningioma|pituitary|notumor|no tumour|kaggle|figshare|official", re.IGNORECASE)
WIDTHS = (1280, 820, 390)


def draw_head(seed: int, label: str, side: int = 64) -> Image.Image:
    """A bright ring around grey tissue; a bright or a black disc in it, or nothing."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - side / 2 + random.uniform(-3, 3, (2, 1, 1))
    radius = np.hypot(rows / random.uniform(0.34, 0.42), columns / random.uniform(0.34, 0.42)) / side
    coarse = Image.fromarray(random.integers(0, 90, (7, 7), np.uint8))
    tissue = 60 + np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float)
    picture = np.where(radius < 1, np.where(radius > 0.9, 220, tissue), 0)
    place = random.uniform(-0.12, 0.12, 2) * side
    disc = np.hypot(rows - place[0], columns - place[1]) < 0.1 * side
    if label != HEALTHY:
        picture = np.where(disc, 250 if label == LABELS[0] else 0, picture)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Class folders with 14 pictures each."""
    root = tmp_path_factory.mktemp("pictures")
    for place, label in enumerate(LABELS):
        (root / label).mkdir()
        for number in range(14):
            draw_head(100 * place + number, label).save(root / label / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shell(home) -> Iterator[Shell]:
    with HubServer() as hub, Shell(hub.url, home, HOME=str(home), WANDB_MODE="disabled") as shell:
        yield shell


@pytest.fixture(scope="module")
def run(shell, pictures, home) -> Path:
    """The run folder after build, train and export; 30 CPU seconds, most of them to import TensorFlow."""
    preset, folder = home / "preset", home / "run"
    preset.mkdir()
    save_preset(preset, "ResNetV2Backbone", RESNET_V2)
    settings = {
        "data.dataset": "tumor_ds/mes_patients",
        "data.image_size": 64,
        "data.progressive_scales": [],
        "data.batch_size": 14,
        "model.architecture": f"keras_cv:{preset}",
        "optimization.epochs": 1,
    }
    (home / "own.toml").write_text("")
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    places = ("--data-dir", home / "data")
    named = ("--name", "mes_patients", "--healthy-label", HEALTHY)
    built = shell.run("build", "folder", "--manual-dir", pictures, *named, *places)
    assert f"3 classes: {', '.join(LABELS)}; healthy: {HEALTHY}" in built.stdout, built
    for command in (
        ("train", home / "own.toml", *overrides, "--run-dir", folder, "--no-artefact", *places),
        ("export", folder, *places),
        ("evaluate", folder, "--out", home / "evaluation", *places),
    ):
        answer = shell.run(*command)
        assert answer.code == 0, answer
    return folder


def test_artefact_names_its_classes_and_the_healthy_one(run):
    classifier = from_pretrained(run)
    assert (classifier.labels, classifier.config.healthy_label) == (LABELS, HEALTHY)
    metrics = json.loads((run / "artefact" / "metrics.json").read_text())
    assert list(metrics) == ["mes_patients"]
    assert metrics["mes_patients"]["all"]["any_tumour"] is not None


def test_card_and_report_speak_of_nothing_else(run, home):
    card = (run / "artefact" / "README.md").read_text(encoding="utf-8")
    page = (home / "evaluation" / "report.html").read_text(encoding="utf-8")
    page = html.unescape(re.sub(r'<style.*?</style>|src="data:[^"]*"', "", page, flags=re.DOTALL))
    for text in (card, page):
        assert not STRANGE.search(text), STRANGE.search(text)
        assert all(label in text for label in LABELS)
    assert f"p({HEALTHY}). Thresholds were fitted" in page
    assert "Any finding, or none?" in page


def test_it_is_pushed_and_pulled(run, shell, home):
    assert shell.run("push", run, "user/own").code == 0
    assert shell.run("pull", "user/own", home / "pulled").code == 0
    assert from_pretrained(home / "pulled").config.healthy_label == HEALTHY


def test_predict_prints_its_labels(run, shell, pictures):
    answer = shell.run("predict", pictures, "--model", run)
    assert answer.code == 0, answer
    header, *lines = (line.split("\t") for line in answer.stdout.splitlines())
    assert header == list(COLUMNS)
    assert len(lines) == 42
    members = {label for line in lines for label in line[4].split(";") if label}
    assert members <= set(LABELS)


def test_page_in_a_browser(run, pictures, browser, tmp_path):
    """All tabs at three widths; set `SCREENSHOTS` to a folder to look at them."""
    files = [pictures / label / "03.png" for label in LABELS]
    command = [sys.executable, "-c", "from trainer.cli.main import app; app()", "serve", "--model", str(run)]
    with start_app(command, {**os.environ, "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}) as (url, _):
        for width in WIDTHS:
            page, errors = browser.new_page(viewport={"width": width, "height": 900}), []
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.goto(url)
            page.wait_for_selector(".drop:visible")
            shown = [page.inner_text("header.masthead"), upload(page, files[0])]
            keep(page, f"slice_{width}")
            open_tab(page, "Batch")
            send(page, *files)
            page.wait_for_selector("table.answers:visible")
            page.locator("td.file button").first.click()
            page.wait_for_selector("tr.opened .stage img")
            shown.append(page.inner_text(".result:visible"))
            keep(page, f"batch_{width}")
            page.get_by_role("tab", name="About").click()
            page.wait_for_selector(".about:visible")
            shown.append(page.inner_text(".about"))
            keep(page, f"about_{width}")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert errors == []
            for text in shown:
                assert not STRANGE.search(text), STRANGE.search(text)
            assert "Hémorragie récente, lésion ischémique or sans lésion: how likely" in shown[0]
            assert "Test pictures of mes_patients" in shown[3]
            page.close()


def keep(page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)
