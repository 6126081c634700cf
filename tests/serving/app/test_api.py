import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from serving import from_pretrained
from serving.app.views import EXAMPLES
from serving.model.outline import compute_area
from tests.answer_bad_inputs import build_cases
from tests.benchmarks.benchmark_load import ask, load_app
from tests.draw_dicom import write_series

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("glioma", "meningioma", "notumor", "pituitary")


@pytest.fixture(scope="module")
def client(running_app) -> Client:
    return Client(running_app.url, verbose=False)


def send(path: Path) -> dict[str, object]:
    return handle_file(str(path))


def test_predict_gives_the_artefacts_answer(client):
    answer = client.predict(send(EXAMPLES / "pituitary.png"), api_name="/predict")
    expected = from_pretrained().predict(EXAMPLES / "pituitary.png").to_dict()
    assert answer.pop("probabilities") == pytest.approx(expected.pop("probabilities"), abs=1e-6)
    assert answer.pop("domain_distance") == pytest.approx(expected.pop("domain_distance"), abs=1e-6)
    assert answer == expected | {"area_mm2": None}


def test_batch_answers_in_order_and_past_bad_files(client, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("meningioma.png", "pituitary.png"):
            archive.write(EXAMPLES / name, name)
    files = [send(EXAMPLES / "glioma.png"), send(tmp_path / "notes.txt"), send(tmp_path / "two.zip")]
    rows = client.predict(files, api_name="/predict_batch")
    assert [row["file"] for row in rows] == ["glioma.png", "notes.txt", "meningioma.png", "pituitary.png"]
    assert [row["prediction"] and row["prediction"]["label"] for row in rows] == [
        "glioma",
        None,
        "meningioma",
        "pituitary",
    ]
    assert rows[0]["error"] is None
    assert "not a picture" in rows[1]["error"]


def test_explain_gives_maps_and_overlay(client):
    answer = client.predict(send(EXAMPLES / "glioma.png"), "meningioma", api_name="/explain")
    prediction = from_pretrained().predict(EXAMPLES / "glioma.png")
    assert answer["prediction"]["label"] == "glioma"
    assert answer["overlay_label"] == "meningioma"
    assert tuple(answer["heatmaps"]) == LABELS
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["heatmaps"]["glioma"]))))
    np.testing.assert_allclose(found / 255, prediction.heatmaps["glioma"], atol=1 / 255)
    assert Image.open(io.BytesIO(base64.b64decode(answer["overlay"]))).mode == "RGB"
    with pytest.raises(AppError, match="Expected a label of glioma"):
        client.predict(send(EXAMPLES / "glioma.png"), "tumour", api_name="/explain")


