"""Which strategy a name gives, and what is said where its devices are missing."""

import json
import os

import pytest
import tensorflow as tf

from trainer.training.strategies import StrategyError, build_strategy, is_chief, resolve_slurm


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["auto", "one"])
def test_one_device(name):
    strategy = build_strategy(name)
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)


def test_mirrored_without_gpus_says_so():
    with pytest.raises(StrategyError, match="at least two GPUs in this machine, found 0"):
        build_strategy("mirrored")


def test_multiworker_without_a_cluster_shows_what_to_set():
    with pytest.raises(StrategyError, match="multiworker needs TF_CONFIG, such as"):
        build_strategy("multiworker")


def test_multiworker_with_one_worker_is_refused(monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG",
        json.dumps({"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}),
    )
    with pytest.raises(StrategyError, match="two workers or more"):
        build_strategy("multiworker")


def test_broken_tf_config_is_named(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    with pytest.raises(StrategyError, match="TF_CONFIG is not valid JSON"):
        build_strategy("auto")


def test_tpu_without_a_tpu_says_so():
    with pytest.raises(StrategyError, match="No TPU found as local"):
        build_strategy("tpu")


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), True),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("worker", 0), False),
    ],
)
def test_who_is_chief(cluster, task, expected):
    """As Vertex AI names its pools: a chief and workers, or workers alone."""

    class Strategy:
        cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(cluster), task_type=task[0], task_id=task[1]
        )

    assert is_chief(Strategy()) == expected


@pytest.mark.parametrize("task", [0, 1])
def test_slurm_tasks_are_the_workers(monkeypatch, task):
    """Two tasks on two nodes, as srun sets its variables; the GPUs that Slurm gave out stay as they are."""
    variables = {
        "PROCID": task,
        "JOB_ID": 12_345,
        "STEP_NUM_TASKS": 2,
        "STEP_NODELIST": "n[1-2]",
        "STEP_TASKS_PER_NODE": "1(x2)",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    resolver = resolve_slurm()
    assert resolver.cluster_spec().as_dict() == {"worker": ["n1:24345", "n2:24345"]}  # 12,000 + 12,345
    assert (resolver.task_type, resolver.task_id) == ("worker", task)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
