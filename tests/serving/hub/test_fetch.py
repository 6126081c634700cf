"""Models from the Hub, fetched by the real client from a server on this machine.

The client runs in processes of its own, because it reads its environment when it is imported.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import ArtefactError, from_pretrained
from serving.model.artefact import BUNDLED, CARD_FILE, CONFIG_FILE, KERAS_FILE, LITERT_FILE, METRICS_FILE
from tests.hub_client import build_environment
from tests.hub_server import OWNER_TOKEN, STRANGER_TOKEN, HubServer, read_folder

OLD_TEMPERATURE, NEW_TEMPERATURE = 0.5, 4.0
NEEDED = [CARD_FILE, CONFIG_FILE, METRICS_FILE, LITERT_FILE]
NO_COMMIT = "0" * 40
LOAD = """
import json, sys
from serving import ArtefactError, from_pretrained

def load(repo, revision):
    try:
        classifier = from_pretrained(repo, revision)
    except ArtefactError as error:
        return {"error": str(error)}
    probabilities = [one.unguarded_probabilities for one in classifier.predict_batch(sys.argv[1:])]
    return {"temperature": classifier.config.temperature, "probabilities": probabilities}

print(json.dumps([load(*wanted) for wanted in json.load(sys.stdin)]))
"""
# Typer's runner takes anything but SystemExit for what it is, an uncaught error.
REFUSE = """
import json, sys
from typer.testing import CliRunner
from trainer.cli.main import app

def refuse(model, revision):
    options = [] if revision is None else ["--revision", revision]
    result = CliRunner().invoke(app, ["predict", sys.argv[1], "--model", model, *options])
    assert isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr

print(json.dumps([refuse(*wanted) for wanted in json.load(sys.stdin)]))
"""
ASK = """
import json
from huggingface_hub import HfApi
from huggingface_hub.errors import RemoteEntryNotFoundError

refs = HfApi().list_repo_refs("user/model")
sizes = {file.rfilename: file.size for file in HfApi().model_info("user/model", files_metadata=True).siblings}
try:
    HfApi().hf_hub_download("user/model", "no_such_file")
except RemoteEntryNotFoundError:
    commits = [commit.commit_id for commit in HfApi().list_repo_commits("user/model")]
    print(json.dumps([{ref.name: ref.target_commit for ref in refs.branches + refs.tags}, sizes, commits]))
"""


class Client:
    """Starts processes that see one Hub, and keep their cache in one folder."""

    def __init__(self, endpoint: str, home: Path, images: list[Path]):
        self.environment = build_environment(endpoint, home)
        self.images = [str(image) for image in images]

    def run(
        self, code: str, *arguments: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command,
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=50,
        )

    def load(self, *wanted: tuple[str, str | None], **environment: str) -> tuple[list[dict], str]:
        """Load each (repository, revision) in one process; return what came of each, and stderr."""
        result = self.run(LOAD, *self.images, stdin=json.dumps(wanted), **environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout), result.stderr

    def refuse(self, *wanted: tuple[str, str | None], **environment: str) -> list[str]:
        """Run `tumor predict` with each, check that it ends as it should, and return its stderr."""
        result = self.run(REFUSE, self.images[0], stdin=json.dumps(wanted), **environment)
        assert result.returncode == 0, result.stderr
        answers = json.loads(result.stdout)
        assert [answer[:2] for answer in answers] == [[1, ""]] * len(wanted)
        return [stderr for _, _, stderr in answers]


@pytest.fixture(scope="module")
def artefact_dir(tmp_path_factory) -> Path:
    return shutil.copytree(BUNDLED, tmp_path_factory.mktemp("artefact") / "model")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Three synthetic pictures: a disc, a ramp, noise."""
    folder = tmp_path_factory.mktemp("images")
    y, x = np.mgrid[:160, :160]
    disc = np.where(np.hypot(x - 80, y - 80) < 60, 120 + 40 * np.sin(x / 9), 0)
    noise = np.random.default_rng(0).integers(0, 256, (160, 160))
    paths = []
    for name, pixels in (("disc", disc), ("ramp", x + y / 2), ("noise", noise)):
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def with_temperature(files: dict[str, bytes], temperature: float) -> dict[str, bytes]:
    config = json.loads(files[CONFIG_FILE])
    config["calibration"]["temperature"] = temperature
    return files | {CONFIG_FILE: json.dumps(config).encode()}


