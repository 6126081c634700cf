import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import from_pretrained
from serving.app.views import EXAMPLES
from serving.app.words import NAMES
from serving.model.artefact import BUNDLED, METRICS_FILE
from tests.draw_dicom import write_series
from tests.use_app import open_tab, send, upload

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def page(open_page, running_app):
    return open_page(running_app, viewport={"width": 1280, "height": 900})


@pytest.mark.parametrize("label", NAMES)
def test_each_class_shows_label_probabilities_and_heat_map(page, label):
    answer = upload(page, EXAMPLES / f"{label}.png")
    prediction = from_pretrained().predict(EXAMPLES / f"{label}.png")
    assert page.inner_text(".verdict h2").startswith(NAMES[label])
    for name, prob in prediction.probabilities.items():
        assert re.search(rf"{NAMES[name]}\s+{prob * 100:.1f} %", answer)
    assert "Ruled out at 95 % and at 99 %: all other labels." in answer or "at 99 %" in answer
    width, height = Image.open(EXAMPLES / f"{label}.png").size
    assert f"PNG, mode L, {width} x {height} pixels" in answer
    assert f"{(EXAMPLES / f'{label}.png').stat().st_size:,} bytes" in answer
    assert read_heat(page).max() > 0


def read_heat(page) -> np.ndarray:
    """Opacity of each pixel of the heat map on the page."""
    return np.array(
        page.evaluate(
            """() => { const canvas = document.querySelector(".viewer canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [...data].filter((_, at) => at % 4 == 3) }"""
        )
    )


def test_heat_map_follows_class_and_opacity_without_asking_the_server(page):
    upload(page, EXAMPLES / "meningioma.png")
    page.wait_for_load_state("networkidle")
    before, asked = read_heat(page), []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.get_by_text("Pituitary tumour", exact=True).and_(page.locator(".choices span")).click()
    assert (read_heat(page) != before).any()
    assert len(before) == 25
    assert "Coarse: 5 x 5 cells" in page.inner_text(".choices:visible >> nth=-1")
    page.locator("input.opacity").focus()
    for _ in range(11):
        page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.querySelector('.viewer canvas').style.opacity") == "0"
    assert asked == []


def test_example_predicts_on_click_and_by_keyboard(page):
    page.get_by_role("button", name="Pituitary tumour").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".verdict:visible")
    assert page.inner_text(".verdict h2").startswith("Pituitary tumour")


def test_pasted_picture_is_classified(page):
    content = list((EXAMPLES / "notumor.png").read_bytes())
    page.evaluate(
        """content => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(content)], "pasted.png", { type: "image/png" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })) }""",
        content,
    )
    page.wait_for_selector(".verdict:visible")
    assert page.inner_text(".verdict h2").startswith("No tumour")


