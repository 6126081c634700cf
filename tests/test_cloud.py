"""Cloud jobs and the sweep: their commands are `tumor`'s own, their files exist, their counts agree.

Command lines are read by the real parser, configs by the real loader; shell scripts run with stand-ins for
what a cluster has.
"""

import json
import os
import re
import string
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from trainer.cli.config_file import load_config
from trainer.cli.main import app
from trainer.config import Config

ROOT = Path(__file__).resolve().parents[1]
CLOUD = ROOT / "configs" / "cloud"
SWEEP = ROOT / "configs" / "sweeps" / "recipe.yaml"
VERTEX = sorted(CLOUD.glob("vertex_*.yaml"))
SCRIPTS = sorted(CLOUD.glob("*.sh"))
DOCKERFILE = (CLOUD / "Dockerfile").read_text()
README = (CLOUD / "README.md").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What configs/cloud/README.md has exported.
PLACES = {
    "PROJECT": "a-project",
    "REGION": "europe-west4",
    "BUCKET": "a-bucket",
    "ZONE": "europe-west4-b",
    "WANDB_API_KEY": "a-secret",
}
IMAGES_A_REPLICA = 32

STAND_IN = f"""#!{sys.executable}
import json, os, subprocess, sys
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open({{log!r}}, "a") as file:
    call = {{{{"name": name, "words": words, "key": os.environ.get("WANDB_API_KEY")}}}}
    file.write(json.dumps(call) + "\\n")
if name == "sudo":
    words = words[next(number for number, word in enumerate(words) if not word.startswith("-")):]
    sys.exit(subprocess.run(words).returncode)
if name == "gcloud" and "ssh" in words:
    remote = next(word for word in words if word.startswith("--command=")).removeprefix("--command=")
    environment = {{{{name: value for name, value in os.environ.items() if name != "WANDB_API_KEY"}}}}
    sys.exit(subprocess.run(["bash", "-c", remote], env=environment).returncode)
if name == "scontrol" and words[0] == "show":
    print(os.environ["NODES"])
if name == "srun" or (name == "docker" and words[0] == "run"):
    sys.exit(int(os.environ["STATUS"]))
"""

Call = dict[str, Any]
RunScript = Callable[..., tuple[int, str, list[Call]]]


def parse_tumor(words: list[str]) -> dict[str, Any]:
    """What `tumor WORDS` would be called with; an error where the command line does not know a word."""
    group: Any = typer.main.get_command(app)
    command = group.commands[words[0]]
    return command.make_context(words[0], list(words[1:])).params


def load(params: dict[str, Any]) -> Config:
    """The config that a parsed `tumor train` names, with its overrides."""
    return load_config(ROOT / params["config"], list(params["overrides"]))


def read_job(path: Path) -> dict[str, Any]:
    """A job as `envsubst` makes it; an unknown placeholder is an error."""
    return yaml.safe_load(string.Template(path.read_text()).substitute(PLACES))


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """A function that runs a command: exit code, standard error, and calls of the stand-ins named."""
    log = tmp_path / "calls"
    folder = tmp_path / "bin"
    folder.mkdir()

    def run(command: list[str], names: list[str], **environment: str) -> tuple[int, str, list[Call]]:
        for name in names:
            path = folder / name
            path.write_text(STAND_IN.format(log=str(log)))
            path.chmod(0o755)
        log.write_text("")
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": path, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr, [json.loads(line) for line in log.read_text().splitlines()]

    return run


def run_tpu_vm(run_script: RunScript, status: int = 0) -> tuple[int, str, list[Call]]:
    return run_script(
        ["bash", "configs/cloud/tpu_vm.sh"], ["gcloud", "sudo", "docker"], STATUS=str(status), **PLACES
    )


