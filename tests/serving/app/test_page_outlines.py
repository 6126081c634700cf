"""The page with a model that outlines what is bright."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from serving.app.views import EXAMPLES
from serving.preprocess import decode_grey
from tests.draw_dicom import write_series
from tests.use_app import open_tab, upload

WIDTHS = {1280: 900, 820: 1000, 390: 844}
# Of the picture's side, as drawn by `draw_disc`.
DISC = {"x": 0.4, "y": 0.55, "radius": 0.1}


def draw_disc() -> np.ndarray:
    """An example whose only bright place is a disc, uint8 (h, w)."""
    grey = decode_grey(EXAMPLES / "meningioma.png") // 2
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]] / grey.shape[0]
    grey[np.hypot(rows - DISC["y"], columns - DISC["x"]) < DISC["radius"]] = 255
    return grey


@pytest.fixture
def slice_file(tmp_path):
    Image.fromarray(draw_disc()).save(tmp_path / "slice.png")
    return tmp_path / "slice.png"


@pytest.fixture
def page(open_page, outlining_app):
    return open_page(outlining_app, viewport={"width": 1280, "height": 900})


def read_stage(page) -> np.ndarray:
    """What the viewer shows, float (h, w, 3)."""
    picture = Image.open(io.BytesIO(page.locator(".viewer .stage:visible").screenshot())).convert("RGB")
    return np.asarray(picture).astype(float)


def measure_colour(page) -> float:
    """How much of the viewer is no grey, [0, 1]."""
    return float((np.ptp(read_stage(page), axis=2) > 40).mean())


def test_outline_lies_on_what_is_bright(page, slice_file):
    answer = upload(page, slice_file)
    assert re.search(r"About \d+ % of the head is outlined\.", answer)
    numbers = page.get_attribute(".viewer .outline .line", "d")
    points = np.array(re.findall(r"([\d.]+),([\d.]+)", numbers), float) / 100
    distances = np.hypot(points[:, 0] - DISC["x"], points[:, 1] - DISC["y"])
    assert len(points) > 10
    assert abs(distances - DISC["radius"]).max() < 0.03
    coloured = np.argwhere(np.ptp(read_stage(page), axis=2) > 40) / read_stage(page).shape[0]
    assert coloured.mean(axis=0) == pytest.approx([DISC["y"], DISC["x"]], abs=0.02)


def test_outline_goes_on_and_off_and_fades_without_asking_the_server(page, slice_file):
    upload(page, slice_file)
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    shown, switch = measure_colour(page), page.get_by_label("Show the outline")
    assert shown > 0.005
    switch.uncheck()
    assert measure_colour(page) == 0
    switch.focus()
    page.keyboard.press("Space")
    assert measure_colour(page) == pytest.approx(shown)
    opacity = page.locator("input.opacity:visible")
    opacity.focus()
    strengths = []
    for _ in range(3):
        strengths.append(np.ptp(read_stage(page), axis=2).sum())
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
    assert strengths == sorted(strengths, reverse=True)
    # The rounded corners of the picture keep a little of the page's colour.
    assert strengths[2] < 0.01 * strengths[0]
    assert 0.2 < strengths[1] / strengths[0] < 0.8
    assert asked == []


def test_no_buttons_for_the_evidence_of_each_class(page, slice_file):
    upload(page, slice_file)
    assert page.locator(".viewer .choices").count() == 0
    assert page.locator(".viewer canvas").count() == 0


def test_nothing_outlined_is_said(page, tmp_path):
    Image.fromarray(decode_grey(EXAMPLES / "meningioma.png") // 2).save(tmp_path / "dim.png")
    assert "Nothing is outlined." in upload(page, tmp_path / "dim.png")
    assert page.locator("input.outlined").count() == 0


def test_examples_are_outlined(page):
    drawn = page.locator(".examples .outline .line")
    assert drawn.count() == 4
    healthy = page.locator("[data-example=notumor] .line")
    assert healthy.get_attribute("d").startswith("M")  # its skull and tissue are bright, whatever they are


def test_series_shows_where_along_it_something_is_outlined(page, tmp_path):
    pytest.importorskip("pydicom")
    files = write_series(tmp_path / "series", draw_disc(), slices=6)  # each dimmer than the one before
    open_tab(page, "Volume")
    answer = upload(page, *files)
    heights = page.evaluate(
        "[...document.querySelectorAll('.profile i')].map((bar) => +bar.style.getPropertyValue('--share'))"
    )
    assert len(heights) == 6
    assert max(heights) == 1
    outlined = sum(height > 0 for height in heights)
    assert 0 < outlined < 6
    assert heights[outlined:] == [0] * (6 - outlined)
    millilitres = re.search(rf"Outlined in {outlined} of 6 slices: about ([\d,]+) ml", answer)
    disc_mm2 = np.pi * (DISC["radius"] * draw_disc().shape[0]) ** 2
    # The dimmer the disc, the further inside its edge is the threshold.
    assert 0.6 < float(millilitres[1]) * 1000 / (outlined * disc_mm2 * 5) <= 1
    assert re.search(r"is outlined, [\d,]+ mm²\.", page.inner_text(".caption"))
    page.locator(".profile i").last.click()
    assert page.locator(".slider .shown:visible").first.inner_text() == "6 of 6"
    assert "Nothing is outlined." in page.inner_text(".caption")
    assert page.get_attribute(".viewer .outline .line", "d") == ""


def test_batch_has_a_column_of_shares(page, slice_file):
    open_tab(page, "Batch")
    page.locator(".intake:visible input[type=file]").set_input_files(
        [str(slice_file), str(EXAMPLES / "glioma.png")]
    )
    page.wait_for_selector("table.answers:visible")
    assert "Outlined" in page.inner_text("table.answers thead")
    assert re.fullmatch(r"about \d+ % of the head", page.inner_text("tr:has-text('slice.png') .found"))
    page.locator("th button", has_text="Outlined").click()
    assert page.locator("table.answers td.file").last.inner_text() == "slice.png"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_fits_and_the_outline_is_seen(open_page, outlining_app, slice_file, width, scheme):
    page = open_page(outlining_app, viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme)
    upload(page, slice_file)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Both at once: on a phone the page is scrolling to the answer.
    stage, controls = page.evaluate(
        "[...document.querySelectorAll('.viewer > *')].map((one) => one.getBoundingClientRect().toJSON())"
    )
    assert stage["right"] <= controls["left"] or stage["bottom"] <= controls["top"]
    assert stage["width"] >= 280
    # Its dark rim and its bright line both stand out from any grey: the darkest and the brightest differ.
    luminances = read_stage(page) @ [0.2126, 0.7152, 0.0722]
    coloured = np.ptp(read_stage(page), axis=2) > 120
    assert coloured.any()
    assert luminances[coloured].max() > 150
    assert page.locator("input.outlined").is_checked()
