"""`tumor push` and `tumor pull` with the real client, to and from a Hub on this machine."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.hub.publish import COMMIT_TITLE
from serving.model.artefact import ARTEFACT_FILES, BUNDLED, CARD_FILE, CONFIG_FILE, KERAS_FILE, LITERT_FILE
from tests.hub_client import Shell, build_environment
from tests.hub_server import OWNER_TOKEN, STRANGER_TOKEN, HubServer, Repo, read_folder

MODEL = "user/model"
LARGE = [LITERT_FILE, KERAS_FILE]


@pytest.fixture(scope="module")
def running_hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def shell(running_hub, tmp_path_factory) -> Iterator[Shell]:
    with Shell(running_hub.url, tmp_path_factory.mktemp("home")) as shell:
        yield shell


@pytest.fixture
def hub(running_hub) -> HubServer:
    """Empty."""
    for state in (running_hub.repos, running_hub.stored, running_hub.asked, running_hub.failures):
        state.clear()
    running_hub.outage = None
    return running_hub


@pytest.fixture
def artefact(tmp_path) -> Path:
    """A run folder's artefact, with more beside and in it than may be published."""
    folder = shutil.copytree(BUNDLED, tmp_path / "run" / "artefact")
    for name in (".env", "notes.txt", "figures/notes.txt", "figures/deep/figure.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("private")
    (tmp_path / "run" / "predictions.csv").write_text("private")
    return folder


def push(shell: Shell, artefact: Path, *options: str, token: str | None = None) -> str:
    answer = shell.run(
        "push", artefact.parent, MODEL, *options, **({"token": token} if token is not None else {})
    )
    assert answer.code == 0, answer.stderr
    return answer.stdout


def refuse(shell: Shell, *arguments: str | Path, **options: str) -> str:
    answer = shell.run(*arguments, **options)
    assert (answer.code, answer.stdout) == (1, "")
    return answer.stderr


def set_temperature(artefact: Path, temperature: float) -> None:
    config = json.loads((artefact / CONFIG_FILE).read_text())
    config["calibration"]["temperature"] = temperature
    (artefact / CONFIG_FILE).write_text(json.dumps(config))


def count_commits(repo: Repo) -> int:
    return len(repo.commits)


def list_uploads(hub: HubServer) -> int:
    return sum(asked.method == "PUT" for asked in hub.asked)


def test_the_artefact_and_nothing_else_is_published_in_one_commit(hub, shell, artefact):
    told = push(shell, artefact)
    repo = hub.repos[MODEL]
    assert count_commits(repo) == 2  # the Hub's own, and ours
    found = repo.read()
    assert set(found) == {".gitattributes", *read_folder(BUNDLED)}
    for name in (*LARGE, CONFIG_FILE, "metrics.json"):
        assert found[name] == (artefact / name).read_bytes()
    assert not repo.private
    head = repo.commits[repo.branches["main"]]
    assert (
        head.title,
        [name for name in LARGE if head.files[name].is_lfs],
        head.files[CONFIG_FILE].is_lfs,
    ) == (COMMIT_TITLE, LARGE, False)
    assert f"at commit {repo.branches['main']}" in told
    assert f"--model {MODEL} --revision {repo.branches['main']}" in told


def test_the_card_on_the_hub_loads_the_repository(hub, shell, artefact):
    push(shell, artefact)
    card = hub.repos[MODEL].read()[CARD_FILE].decode()
    assert 'from_pretrained("user/model")' in card
    assert 'from_pretrained(".")' not in card


def test_the_same_artefact_again_makes_no_commit(hub, shell, artefact):
    push(shell, artefact)
    before, uploads = count_commits(hub.repos[MODEL]), list_uploads(hub)
    assert push(shell, artefact).startswith("Nothing has changed")
    assert count_commits(hub.repos[MODEL]) == before
    assert list_uploads(hub) == uploads


def test_only_what_has_changed_is_uploaded_and_old_figures_go(hub, shell, artefact):
    push(shell, artefact)
    repo = hub.repos[MODEL]
    repo.commit(repo.read() | {"figures/confusion_older.png": b"old", "LICENSE": b"of a person"})
    commits, uploads = count_commits(repo), list_uploads(hub)
    set_temperature(artefact, 3.0)
    assert push(shell, artefact).startswith("Published")
    assert count_commits(repo) == commits + 1
    assert list_uploads(hub) == uploads
    found = repo.read()
    assert json.loads(found[CONFIG_FILE])["calibration"]["temperature"] == 3.0
    assert "figures/confusion_older.png" not in found
    assert found["LICENSE"] == b"of a person"


def test_python_publishes_what_is_whole(hub, artefact, tmp_path):
    code = """
import sys
from serving import ArtefactError, from_pretrained

print(from_pretrained(sys.argv[1]).push_to_hub("user/python", tag="v1").commit)
try:
    from_pretrained("user/python").push_to_hub("user/other")  # only what serving needs was downloaded
except ArtefactError as error:
    print(error)
"""
    environment = build_environment(hub.url, tmp_path / "home") | {"HF_TOKEN": OWNER_TOKEN}
    result = subprocess.run(
        [sys.executable, "-c", code, str(artefact)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stderr
    commit, refused = result.stdout.splitlines()
    assert hub.repos["user/python"].tags == {"v1": commit}
    assert f"{KERAS_FILE} is missing" in refused
    assert "`tumor pull` fetches all of it" in refused
    assert "user/other" not in hub.repos


def test_a_card_that_a_person_edited_is_kept_until_it_may_be_overwritten(hub, shell, artefact):
    push(shell, artefact)
    repo = hub.repos[MODEL]
    edited = repo.read()[CARD_FILE] + b"\nEdited on the Hub.\n"
    repo.commit(repo.read() | {CARD_FILE: edited}, title="Update README.md")
    set_temperature(artefact, 3.0)
    assert "edited on the Hub and is kept" in push(shell, artefact)
    assert repo.read()[CARD_FILE] == edited
    assert json.loads(repo.read()[CONFIG_FILE])["calibration"]["temperature"] == 3.0
    assert "kept" not in push(shell, artefact, "--overwrite-card")
    assert b"Edited on the Hub" not in repo.read()[CARD_FILE]


def test_a_card_that_nobody_edited_follows_the_model(hub, shell, artefact):
    hub.add_repo(MODEL).commit({CARD_FILE: b"---\nlicense: mit\n---\n"}, title="initial commit")
    push(shell, artefact)
    assert b"not a medical device" in hub.repos[MODEL].read()[CARD_FILE]
    (artefact / CARD_FILE).write_text((artefact / CARD_FILE).read_text() + "\nOf a newer model.\n")
    assert "kept" not in push(shell, artefact)
    assert hub.repos[MODEL].read()[CARD_FILE].endswith(b"Of a newer model.\n")


def test_a_tag_names_the_commit_and_is_never_moved(hub, shell, artefact):
    push(shell, artefact, "--tag", "v1")
    repo = hub.repos[MODEL]
    pinned = repo.branches["main"]
    assert repo.tags == {"v1": pinned}
    push(shell, artefact, "--tag", "v1")  # the same again
    set_temperature(artefact, 3.0)
    message = refuse(shell, "push", artefact, MODEL, "--tag", "v1")  # found out only once it is a new commit
    assert f"the tag v1 names {pinned} and is not moved" in message
    push(shell, artefact, "--tag", "v2")
    commits = count_commits(repo)
    assert "Nothing was published" in refuse(shell, "push", artefact, MODEL, "--tag", "v1")
    assert repo.tags == {"v1": pinned, "v2": repo.branches["main"]}
    assert count_commits(repo) == commits


def test_a_stranger_may_propose_but_not_push(hub, shell, artefact):
    push(shell, artefact)
    main = hub.repos[MODEL].branches["main"]
    set_temperature(artefact, 3.0)
    assert "Your token may not do this" in refuse(shell, "push", artefact, MODEL, token=STRANGER_TOKEN)
    assert "/discussions/1 at commit" in push(shell, artefact, "--create-pr", token=STRANGER_TOKEN)
    branches = hub.repos[MODEL].branches
    assert branches["main"] == main
    assert json.loads(hub.repos[MODEL].read("refs/pr/1")[CONFIG_FILE])["calibration"]["temperature"] == 3.0


def test_what_cannot_be_is_refused_before_the_hub_is_asked(hub, shell, artefact, tmp_path):
    assert "Leave out one of --tag and --create-pr" in refuse(
        shell, "push", artefact, MODEL, "--tag", "v1", "--create-pr"
    )
    assert "Expected a run or artefact folder" in refuse(shell, "push", tmp_path / "nothing", MODEL)
    assert "Copy it to this machine first" in refuse(shell, "push", "gs://bucket/run", MODEL)
    assert "holds no config.json" in refuse(shell, "push", tmp_path, MODEL)
    for name in ("model", "https://huggingface.co/user/model", "user/model/more"):
        assert f"Expected a Hub repository user/name; {name} is none" in refuse(shell, "push", artefact, name)
        assert f"Expected a Hub repository user/name; {name} is none" in refuse(
            shell, "pull", name, tmp_path / "pulled"
        )
    for name in ARTEFACT_FILES:
        content = (artefact / name).read_bytes()
        (artefact / name).unlink()
        assert name in refuse(shell, "push", artefact, MODEL)
        (artefact / name).write_bytes(content)
    for name in LARGE:
        content = (artefact / name).read_bytes()
        (artefact / name).write_bytes(content[:-1] + b"?")
        assert f"{name} in {artefact} is damaged or was swapped" in refuse(shell, "push", artefact, MODEL)
        (artefact / name).write_bytes(content)
    assert hub.asked == []


def test_private_is_private_or_refused(hub, shell, artefact, tmp_path):
    push(shell, artefact, "--private")
    assert hub.repos[MODEL].private
    assert "hf auth login" in refuse(shell, "pull", MODEL, tmp_path / "pulled", token="")
    assert shell.run("pull", MODEL, tmp_path / "pulled").code == 0
    hub.repos[MODEL].private = False
    set_temperature(artefact, 3.0)
    commits = count_commits(hub.repos[MODEL])
    assert "there already and public" in refuse(shell, "push", artefact, MODEL, "--private")
    assert count_commits(hub.repos[MODEL]) == commits


@pytest.mark.parametrize(
    ("failing", "status", "expected"),
    [
        ("POST /api/repos/create", 401, "answered 401 for user/model. Log in again"),
        ("POST /api/repos/create", 429, "answered 429 for user/model. It limits how often one may ask"),
        ("GET /api/models/user/model$", 503, "answered 503 for user/model"),
        ("POST /api/validate-yaml", 400, "user/model cannot be published"),
        ("POST /api/models/user/model/commit", 503, "answered 503 for user/model"),
        ("POST /api/models/user/model/commit", 412, "Somebody else changed it at the same time"),
        ("PUT /lfs", 403, "cannot be published: Error while uploading '"),
    ],
)
def test_a_push_that_fails_says_why_and_publishes_nothing(hub, shell, artefact, failing, status, expected):
    hub.failures.extend([(failing, status)] * len(LARGE))
    message = refuse(shell, "push", artefact, MODEL)
    assert expected in message
    assert "Traceback" not in message
    assert all(count_commits(repo) == 1 for repo in hub.repos.values())


def test_a_hub_that_never_answers_is_not_waited_for(artefact, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Shell(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path / "home") as shell,
    ):
        assert "ReadTimeout" in refuse(shell, "push", artefact, MODEL)


def test_a_push_goes_on_where_it_failed(hub, shell, artefact):
    hub.failures.append(("POST .*/commit/", 503))
    assert "Try again later" in refuse(shell, "push", artefact, MODEL)
    uploads = list_uploads(hub)
    assert push(shell, artefact).startswith("Published")
    assert list_uploads(hub) == uploads


def test_a_hub_that_is_out_for_a_moment_during_a_push_is_asked_again(hub, shell, artefact):
    hub.failures.extend([("PUT /lfs", 503), ("POST .*/preupload", 503)])
    push(shell, artefact)
    assert hub.failures == []


def test_a_pull_goes_on_where_the_hub_failed(hub, shell, artefact, tmp_path):
    set_temperature(artefact, 2.5)
    push(shell, artefact)
    hub.failures.append(("GET .*/resolve/.*/config.json", 503))
    assert "answered 503 for user/model at main. Try again later" in refuse(
        shell, "pull", MODEL, tmp_path / "pulled"
    )
    assert not (tmp_path / "pulled").exists()
    assert shell.run("pull", MODEL, tmp_path / "pulled").code == 0
    fetched = hub.list_fetched(MODEL)
    assert len(fetched) == len(set(fetched))  # none of them twice


def test_pull_fetches_the_whole_artefact_and_nothing_else(hub, shell, artefact, tmp_path):
    push(shell, artefact, "--tag", "v1")
    repo = hub.repos[MODEL]
    repo.commit(
        repo.read()
        | {"evil.py": b"raise SystemExit", "figures/evil.py": b"raise SystemExit", "model.pkl": b"."}
    )
    target = tmp_path / "pulled"
    answer = shell.run("pull", MODEL, target)
    assert answer.code == 0, answer.stderr
    assert f"from user/model at commit {repo.branches['main']}" in answer.stdout
    assert set(read_folder(target)) == set(read_folder(BUNDLED))
    assert not any("evil" in path or "pkl" in path for path in hub.list_fetched(MODEL))
    assert (target / KERAS_FILE).read_bytes() == (artefact / KERAS_FILE).read_bytes()
    assert shell.run("pull", MODEL, target, "--revision", "v1").code == 0  # in its place
    assert not target.with_name("pulled.partial").exists()


def test_pull_overwrites_nothing_but_an_artefact(hub, shell, artefact, tmp_path):
    push(shell, artefact)
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    run = artefact.parent
    shutil.copyfile(artefact / CONFIG_FILE, run / CONFIG_FILE)  # a run folder has one, too
    before = read_folder(run)
    assert "holds thesis.txt, which is no file of an artefact" in refuse(shell, "pull", MODEL, own)
    assert "holds artefact, which" in refuse(shell, "pull", MODEL, run)
    assert (own / "thesis.txt").read_text() == "years of work"
    assert read_folder(run) == before
    assert "cannot be written" in refuse(shell, "pull", MODEL, own / "thesis.txt")


@pytest.mark.parametrize("name", LARGE)
def test_pull_refuses_a_swapped_file_by_name(hub, shell, artefact, tmp_path, name):
    push(shell, artefact)
    repo = hub.repos[MODEL]
    repo.commit(repo.read() | {name: b"swapped"})
    assert f"{name} in " in refuse(shell, "pull", MODEL, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize(
    "name",
    ["../../evil.py", "figures/../../../evil.png", "/etc/evil", "figures\\..\\evil.png", "C:/evil.png"],
)
def test_a_file_outside_its_repository_is_refused_by_name(hub, shell, artefact, tmp_path, name):
    files = read_folder(BUNDLED)
    hub.add_repo("user/evil").commit(files | {name: b"evil"})
    for arguments in (
        ("pull", "user/evil", tmp_path / "pulled"),
        ("predict", "any.png", "--model", "user/evil"),
    ):
        assert repr(name) in refuse(shell, *arguments)
    assert hub.list_fetched("user/evil") == []
    assert not list(tmp_path.rglob("*evil*"))