def run_slurm(
    run_script: RunScript, status: int = 0, nodes: str = "gpu1\ngpu2"
) -> tuple[int, str, list[Call]]:
    given = {
        "SLURM_JOB_NODELIST": "gpu[1-2]",
        "SLURM_JOB_ID": "4711",
        "SLURM_CPUS_PER_TASK": "8",
        "NODES": nodes,
    }
    return run_script(["bash", "configs/cloud/slurm.sh"], ["srun", "scontrol"], STATUS=str(status), **given)


def find_call(calls: list[Call], name: str, *words: str) -> Call:
    found = [call for call in calls if call["name"] == name and set(words) <= set(call["words"])]
    assert len(found) == 1, (name, words, calls)
    return found[0]


# All files


def test_there_is_a_job_for_every_place():
    assert [path.stem for path in VERTEX] == ["vertex_one_gpu", "vertex_several_gpus", "vertex_two_workers"]
    assert [path.stem for path in SCRIPTS] == ["slurm", "tpu_vm"]


@pytest.mark.parametrize("path", [*VERTEX, *SCRIPTS, CLOUD / "Dockerfile", SWEEP], ids=lambda path: path.name)
def test_file_opens_with_its_command_and_what_was_not_tried(path):
    lines = path.read_text().splitlines()
    opening = []
    for line in lines[lines[0].startswith("#!") :]:
        if not line.startswith("#"):
            break
        opening.append(line)
    text = "\n".join(opening)
    command = re.search(r"^# Command.*?(?=^# (?:Expects|For TPUs))", text, re.MULTILINE | re.DOTALL)
    assert command is not None
    assert path.relative_to(ROOT).as_posix() in command[0]
    for heading in ("Expects", "Tried", "Untried"):
        assert re.search(rf"^# {heading}: ", text, re.MULTILINE), heading


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_valid_bash(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_readme_names_every_job_with_its_strategy_and_batch(run_script):
    rows = re.findall(r"^\| \[[^]]+\]\(([^)]+)\) \|[^|]*\| `(\w+)` \| (\d+) \|$", README, re.MULTILINE)
    assert {name for name, _, _ in rows} == {path.name for path in [*VERTEX, *SCRIPTS]}
    calls = {
        "tpu_vm.sh": find_call(run_tpu_vm(run_script)[2], "docker", "train"),
        "slurm.sh": find_call(run_slurm(run_script)[2], "srun"),
    }
    for name, strategy, batch in rows:
        words = (
            calls[name]["words"]
            if name in calls
            else read_job(CLOUD / name)["workerPoolSpecs"][0]["containerSpec"]["args"]
        )
        params = parse_tumor(words[words.index("train") :])
        assert (params["strategy"].value, load(params).data.batch_size) == (strategy, int(batch)), name


def test_readme_commands_and_links():
    commands = re.findall(r"^tumor (.+)$", README, re.MULTILINE)
    assert [parse_tumor(command.split()) for command in commands]
    assert {command.split()[0] for command in commands} == {"build", "serve"}
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (CLOUD / link).exists(), link
    exported = set(re.findall(r"\b([A-Z_]+)=", README))
    assert exported == set(PLACES)


def test_data_and_run_folders_may_lie_in_a_bucket():
    """`pathlib` would make gs:/ of gs://."""
    params = parse_tumor(
        ["train", "configs/default.toml", "--data-dir=gs://a-bucket/data", "--run-dir=gs://a-bucket/run"]
    )
    assert (str(params["data_dir"]), str(params["run_dir"])) == ("gs://a-bucket/data", "gs://a-bucket/run")
    assert str(parse_tumor(["build", "--data-dir=gs://a-bucket/data"])["data_dir"]) == "gs://a-bucket/data"


# Vertex AI


@pytest.mark.parametrize("path", VERTEX, ids=lambda path: path.name)
def test_vertex_job_agrees_with_its_machines(path):
    pools = read_job(path)["workerPoolSpecs"]
    accelerators = [pool["machineSpec"]["acceleratorCount"] for pool in pools]
    strategy = "multiworker" if len(pools) > 1 else "mirrored" if accelerators[0] > 1 else "one"
    assert pools[0]["replicaCount"] == 1  # Vertex AI allows one chief
    for pool in pools:
        params = parse_tumor(pool["containerSpec"]["args"])
        assert params["strategy"].value == strategy
        replicas = sum(pool["replicaCount"] * count for pool, count in zip(pools, accelerators, strict=True))
        assert load(params).data.batch_size == IMAGES_A_REPLICA * replicas
        assert str(params["data_dir"]) == "gs://a-bucket/data"
        assert pool["containerSpec"]["args"] == pools[0]["containerSpec"]["args"]
        assert pool["containerSpec"]["env"] == [{"name": "WANDB_API_KEY", "value": "a-secret"}]
        tag = pool["containerSpec"]["imageUri"].removeprefix("europe-west4-docker.pkg.dev/a-project/")
        assert f"/$PROJECT/{tag}" in DOCKERFILE


def test_no_two_jobs_share_a_run_folder(run_script):
    words = [
        pool["containerSpec"]["args"] for path in VERTEX for pool in read_job(path)["workerPoolSpecs"][:1]
    ]
    tpu = find_call(run_tpu_vm(run_script)[2], "docker", "train")["words"]
    folders = [parse_tumor(arguments)["run_dir"] for arguments in [*words, tpu[tpu.index("train") :]]]
    assert len(set(folders)) == len(folders) == 4
    assert all(folder.startswith("gs://a-bucket/runs/") for folder in folders)
    assert f"gs://$BUCKET/{folders[0].removeprefix('gs://a-bucket/')}/artefact" in README


def test_lost_worker_restarts_both():
    assert read_job(CLOUD / "vertex_two_workers.yaml")["scheduling"]["restartJobOnWorkerRestart"] is True


# TPU


def test_tpu_vm_trains_on_all_chips_and_is_deleted(run_script):
    code, error, calls = run_tpu_vm(run_script)
    assert code == 0, error
    create = find_call(calls, "gcloud", "create")
    chips = int(
        next(word for word in create["words"] if word.startswith("--accelerator-type=v5litepod-")).rpartition(
            "-"
        )[2]
    )
    docker = find_call(calls, "docker", "train")
    params = parse_tumor(docker["words"][docker["words"].index("train") :])
    assert params["strategy"].value == "tpu"
    assert load(params).data.batch_size == IMAGES_A_REPLICA * chips
    assert str(params["data_dir"]) == "gs://a-bucket/data"
    assert calls[-1] == find_call(calls, "gcloud", "delete")
    assert calls[-1]["words"][:6] == [
        "compute",
        "tpus",
        "tpu-vm",
        "delete",
        create["words"][4],
        "--project=a-project",
    ]
    image = docker["words"][docker["words"].index("train") - 1].removeprefix(
        "europe-west4-docker.pkg.dev/a-project/"
    )
    assert (
        f'--build-arg TENSORFLOW=tensorflow-tpu==2.20.0 -t "$REGION-docker.pkg.dev/$PROJECT/{image}"'
        in DOCKERFILE
    )
    python = re.search(r"^FROM python:(\d+\.\d+)\.", DOCKERFILE, re.MULTILINE)
    assert python is not None
    assert any(f"/python{python[1]}/site-packages/libtpu/libtpu.so" in word for word in docker["words"])


def test_tpu_vm_is_deleted_after_a_failure_too(run_script):
    code, _, calls = run_tpu_vm(run_script, status=3)
    assert code == 3
    assert calls[-1] == find_call(calls, "gcloud", "delete")


def test_key_reaches_the_container_and_no_command_line(run_script):
    _, _, calls = run_tpu_vm(run_script)
    assert find_call(calls, "docker", "train")["key"] == "a-secret"
    assert not [call for call in calls if "a-secret" in " ".join(call["words"])]


def test_tpu_script_without_its_places_stops_at_once(run_script):
    code, error, calls = run_script(
        ["bash", "configs/cloud/tpu_vm.sh"], ["gcloud"], **{**PLACES, "BUCKET": ""}
    )
    assert code != 0
    assert "BUCKET" in error
    assert not calls


# Slurm


def read_slurm_options() -> dict[str, str]:
    lines = re.findall(r"^#SBATCH --(\S+)$", (CLOUD / "slurm.sh").read_text(), re.MULTILINE)
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_slurm_job_agrees_with_its_nodes(run_script):
    options = read_slurm_options()
    code, error, calls = run_slurm(run_script)
    assert code == 0, error
    words = find_call(calls, "srun")["words"]
    params = parse_tumor(words[words.index("train") :])
    assert words[words.index("train") - 1].endswith("/tumor")
    assert params["strategy"].value == "multiworker"
    tasks = int(options["nodes"]) * int(options["ntasks-per-node"])
    assert tasks == 2
    assert load(params).data.batch_size == IMAGES_A_REPLICA * tasks * int(options["gpus-per-task"])
    assert not [call for call in calls if call["words"][0] == "requeue"]


def test_slurm_job_that_saved_in_time_goes_back_into_the_queue(run_script):
    from trainer.training.loop import Preempted

    options = read_slurm_options()
    assert "requeue" in options
    assert options["signal"].startswith("TERM@")  # to the tasks; B:TERM would go to the script alone
    code, _, calls = run_slurm(run_script, status=Preempted.exit_code)
    assert code == Preempted.exit_code
    assert find_call(calls, "scontrol", "requeue")["words"] == ["requeue", "4711"]


def test_slurm_job_that_fails_stays_out_of_the_queue(run_script):
    code, _, calls = run_slurm(run_script, status=1)
    assert code == 1
    assert not [call for call in calls if call["words"][0] == "requeue"]


def test_slurm_nodes_that_tensorflow_would_number_otherwise_are_refused(run_script):
    code, error, calls = run_slurm(run_script, nodes="gpu9\ngpu10")
    assert code == 1
    assert "alphabetical order, got gpu9 gpu10" in error
    assert not [call for call in calls if call["name"] == "srun"]


# The image


def test_dockerfile_copies_what_exists_and_is_not_ignored():
    sources = [
        source
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert {"pyproject.toml", "trainer", "serving", "tumor_ds"} <= set(sources)
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored[0] == "*"
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert allowed == set(sources)
    for source in sources:
        found = list(ROOT.glob(source))
        assert found, source
        assert not [
            path
            for path in found
            for line in ignored[1:]
            if not line.startswith("!") and fnmatch(path.name, line)
        ]


def test_image_has_what_the_project_needs():
    project = PYPROJECT["project"]
    extra = re.search(r"'\.\[(\w+)\]'", DOCKERFILE)
    assert extra is not None
    assert extra[1] in project["optional-dependencies"]
    assert re.search(r'^ENTRYPOINT \["tumor"\]$', DOCKERFILE, re.MULTILINE)
    assert "tumor" in project["scripts"]
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["tumor"]
    python = re.search(r"^FROM python:(\d+\.\d+\.\d+)-", DOCKERFILE, re.MULTILINE)
    assert python is not None
    assert python[1] in SpecifierSet(project["requires-python"])


def test_image_has_the_projects_tensorflow_or_the_newest_for_tpus():
    needed = next(
        Requirement(line)
        for line in PYPROJECT["project"]["optional-dependencies"]["train"]
        if Requirement(line).name == "tensorflow"
    )
    default = re.search(r"^ARG TENSORFLOW=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert default is not None
    gpu = Requirement(default[1])
    assert (gpu.name, gpu.extras) == ("tensorflow", {"and-cuda"})
    assert next(iter(gpu.specifier)).version in needed.specifier
    tpu = re.search(r"--build-arg TENSORFLOW=(\S+)", DOCKERFILE)
    assert tpu is not None
    # When it meets the project's requirement, the overrides in the Dockerfile have had their day.
    assert next(iter(Requirement(tpu[1]).specifier)).version not in needed.specifier


def test_overrides_are_for_tpus_alone(tmp_path):
    """The shell of the Dockerfile, up to where it installs."""
    shell = re.search(r"^RUN (case .+? esac > overrides\.txt)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert shell is not None
    for wanted, expected in (
        ("tensorflow[and-cuda]==2.21.0", []),
        ("tensorflow-tpu==2.20.0", ["tensorflow", "tensorboard", "libtpu"]),
    ):
        subprocess.run(
            ["sh", "-c", shell[1].replace("\\\n", "")],
            env={"TENSORFLOW": wanted, "PATH": os.environ["PATH"]},
            cwd=tmp_path,
            check=True,
        )
        overrides = [Requirement(line) for line in (tmp_path / "overrides.txt").read_text().splitlines()]
        assert [override.name for override in overrides] == expected
        assert all(override.marker is None or not override.marker.evaluate() for override in overrides)


# The sweep


def fill_command(values: dict[str, Any]) -> list[str]:
    """The command of a trial, filled in as `wandb agent` does."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    template = create_sweep_command(list(yaml.safe_load(SWEEP.read_text())["command"]))
    given = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    parts = [
        given[part[2:-1]] if part.startswith("${") and part.endswith("}") else [part] for part in template
    ]
    return [word for part in parts for word in part]


@pytest.mark.parametrize("end", ["min", "max"])
def test_trial_sets_every_parameter_in_a_run_folder_of_its_own(run_script, end):
    values = {
        name: parameter[end] for name, parameter in yaml.safe_load(SWEEP.read_text())["parameters"].items()
    }
    assert len(values) > 5
    identity = {"WANDB_SWEEP_ID": "a-sweep", "WANDB_RUN_ID": "a-run"}
    code, error, calls = run_script(fill_command(values), ["tumor"], **identity)
    assert code == 0, error
    params = parse_tumor(find_call(calls, "tumor")["words"])
    config = load(params)
    for name, value in values.items():
        section, key = name.split(".")
        assert getattr(getattr(config, section), key) == value, name
    assert params["run_dir"] == "runs/sweeps/a-sweep/a-run"


def test_no_trial_sees_the_test_split(run_script):
    """The artefact's card and metrics are of the test split."""
    _, _, calls = run_script(
        fill_command({"model.dropout": 0.1}), ["tumor"], WANDB_SWEEP_ID="a-sweep", WANDB_RUN_ID="a-run"
    )
    assert parse_tumor(find_call(calls, "tumor")["words"])["artefact"] is False


def test_sweep_is_judged_by_what_an_epoch_logs(real_history_row):
    from trainer.tracking.wandb_run import log_validation
    from trainer.training.learner import Scores

    recorder = mock.Mock()
    log_validation(recorder, real_history_row, Scores(1.0, 0.5, np.eye(2, dtype=np.int64)), ["a", "b"], 1)
    metric = yaml.safe_load(SWEEP.read_text())["metric"]
    assert metric["name"] in {name for call in recorder.log.call_args_list for name in call.args[0]}
    assert metric == {"name": "epoch/val_loss", "goal": "minimize"}


@pytest.fixture
def real_history_row() -> dict[str, float]:
    """First epoch of the published run."""
    names, values, *_ = (ROOT / "configs" / "results" / "official" / "history.csv").read_text().splitlines()
    return dict(zip(names.split(","), map(float, values.split(",")), strict=True))


def test_sweep_stops_trials_before_they_end():
    sweep = yaml.safe_load(SWEEP.read_text())
    words = fill_command({})
    config = load_config(ROOT / next(word for word in " ".join(words).split() if word.endswith(".toml")))
    stopping = sweep["early_terminate"]
    assert 1 <= stopping["min_iter"] < config.optimization.epochs
    assert sweep["project"] == config.tracking.wandb_project