def test_outlines_areas_and_volumes(outlining_app, tmp_path):
    """A disc in pixels of 1 mm², in slices that lie 5 mm apart; the second is too dim to be outlined."""
    rows, columns = np.mgrid[:160, :160]
    grey = np.where(np.hypot(rows - 70, columns - 60) < 40, 215, 30 + rows // 4).astype(np.uint8)
    files = write_series(tmp_path / "series", grey, slices=2)
    client = Client(outlining_app.url, verbose=False)
    first = client.predict(send(files[0]), api_name="/predict")
    [polygon] = first["outlines"]["coordinates"]
    around = np.array(polygon[0])
    # Four pixels are a place of the map, so the outline is a little inside.
    np.testing.assert_allclose(np.hypot(*(around - (60.5, 70.5)).T), 38, atol=3)
    assert first["area_mm2"] == pytest.approx(compute_area(around[:-1]), rel=0.03)
    assert first["tumor_share"] > 0.1
    volume = client.predict([send(file) for file in files], api_name="/predict_volume")
    assert [one["area_mm2"] for one in volume["slices"]] == [first["area_mm2"], 0]
    assert volume["summary"]["volume_ml"] == pytest.approx(first["area_mm2"] * 5 / 1000)
    assert (volume["summary"]["volume_basis"], volume["plane"]) == ("positions", "axial")
    with pytest.raises(AppError, match="cannot be shown as coronal"):
        client.predict([send(file) for file in files], "coronal", api_name="/predict_volume")
    [row] = client.predict([send(files[0])], api_name="/predict_batch")
    assert row["prediction"]["area_mm2"] == first["area_mm2"]
    assert outlining_app.list_uploads() == []


def test_refused_picture_has_no_numbers_and_no_maps(client, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(
        tmp_path / "noise.png"
    )
    answer = client.predict(send(tmp_path / "noise.png"), api_name="/explain")
    assert answer["prediction"]["verdict"] == "not_brain_mri"
    assert answer["prediction"]["reason"]
    assert answer["prediction"]["probabilities"] is answer["heatmaps"] is answer["overlay"] is None


def test_endpoints_are_typed(running_app):
    with urllib.request.urlopen(f"{running_app.url}/gradio_api/info", timeout=30) as response:
        endpoints = json.load(response)["named_endpoints"]
    assert set(endpoints) == {"/predict", "/predict_batch", "/predict_volume", "/explain"}
    schema = endpoints["/predict"]["returns"][0]["type"]
    assert {"label", "verdict", "probabilities", "prediction_set"} <= set(schema["properties"])
    assert endpoints["/predict_batch"]["returns"][0]["type"]["type"] == "array"


@pytest.mark.parametrize("language", ["python", "bash"])
def test_snippets_of_the_readme_run(running_app, tmp_path, language):
    text = (ROOT / "README.md").read_text()
    snippets = [
        body
        for kind, body in re.findall(r"```(python|bash)\n(.*?)```", text, re.S)
        if kind == language and "7860" in body
    ]
    assert snippets
    for name in ("slice.jpg", "slice1.jpg", "slice2.jpg"):
        Image.open(EXAMPLES / "glioma.png").save(tmp_path / name, quality=95)
    for snippet in snippets:
        code = snippet.replace("http://127.0.0.1:7860", running_app.url)
        command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"{shlex.join(command)}\n{result.stderr}"
        assert "glioma" in result.stdout


def test_every_bad_input_has_its_own_answer_and_the_next_one_is_answered_well(running_app, tmp_path):
    for case in build_cases():
        path = tmp_path / case.filename
        path.write_bytes(case.build())
        before = read_cpu_seconds(running_app.process.pid)
        try:
            ask(running_app.url, path)
            message = None
        except ValueError as error:
            message = str(error)
        # By the processor's clock: other work on the machine is not the server's fault.
        assert read_cpu_seconds(running_app.process.pid) - before < 2, case.name
        if message is not None:
            assert re.search(case.message or r"holds \d+ slices, expected one", message), case.name
            assert not re.search(r"/tmp|/home|\.py\b|Traceback", message), case.name
        else:
            assert case.message is None, case.name
        path.unlink()
    assert ask(running_app.url, EXAMPLES / "glioma.png")["label"] == "glioma"
    assert running_app.list_uploads() == []


def read_cpu_seconds(process_id: int) -> float:
    user, system = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_error_names_the_file_and_what_to_do(client, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture at all")
    with pytest.raises(
        AppError, match=r"notes\.txt is not a picture in a format known here\. Send PNG"
    ) as caught:
        client.predict(send(tmp_path / "notes.txt"), api_name="/predict")
    assert "/tmp" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["predict", "explain"])
def test_script_cannot_have_a_file_of_the_server_classified(running_app, tmp_path, endpoint):
    foreign = tmp_path / "foreign" / "slice.png"
    foreign.parent.mkdir()
    shutil.copy(EXAMPLES / "glioma.png", foreign)
    # The server runs in the working folder of the tests.
    relative, names = os.path.relpath(foreign), ("a\0b", "x" * 9000, "foreign/../foreign/slice.png")
    for path in (str(foreign), str(foreign.parent), relative, *(f"{tmp_path}/{name}" for name in names)):
        for file in ({"path": path, "meta": {"_type": "gradio.FileData"}}, {"path": path}, path, None):
            assert "event: error" in call(running_app.url, endpoint, [file])
    assert foreign.exists()


def call(url: str, endpoint: str, data: list[object]) -> str:
    request = urllib.request.Request(
        f"{url}/gradio_api/call/{endpoint}",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        event = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{url}/gradio_api/call/{endpoint}/{event}", timeout=30) as stream:
        return stream.read().decode()


def store(url: str, name: str, content: bytes) -> str:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.encode()
        + b'"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    request = urllib.request.Request(
        f"{url}/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)[0]


def test_upload_is_for_its_sender_alone_and_goes_after_the_answer(running_app):
    content = (EXAMPLES / "glioma.png").read_bytes()
    mine, theirs = (Path(store(running_app.url, "../../same name.png", content)) for _ in range(2))
    assert mine.parent != theirs.parent
    assert mine.name == theirs.name == "same name.png"
    assert mine.parent.stat().st_mode & 0o777 == 0o700
    for route in ("file=", "file/", "proxy="):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(
                f"{running_app.url}/gradio_api/{route}{mine}".replace(" ", "%20"), timeout=30
            )
        assert caught.value.code == 404
    assert "event: complete" in call(running_app.url, "predict", [{"path": str(mine)}])
    assert not mine.exists()
    assert theirs.exists()
    assert "not, or no longer, among the uploads" in call(running_app.url, "predict", [{"path": str(mine)}])
    assert "event: complete" in call(running_app.url, "predict", [{"path": str(theirs)}])
    assert running_app.list_uploads() == []


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_malformed_upload_is_refused(running_app, kind):
    request = urllib.request.Request(
        f"{running_app.url}/gradio_api/upload", b"--y\r\n\r\nnothing", {"Content-Type": kind}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == 400
    assert not re.search(r"/tmp|\.py", caught.value.read().decode())


def test_server_files_are_not_readable(running_app):
    for path in ("/etc/hostname", str(Path(__file__)), "http://127.0.0.1:1/"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{running_app.url}/gradio_api/file={path}", timeout=30)
        assert caught.value.code in (403, 404)


def test_page_may_ask_no_other_host(running_app):
    with urllib.request.urlopen(running_app.url, timeout=30) as response:
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers["Referrer-Policy"] == "no-referrer"


def test_many_clients_get_right_answers_or_busy(running_app):
    tally = load_app(running_app.url, running_app.process.pid, clients=32, seconds=5)
    assert set(tally.outcomes) <= {"right", "busy"}
    assert tally.outcomes["right"] > 32
    assert running_app.list_uploads() == []


def test_too_many_requests_are_told_that_the_server_is_busy(running_app):
    outcomes = []

    def ask_once() -> None:
        try:
            outcomes.append(call(running_app.url, "predict", [None]))
        except urllib.error.HTTPError as error:
            outcomes.append(f"{error.code} {error.read().decode()}")

    threads = [threading.Thread(target=ask_once) for _ in range(150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    busy = [outcome for outcome in outcomes if outcome.startswith("503")]
    assert len(outcomes) == 150
    assert all("busy" in outcome for outcome in busy)
    assert all("event: error" in outcome for outcome in outcomes if outcome not in busy)