@pytest.fixture(scope="module")
def files(artefact_dir) -> dict[str, bytes]:
    return read_folder(artefact_dir)


@pytest.fixture(scope="module")
def running_hub(files) -> Iterator[HubServer]:
    with HubServer() as server:
        model = server.add_repo("user/model")
        model.tags["v1"] = model.commit(with_temperature(files, OLD_TEMPERATURE))
        model.commit(with_temperature(files, NEW_TEMPERATURE))
        server.add_repo("user/private", private=True).commit(files)
        server.add_repo("user/gated", gated=True).commit(files)
        server.add_repo("user/tampered").commit(files | {LITERT_FILE: files[LITERT_FILE][:-1] + b"?"})
        server.add_repo("user/other").commit({"README.md": b"# No artefact"})
        yield server


@pytest.fixture
def hub(running_hub) -> HubServer:
    running_hub.asked.clear()
    running_hub.failures.clear()
    running_hub.outage = running_hub.cut_after = None
    return running_hub


@pytest.fixture
def client(hub, tmp_path, images) -> Client:
    return Client(hub.url, tmp_path / "home", images)


@pytest.fixture
def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_branch_tag_and_commit_give_their_model(hub, client, files, images, tmp_path):
    expected = {}
    for temperature in (OLD_TEMPERATURE, NEW_TEMPERATURE):
        folder = tmp_path / str(temperature)
        folder.mkdir()
        for name in NEEDED:
            (folder / name).write_bytes(with_temperature(files, temperature)[name])
        expected[temperature] = [
            one.unguarded_probabilities for one in from_pretrained(folder).predict_batch(images)
        ]
    assert expected[OLD_TEMPERATURE] != expected[NEW_TEMPERATURE]

    repo = hub.repos["user/model"]
    revisions = {None: NEW_TEMPERATURE, "main": NEW_TEMPERATURE, "v1": OLD_TEMPERATURE} | {
        repo.branches["main"]: NEW_TEMPERATURE,
        repo.tags["v1"]: OLD_TEMPERATURE,
    }
    loaded, _ = client.load(*(("user/model", revision) for revision in revisions))
    for found, (revision, temperature) in zip(loaded, revisions.items(), strict=True):
        assert found["temperature"] == temperature, revision
        for ours, theirs in zip(found["probabilities"], expected[temperature], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-6), revision
    # The weights of both commits are the same, so the cache fetches them once.
    assert hub.list_fetched("user/model") == sorted([CONFIG_FILE, *NEEDED])


def test_only_what_serving_needs_is_fetched_and_only_once(hub, client, files):
    assert len(files) > len(NEEDED)
    client.load(("user/model", None), ("user/model", "main"))
    assert hub.list_fetched("user/model") == NEEDED


def test_branch_that_moved_is_followed(hub, client, files):
    repo = hub.add_repo("user/moving")
    repo.commit(with_temperature(files, OLD_TEMPERATURE))
    [[before], _] = client.load(("user/moving", None))
    repo.commit(with_temperature(files, NEW_TEMPERATURE))
    [[after], _] = client.load(("user/moving", None))
    assert (before["temperature"], after["temperature"]) == (OLD_TEMPERATURE, NEW_TEMPERATURE)


def test_download_that_breaks_off_goes_on_where_it_broke_off(hub, client, files):
    chunk = 10 * 1024**2  # the client writes so much at a time
    assert len(files[LITERT_FILE]) > chunk + 1000
    hub.cut_after = chunk + 1000
    [[found], _] = client.load(("user/model", None))
    assert found["temperature"] == NEW_TEMPERATURE
    assert [asked.range for asked in hub.asked if asked.range] == [f"bytes={chunk}-"]


def test_download_that_is_killed_does_not_begin_anew(hub, client):
    """What was whole is kept, though the client begins the file at which it was killed again."""
    hub.failures.append((f"GET .*/resolve/.*/{LITERT_FILE}", 503))
    [message] = client.refuse(("user/model", None))
    assert "answered 503 for user/model at main. Try again later" in message
    [[found], _] = client.load(("user/model", None))
    assert found["temperature"] == NEW_TEMPERATURE
    assert hub.list_fetched("user/model") == NEEDED


