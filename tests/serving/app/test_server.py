"""The app where people run it: behind proxies, in other applications, on ports that are taken."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from serving.app.listening import LAST_PORT, ServeError, listen
from serving.app.serve import hide_proxies
from serving.app.views import EXAMPLES
from tests.app_process import find_free_port, start_app
from tests.benchmarks.benchmark_load import ask, post

SERVE = (sys.executable, "-c", "from trainer.cli.main import app; app()", "serve")
PREFIX = "/proxy/file/upload"
# A port that nobody listens on: whoever asks it, fails.
NOWHERE = "127.0.0.1:9"
MOUNT = f"""
import os
import uvicorn
from fastapi import FastAPI
from serving import from_pretrained
from serving.app.server import mount_app

app = FastAPI()
app.get("/")(lambda: "another page")
mount_app(app, from_pretrained(), "{PREFIX}")
uvicorn.run(app, port=int(os.environ["GRADIO_SERVER_PORT"]))
"""


def fetch(url: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read().decode(), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def call(url: str, endpoint: str, data: list[object]) -> str:
    """What an endpoint answers to data as they are, without an upload."""
    body, kind = json.dumps({"data": data}).encode(), "application/json"
    event = json.loads(post(f"{url}/gradio_api/call/{endpoint}", body, kind))["event_id"]
    return fetch(f"{url}/gradio_api/call/{endpoint}/{event}")[1]


def check_app(url: str, root: str) -> None:
    """Page, upload, answers and closed routes."""
    status, page, headers = fetch(f"{url}/")
    assert status == 200
    assert f'"root":"{root}"' in page
    assert "COLOUR_STOPS" in page
    assert "default-src 'self'" in headers["content-security-policy"]
    assert ask(url, EXAMPLES / "glioma.png")["label"] == "glioma"
    for route in (
        "file=/etc/hostname",
        "file/etc/hostname",
        "proxy=http://127.0.0.1",
        "stream/1",
        "deep_link",
    ):
        assert fetch(f"{url}/gradio_api/{route}")[0] == 404


def test_behind_a_proxy_with_other_proxies_in_the_environment(tmp_path):
    """The proxy shows the app at a path with words of its routes, and takes the path away, or does not."""
    proxies = {"ALL_PROXY": f"socks4://{NOWHERE}", "https_proxy": f"socks5://{NOWHERE}"}
    proxies |= {name: f"http://{NOWHERE}" for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY")}
    environment = {**os.environ, **proxies, "HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    environment |= {"GRADIO_ROOT_PATH": PREFIX, "no_proxy": "", "NO_PROXY": ""}
    with start_app(SERVE, environment) as (url, _):
        for prefix in ("", PREFIX):
            check_app(f"{url}{prefix}", f"{url}{PREFIX}")
    assert list(tmp_path.glob("tumor-*")) == []


def test_mounted_in_another_application(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with start_app((sys.executable, "-c", MOUNT), environment) as (url, _):
        assert fetch(url)[1] == '"another page"'
        assert "content-security-policy" not in fetch(url)[2]
        check_app(f"{url}{PREFIX}", f"{url}{PREFIX}")
        (tmp_path / "foreign.png").write_bytes((EXAMPLES / "glioma.png").read_bytes())
        assert "event: error" in call(f"{url}{PREFIX}", "predict", [{"path": str(tmp_path / "foreign.png")}])
        assert list(tmp_path.rglob("foreign.png")) == [tmp_path / "foreign.png"]
        (tmp_path / "foreign.png").unlink()
        client = Client(f"{url}{PREFIX}", verbose=False)
        answer = client.predict(handle_file(str(EXAMPLES / "pituitary.png")), api_name="/predict")
        assert answer["label"] == "pituitary"
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith("tumor-")] == []


def test_the_log_has_no_name_of_a_file_and_no_advice_to_share(tmp_path):
    names = [f"Smith_John_{ending}" for ending in ("a.png", "b.dcm", "c.nii.gz", "d.zip", "e.tif")]
    log = tmp_path / "log"
    command = f"exec {' '.join(SERVE[:1])} -c '{SERVE[2]}' serve >{log} 2>&1"
    with start_app(("bash", "-c", command), {**os.environ, "HF_HUB_OFFLINE": "1"}) as (url, _):
        for name in names:
            (tmp_path / name).write_bytes(b"II*\0" + bytes(200))
            with pytest.raises(ValueError, match="Smith_John_"):
                ask(url, tmp_path / name)
        client, files = Client(url, verbose=False), [handle_file(str(tmp_path / name)) for name in names]
        assert all(row["error"] for row in client.predict(files, api_name="/predict_batch"))
        with pytest.raises(AppError):
            client.predict(files, api_name="/predict_volume")
    told = log.read_text()
    assert "Serving on http://127.0.0.1:" in told
    assert "Smith" not in told
    assert not re.search("share|public", told, re.IGNORECASE)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port", "TAKEN"], {}, r"Port \d+ is taken on 127\.0\.0\.1\. Choose another"),
        (["--port", "70000"], {}, r"Expected a port from 1 to 65535, got 70000"),
        (["--host", "no.such.host.invalid"], {}, r"no\.such\.host\.invalid is no known host"),
        ([], {"GRADIO_SERVER_PORT": "http"}, r"GRADIO_SERVER_PORT should be a port .* got 'http'"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(arguments, environment, message):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [*SERVE, *(port if argument == "TAKEN" else argument for argument in arguments)]
        result = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
        )
    assert (result.returncode, result.stdout) == (1, "")
    # LiteRT says a line of its own.
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("INFO:")]
    assert re.search(message, line)


@pytest.mark.parametrize("port", [-1, 0, LAST_PORT + 1])
def test_ports_out_of_range(port):
    with pytest.raises(ServeError, match=f"from 1 to 65535, got {port}"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "203.0.113.1"])
def test_hosts_that_are_not_this_machine(host):
    with pytest.raises(ServeError, match=r"is no (known host|address of this machine)\. Name one"):
        listen(host, find_free_port())


def test_without_a_port_the_first_free_one_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(first))
        with listen("127.0.0.1", None) as listener:
            assert first < listener.getsockname()[1] < first + 100
        monkeypatch.setattr("serving.app.listening.PORTS", 1)
        with pytest.raises(ServeError, match=f"Port {first} is taken"):
            listen("127.0.0.1", None)


def test_proxies_are_hidden_and_come_back(monkeypatch):
    monkeypatch.setenv("All_Proxy", "socks5://proxy")
    before = dict(os.environ)
    with hide_proxies():
        assert not [name for name in os.environ if name.lower().endswith("_proxy")]
    assert dict(os.environ) == before
