import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from serving import from_pretrained
from serving.app import EXAMPLES


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app, started as a user starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = tmp_path_factory.mktemp("uploads")
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(temporary), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "from trainer.cli import app; app()", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        assert process.poll() is None, process.stdout.read().decode()
        try:
            urllib.request.urlopen(address, timeout=2).close()
            break
        except OSError:
            time.sleep(0.2)
    else:
        pytest.fail("the app did not start within a minute")
    yield address
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def page(browser, url):
    """The app's page; the test fails on a console error or a request to another host."""
    page = browser.new_page()
    errors, strangers = [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "data:", "blob:")) else strangers.append(request.url))
    page.goto(url)
    page.wait_for_selector("input[type=file]", state="attached")
    yield page
    page.close()
    assert errors == []
    assert strangers == []


def upload(page, path: Path) -> str:
    page.set_input_files("input[type=file]", str(path))
    page.wait_for_selector("#verdict h3")
    return page.inner_text("#verdict")


def test_upload_shows_label_probabilities_and_heat_map(page):
    verdict = upload(page, EXAMPLES / "meningioma.png")
    prediction = from_pretrained().predict(EXAMPLES / "meningioma.png")
    assert verdict.startswith(f"meningioma, {prediction.probabilities['meningioma']:.1%}")
    assert "Cannot be ruled out at 95%: meningioma" in verdict
    assert "Cannot be ruled out at 99%: any of the labels." in verdict
    page.wait_for_selector("img[src*='image.png']")
    for label in prediction.probabilities:
        page.wait_for_selector(f"text={label}")
    assert "not a medical device" in page.inner_text("body")


def test_example_predicts_on_click(page):
    page.locator("button:has(img)").first.click()
    page.wait_for_selector("#verdict h3")
    assert page.inner_text("#verdict").startswith("glioma")


def test_picture_that_is_no_brain_mri_gets_no_label(page, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(tmp_path / "noise.png")
    verdict = upload(page, tmp_path / "noise.png")
    assert verdict.startswith("This does not look like a brain MRI slice")
    assert not re.search("glioma|pituitary", verdict)


def test_damaged_picture_gets_a_message_without_server_paths(page, tmp_path):
    whole = (EXAMPLES / "glioma.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    page.set_input_files("input[type=file]", str(tmp_path / "cut.png"))
    page.wait_for_selector("text=damaged or cut short")
    assert "/tmp" not in page.inner_text("body")


def test_script_gets_the_same_numbers(url):
    client = Client(url, verbose=False)
    answer = client.predict(handle_file(str(EXAMPLES / "pituitary.png")), api_name="/predict")
    prediction = from_pretrained().predict(EXAMPLES / "pituitary.png")
    assert answer["label"] == "pituitary"
    assert answer["in_domain"] is True
    assert answer["prediction_set"] == list(prediction.prediction_set)
    assert answer["prediction_sets"]["0.99"] == list(prediction.prediction_sets[0.99])
    assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)


def test_script_gets_a_clear_error(url, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture at all")
    with pytest.raises(AppError, match="not a picture in a format known here") as caught:
        Client(url, verbose=False).predict(handle_file(str(tmp_path / "notes.txt")), api_name="/predict")
    assert "/tmp" not in str(caught.value)


def test_script_cannot_have_a_file_of_the_server_classified(url):
    for path in (EXAMPLES.parent / "pretrained" / "figures" / "confusion_official.png", Path("/etc/hostname")):
        request = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        call = json.dumps({"data": [request]}).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/gradio_api/call/predict", call, headers)) as response:
            event = json.load(response)["event_id"]
        with urllib.request.urlopen(f"{url}/gradio_api/call/predict/{event}") as stream:
            answer = stream.read().decode()
        assert "event: error" in answer
        assert "in_domain" not in answer


def test_server_files_are_not_readable(url):
    for path in ("/etc/hostname", str(Path(__file__))):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/gradio_api/file={path}")
        assert caught.value.code in (403, 404)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["Testing/glioma/Te-gl_0090.jpg", "Testing/meningioma/Te-me_0302.jpg", "Testing/notumor/Te-no_0100.jpg"])
def test_real_slice_in_the_browser(page, real_data_dir, tmp_path, name):
    with zipfile.ZipFile(real_data_dir / "brain-tumor-mri-dataset.zip") as archive:
        (tmp_path / "slice.jpg").write_bytes(archive.read(name))
    assert upload(page, tmp_path / "slice.jpg").startswith(name.split("/")[1])