def test_full_disk_is_called_so(client):
    code = f"""
import errno
from huggingface_hub import file_download

def http_get(*arguments, **named):
    raise OSError(errno.ENOSPC, "No space left on device")

file_download.http_get = http_get
{LOAD}"""
    result = client.run(code, *client.images, stdin=json.dumps([("user/model", None)]))
    [found] = json.loads(result.stdout)
    assert "cannot be downloaded: the disk is full. Free some space, or let HF_HOME" in found["error"]


def test_the_keras_runtime_fetches_and_checks_its_own_file(hub, client, files):
    """Before Keras is imported."""
    hub.add_repo("user/swapped").commit(files | {KERAS_FILE: b"swapped"})
    code = LOAD.replace("from_pretrained(repo, revision)", 'from_pretrained(repo, revision, runtime="keras")')
    result = client.run(code, *client.images, stdin=json.dumps([("user/swapped", None)]))
    [refused] = json.loads(result.stdout)
    assert f"{KERAS_FILE} in " in refused["error"]
    assert hub.list_fetched("user/swapped") == [CARD_FILE, CONFIG_FILE, METRICS_FILE, KERAS_FILE]
    # What one runtime has fetched is no whole model for the other.
    [message] = client.refuse(("user/swapped", None), HF_HUB_OFFLINE="1")
    assert "not whole in the local cache" in message


def test_tampered_model_is_refused_by_name(client):
    [message] = client.refuse(("user/tampered", None))
    assert f"{LITERT_FILE} in " in message
    assert "sha256" in message
    assert "hf cache rm" in message


def test_a_token_that_may_not_read_is_told_apart(hub, client):
    hub.failures.append(("GET /api/models/user/model", 403))
    [message] = client.refuse(("user/model", None))
    assert "answered 403 for user/model at main. Your token may not do this" in message


REFUSALS = {
    "": {
        ("user/nothing", None): r"There is no folder user/nothing, and the Hub has no model of this name",
        ("user/model", "v9"): r"user/model has no revision v9\. Name a branch",
        ("user/model", NO_COMMIT): rf"user/model has no revision {NO_COMMIT}",
        ("user/private", None): r"no model of this name that you may read.*hf auth login",
        ("user/gated", None): r"user/gated is gated\. Accept its terms",
        ("user/other", None): rf"holds no {CONFIG_FILE}",
    },
    STRANGER_TOKEN: {
        ("user/nothing", None): r"no model of this name",
        ("user/private", None): r"no model of this name that you may read",
        ("user/gated", None): r"user/gated is gated\. Accept its terms",
    },
    "hf_expired": {("user/model", None): r"answered 401 for user/model at main\. Log in again"},
}


@pytest.mark.parametrize("token", REFUSALS)
def test_refusals_of_the_hub_are_told(client, token):
    messages = client.refuse(*REFUSALS[token], **({"HF_TOKEN": token} if token else {}))
    for message, expected in zip(messages, REFUSALS[token].values(), strict=True):
        assert re.search(expected, message)


def test_owner_may_load_private_and_gated_models(client):
    loaded, _ = client.load(("user/private", None), ("user/gated", None), HF_TOKEN=OWNER_TOKEN)
    assert all("error" not in found for found in loaded)


@pytest.mark.parametrize("status", [500, 503])
def test_hub_that_answers_with_an_error(hub, client, status):
    hub.outage = status
    [message] = client.refuse(("user/model", None))
    assert f"it answered {status}) and user/model at main is not whole in the local cache" in message


def test_address_that_is_no_hub(hub, client):
    hub.outage = 200  # as a login page of a hotel's network would
    [message] = client.refuse(("user/model", None))
    assert "HF_ENDPOINT" in message


def test_hub_that_cannot_be_reached(client, unused_url):
    # A whole process, for once: what a shell sees.
    options = ("predict", client.images[0], "--model", "user/model")
    result = client.run("from trainer.cli.main import app; app()", *options, HF_ENDPOINT=unused_url)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "ConnectError" in result.stderr
    assert "not whole in the local cache" in result.stderr
    assert "Traceback" not in result.stderr