def test_picture_that_is_no_brain_mri_gets_no_label(page, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(
        tmp_path / "noise.png"
    )
    answer = upload(page, tmp_path / "noise.png")
    assert "This does not look like a brain MRI slice" in answer
    assert not re.search(r"Glioma|Pituitary|\d %", answer)
    assert "Colour turned to grey" in answer


def test_damaged_picture_gets_a_message_and_the_next_one_an_answer(page, tmp_path):
    whole = (EXAMPLES / "glioma.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert "cut.png is damaged or cut short" in upload(page, tmp_path / "cut.png")
    assert "/tmp" not in page.inner_text("body")
    send(page, EXAMPLES / "glioma.png")
    page.wait_for_selector("h2:has-text('Glioma')")


def test_name_of_a_file_is_no_markup(page, tmp_path):
    Image.open(EXAMPLES / "glioma.png").save(tmp_path / "<img src=x onerror=alert(1)>.png")
    upload(page, tmp_path / "<img src=x onerror=alert(1)>.png")
    assert page.locator("img[src=x]").count() == 0


def test_batch_is_a_table_that_sorts_and_downloads(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(EXAMPLES / "pituitary.png", "zipped/pituitary.png")
        archive.write(EXAMPLES / "notumor.png", "zipped/notumor.png")
    open_tab(page, "Batch")
    send(page, EXAMPLES / "glioma.png", tmp_path / "notes.txt", tmp_path / "more.zip")
    page.wait_for_selector("table.answers:visible")
    names = lambda: page.locator("table.answers td.file").all_inner_texts()  # noqa: E731
    assert sorted(names()) == ["glioma.png", "notes.txt", "notumor.png", "pituitary.png"]
    assert "not a picture in a format known here" in page.inner_text("tr:has-text('notes.txt')")
    page.locator("th button", has_text="File").click()
    assert names() == sorted(names())
    page.locator("th button", has_text="File").click()
    assert names() == sorted(names(), reverse=True)
    assert page.locator("tr.opened").count() == 0
    page.locator("td.file button", has_text="notumor.png").click()
    opened = page.locator("tr.opened")
    assert "notumor.png" in opened.locator("xpath=preceding-sibling::tr[1]").inner_text()
    assert opened.locator(".stage img").get_attribute("alt").startswith("The slice. No tumour")
    assert opened.get_by_role("radio", name="No tumour").is_checked()
    assert read_heat(page).max() > 0
    page.locator("td.file button", has_text="pituitary.png").click()
    assert page.locator("tr.opened").count() == 1
    assert page.locator("tr:has-text('notes.txt') button").count() == 0
    page.locator("th button", has_text="Probability").click()
    assert page.locator("tr.opened").count() == 0
    assert names()[0] == "notes.txt"
    with page.expect_download() as download:
        page.get_by_text("Download CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("file,slice,position_mm,label,verdict,in_domain,prob_glioma")
    assert len(lines) == 5


def test_dicom_series_goes_slice_by_slice_and_no_patient_is_named(page, tmp_path):
    pytest.importorskip("pydicom")
    files = write_series(
        tmp_path / "series", np.asarray(Image.open(EXAMPLES / "meningioma.png").convert("L")), slices=5
    )
    open_tab(page, "Volume")
    send(page, *files)
    page.wait_for_selector("input.position:visible")
    assert page.inner_text(".verdict h2").startswith("5 ")
    assert "5 Meningioma" in page.inner_text(".tally")
    assert page.inner_text(".caption").startswith("Meningioma")
    page.locator("input.position").focus()
    page.keyboard.press("Home")
    assert page.locator(".slider .shown:visible").first.inner_text() == "1 of 5"
    shown = page.get_attribute(".stage img", "src")
    page.keyboard.press("End")
    assert page.locator(".slider .shown:visible").first.inner_text() == "5 of 5"
    assert page.get_attribute(".stage img", "src") != shown
    assert read_heat(page).max() > 0
    assert not re.search("Doe|Jane|4711|19701231", page.content())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone(open_page, running_app, scheme):
    page = open_page(running_app, viewport=PHONE, color_scheme=scheme, has_touch=True)
    upload(page, EXAMPLES / "glioma.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    open_tab(page, "Batch")
    send(page, *sorted(EXAMPLES.glob("*.png")))
    page.wait_for_selector("table.answers:visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    background = page.evaluate(
        "getComputedStyle(document.querySelector('.drop:not([hidden])')).backgroundColor"
    )
    assert (max(map(int, re.findall(r"\d+", background)[:3])) < 80) == (scheme == "dark")


def test_everything_that_is_used_has_a_name_for_screen_readers(page):
    upload(page, EXAMPLES / "glioma.png")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, a[href], [role=region]")]
        .filter((one) => one.offsetParent !== null)
        .filter((one) => !(one.innerText || one.ariaLabel || one.title ||
            [...(one.labels ?? [])].map((label) => label.innerText).join("")).trim())
        .map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []
    assert page.inner_text("#announce").startswith("Glioma")
    assert page.get_attribute(".stage img", "alt").startswith("The slice. Glioma")


def test_about_shows_the_leaked_figure_beside_the_unseen_one(page):
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector(".about:visible")
    about, config = page.inner_text(".about"), from_pretrained().config
    figures = json.loads((BUNDLED / METRICS_FILE).read_text())["official"]
    leaked, unseen = (f"{figures[subset]['accuracy'] * 100:.1f} %" for subset in ("all", "unseen"))
    first = rf"without a copy in training\s+319\s+{unseen}"
    assert re.search(rf"{first}(?s:.*)all\s+leaked\s+1,311\s+{leaked}", about)
    assert about.startswith("What the model has been measured to do")
    assert config.raw["git_commit"] in about
    assert config.raw["sha256"]["model.tflite"] in about
    page.get_by_role("button", name="The model card").click()
    page.wait_for_selector("h2:has-text('Figures'):visible, h2:has-text('Use'):visible")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    ["Testing/glioma/Te-gl_0090.jpg", "Testing/meningioma/Te-me_0302.jpg", "Testing/notumor/Te-no_0100.jpg"],
)
def test_real_slice_in_the_browser(page, real_data_dir, tmp_path, name):
    with zipfile.ZipFile(real_data_dir / "brain-tumor-mri-dataset.zip") as archive:
        (tmp_path / "slice.jpg").write_bytes(archive.read(name))
    upload(page, tmp_path / "slice.jpg")
    assert page.inner_text(".verdict h2").startswith(NAMES[name.split("/")[1]])
