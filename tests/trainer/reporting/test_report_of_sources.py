"""The part of the page about the tumour map and about sources, and the same tables in the card."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from serving.model.artefact import BUNDLED, CARD_FILE, CONFIG_FILE, METRICS_FILE, load_config, parse_map
from tests.open_page import open_page
from tests.trainer.make_predictions import simulate_located
from tests.trainer.marked_numbers import check_number, follow, parse
from trainer.cli.main import app
from trainer.evaluation.gallery import Gallery, list_gallery
from trainer.evaluation.outline_gallery import draw_outlines
from trainer.evaluation.scoring import summarise
from trainer.reporting.card import write_card
from trainer.reporting.evaluation_files import save_evaluation
from trainer.reporting.report import Model, write_report
from trainer.reporting.source_tables import (
    build_localisation_table,
    build_source_results,
    build_source_table,
    describe_cell,
    describe_worst_cells,
)
from trainer.reporting.tables import build_results
from trainer.reporting.terminal import print_summary

PROTOCOL = "sources-feltrin44+lgg_tcga"
MAP = {"threshold": 0.5, "combination": {"intercept": 0.0, "class": 1.0, "map": 1.0}}


def draw_pictures(gallery: Gallery) -> Gallery:
    regions = np.zeros((2, 320, 320), bool)
    regions[0, 50:90, 50:90] = regions[1, 60:90, 60:100] = True
    picture = draw_outlines(np.full((320, 320), 60, np.uint8), *regions)
    outlined = [dataclasses.replace(one, picture=picture) for one in gallery.outlined]
    return dataclasses.replace(gallery, outlined=outlined)


@pytest.fixture(scope="module")
def config():
    loaded = load_config(BUNDLED)
    return dataclasses.replace(loaded, map=parse_map(MAP), raw=loaded.raw | {"map": MAP})


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory) -> Path:
    """Folder of an evaluation of a model with a map on two sources."""
    folder = tmp_path_factory.mktemp("evaluation")
    made = dataclasses.replace(simulate_located(), protocol=PROTOCOL)
    save_evaluation(made, summarise(made, config), folder)
    write_report(folder, [Model(config, BUNDLED)], draw_pictures(list_gallery(made)))
    return folder


@pytest.fixture(scope="module")
def metrics(folder) -> dict:
    return json.loads((folder / METRICS_FILE).read_text())


def test_every_number_is_that_of_the_file(folder, metrics):
    numbers = parse(folder / "report.html").numbers
    for key, text in numbers:
        if key.startswith("metrics.json#"):
            check_number(follow(metrics, key.partition("#")[2]), text)
    keys = {key.partition(f"#/{PROTOCOL}/all/")[2] for key, _ in numbers}
    assert keys >= {
        "localisation/all/outlined/inside",
        "localisation/all/outlined/cam_inside",
        "localisation/all/outlined/centre_near",
        "localisation/by_class/glioma/outlined/dice",
        "localisation/by_source/lgg_tcga/empty/false_area",
        "localisation/cells/0/outlined/inside",
        "agreement/all/disagreement/caught",
        "agreement/all/unlike_training/cost",
        "sources/worst_cell/right",
        "sources/pooled/tumour_or_none/T1C/answer/auroc",
        "sources/by_source/feltrin44/coverage",
        "sources/by_source/feltrin44/tumour_or_none/all/gain",
        "sources/cells/0/called/notumor",
    }


def test_twelve_outlined_pictures_are_shown(folder):
    parsed = parse(folder / "report.html")
    shown = [image for image in parsed.images if "true and found outline" in image["alt"]]
    assert len(shown) == 12
    assert all(image["src"].startswith("data:image/jpeg") for image in shown)
    assert "tumor evaluate --on feltrin44 --on lgg_tcga" in parsed.rest


def test_the_worst_cell_is_named(folder, metrics):
    worst = metrics[PROTOCOL]["all"]["sources"]["worst_cell"]
    text = " ".join(parse(folder / "report.html").rest.split())
    assert f"of {worst['kind']} in {worst['sequence']} of {worst['source']}" in text


def test_the_terminal_tells_the_same(metrics):
    console = Console(width=200, record=True, file=io.StringIO())
    print_summary(PROTOCOL, metrics[PROTOCOL], console)
    text, figures = console.export_text(), metrics[PROTOCOL]["all"]
    outlined, told = figures["localisation"]["all"]["outlined"], figures["sources"]["by_source"]["lgg_tcga"]
    assert f"tumour map {outlined['inside']:.1%}, class activation map {outlined['cam_inside']:.1%}" in text
    areas = told["tumour_or_none"]["all"]
    assert f"lgg_tcga: AUROC of tumour or none by classes {areas['classes']['auroc']:.3f}, map" in text
    assert describe_cell(figures["sources"]["worst_cell"]) in text
    assert f"in {figures['agreement']['all']['disagreement']['caught']:.1%} of the wrong answers" in text


def test_runs_stand_in_one_table_by_source(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    header, _, *rows = build_source_results([folder, tmp_path / "other"]).splitlines()
    assert header.startswith("| run | source | images |")
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {run}", source] for run in (folder.name, "other") for source in ("feltrin44", "lgg_tcga")
    ]
    printed = CliRunner().invoke(app, ["tabulate", str(folder)])
    assert printed.output == f"{build_results([folder])}\n\n{build_source_results([folder])}\n"


def test_a_leaked_split_is_told_as_such(config, tmp_path):
    """Pointing on all pictures never stands without that on unseen ones, and no source is tested by them."""
    made = simulate_located(200)
    made = dataclasses.replace(made, has_train_twin=made.groups % 2 == 0)
    summary = summarise(made, config)
    assert not any("sources" in figures for figures in summary.values())
    save_evaluation(made, summary, tmp_path)
    write_report(tmp_path, [Model(config, BUNDLED)], list_gallery(made))
    parsed = parse(tmp_path / "report.html")
    keys = {key for key, _ in parsed.numbers}
    assert "metrics.json#/official/unseen/localisation/all/outlined/inside" in keys
    assert "tumour map, all (leaked)" in parsed.rest
    assert "Outlines by class and source, all images (leaked)" in parsed.rest
    table = build_localisation_table(json.loads((tmp_path / METRICS_FILE).read_text()))
    titles = {row.split(" | ")[0] for row in table.splitlines()[2:]}
    assert titles == {"| official, whole test split, leaked", "| official, without a twin in Training"}


def test_without_a_map_the_page_says_so(tmp_path):
    config = load_config(BUNDLED)
    made = dataclasses.replace(simulate_located(80), tumor_peak=None, localisation=None, protocol=PROTOCOL)
    summary = summarise(made, config)
    assert "localisation" not in summary["all"]
    assert "agreement" not in summary["all"]
    save_evaluation(made, summary, tmp_path)
    write_report(tmp_path, [Model(config, BUNDLED)], list_gallery(made))
    text = parse(tmp_path / "report.html").rest
    assert "This model has no tumour map" in text
    assert "Source by source" in text


def test_the_card_has_both_tables(folder, metrics, tmp_path):
    card = shutil.copytree(BUNDLED, tmp_path / "model")
    shutil.copy(folder / METRICS_FILE, card)
    stored = json.loads((card / CONFIG_FILE).read_text())
    (card / CONFIG_FILE).write_text(json.dumps(stored | {"map": MAP}))
    write_card(card)
    text = (card / CARD_FILE).read_text()
    assert build_localisation_table(metrics) in text
    assert build_source_table(metrics) in text
    assert next(describe_worst_cells(metrics)) in text
    located = metrics[PROTOCOL]["all"]["localisation"]["by_class"]["glioma"]["outlined"]
    [row] = [line for line in text.splitlines() if f"| glioma | {located['count']} |" in line]
    assert f"| {located['inside']:.1%} |" in row
    assert f"| {located['dice']:.2f} |" in row
    assert "the outline is rough" in text
    assert "the heat map shows evidence" not in text


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits(browser, folder, width):
    with open_page(browser, folder / "report.html", width, "light") as page:
        boxes = [one.bounding_box() for one in page.query_selector_all(".outlined li")]
        # Four a row, two on a phone.
        assert len({round(box["x"]) for box in boxes}) == (4 if width > 600 else 2)