def test_hub_that_never_answers(client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        [message] = client.refuse(
            ("user/model", None), HF_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
    assert "ReadTimeout" in message


def test_offline_mode_without_a_cached_model(hub, client):
    [message] = client.refuse(("user/model", None), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in message
    assert hub.asked == []


def test_cached_model_serves_while_the_hub_is_out_and_says_so(hub, client, unused_url):
    pinned = hub.repos["user/model"].branches["main"]
    [[fresh], told] = client.load(("user/model", None))
    assert "out of date" not in told

    hub.outage = 429
    [[cached], told] = client.load(("user/model", None))
    assert cached == fresh
    assert f"user/model at main comes from the local cache, commit {pinned}, and may be out of date" in told
    for environment in ({"HF_ENDPOINT": unused_url}, {"HF_HUB_OFFLINE": "1"}):
        [[branch, commit, other], told] = client.load(
            ("user/model", None), ("user/model", pinned), ("user/model", "v1"), **environment
        )
        assert branch == commit == fresh
        assert "user/model at v1 is not whole in the local cache" in other["error"]
        assert told.count("may be out of date") == 1  # the branch; a commit cannot be


# Root may write to what is read-only, until it gives up this right (linux/prctl.h, linux/capability.h).
OBEY_MODES = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
if os.geteuid() == 0:
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def test_a_cache_that_may_not_be_written_to_serves_what_it_has_and_says_so(hub, client, files, tmp_path):
    """As where an image holds the model, and the Hub has a newer commit."""
    repo = hub.add_repo("user/baked")
    old = repo.commit(with_temperature(files, OLD_TEMPERATURE))
    assert client.load(("user/baked", None))[0][0]["temperature"] == OLD_TEMPERATURE
    new = repo.commit(with_temperature(files, NEW_TEMPERATURE))
    folders = [path for path in (tmp_path / "home").rglob("*") if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    wanted = json.dumps([("user/baked", revision) for revision in (None, old, new)])
    try:
        result = client.run(OBEY_MODES, LOAD, *client.images, stdin=wanted)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert result.returncode == 0, result.stderr
    branch, pinned, newer = json.loads(result.stdout)
    assert branch["temperature"] == pinned["temperature"] == OLD_TEMPERATURE
    assert "local cache cannot be written to" in newer["error"]
    assert "HF_HOME" in newer["error"]
    assert f"user/baked at main comes from the local cache, commit {old}, and may be" in result.stderr
    assert result.stderr.count("out of date") == 1


def test_a_proxy_that_the_client_cannot_use_is_told(client):
    [message] = client.refuse(("user/model", None), ALL_PROXY="socks5://127.0.0.1:9")
    assert "user/model at main cannot be downloaded (ImportError: Using SOCKS proxy" in message


def test_cached_model_is_no_answer_to_a_refusal(client):
    [[found], _] = client.load(("user/private", None), HF_TOKEN=OWNER_TOKEN)
    assert "error" not in found
    [message] = client.refuse(("user/private", None))
    assert "hf auth login" in message


def test_names_that_are_no_repository_are_refused_unasked(hub, client, tmp_path):
    names = [
        "a--b/c",
        "../model",
        "user/name.git",
        "user/.name",
        "ö/ä",
        "user/model/more",
        "user",
        "",
        str(tmp_path / "nothing"),
        "x/" + "y" * 300,
    ]
    loaded, _ = client.load(*((name, None) for name in names))
    for name, found in zip(names, loaded, strict=True):
        assert f"{name} is neither" in found["error"]
    assert hub.asked == []


def test_revision_without_a_repository_is_refused(artefact_dir):
    with pytest.raises(ArtefactError, match=r"bundled model has no revisions.*'v1'"):
        from_pretrained(revision="v1")
    with pytest.raises(ArtefactError, match=r"folder has no revisions.*'v1'"):
        from_pretrained(artefact_dir, revision="v1")


def test_server_answers_what_else_the_client_asks(hub, client, files):
    result = client.run(ASK)
    assert result.returncode == 0, result.stderr
    refs, sizes, commits = json.loads(result.stdout)
    repo = hub.repos["user/model"]
    assert refs == repo.branches | repo.tags
    assert commits == [repo.branches["main"], repo.tags["v1"]]
    assert set(sizes) == set(files)
    assert sizes[LITERT_FILE] == len(files[LITERT_FILE])


def test_server_sends_parts_of_a_file(hub, files):
    url = f"{hub.url}/user/model/resolve/main/{LITERT_FILE}"
    size = len(files[LITERT_FILE])
    for wanted, start, stop in (("bytes=10-19", 10, 20), (f"bytes={size - 5}-", size - 5, size)):
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": wanted})) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert answer.read() == files[LITERT_FILE][start:stop]
