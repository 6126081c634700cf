"""Where training runs: one device, all GPUs of a machine, several machines, or a TPU.

Goes in: the name of a strategy. Comes out: a `tf.distribute.Strategy`, or an error that says which device is
missing. A multi-worker strategy must be made before any other TensorFlow operation runs.
"""

import json
import os
from typing import Any

import tensorflow as tf

from serving.files.errors import UserError

# For the workers of a Slurm job; below those that Linux hands out by itself.
SLURM_PORTS = range(12_000, 32_000)


class StrategyError(UserError):
    """A strategy whose devices or settings are missing; the message says which and what to do.

    Example:
        >>> build_strategy("mirrored")
        Traceback (most recent call last):
        trainer.training.strategies.StrategyError: mirrored needs at least two GPUs in this machine, ...
    """


def build_strategy(name: str, tpu: str = "") -> tf.distribute.Strategy:
    """Make a strategy.

    Args:
        name: `auto` takes several workers where `TF_CONFIG` names some, else all GPUs, else one device;
            `one`; `mirrored`: all GPUs of this machine, or its logical CPU devices where it has no GPU;
            `multiworker`: the workers in `TF_CONFIG`, as Vertex AI and GKE set it, or those of a Slurm job
            step; `tpu`.
        tpu: name or address of the TPU for `tpu`; empty: the one this virtual machine is attached to.

    Raises:
        StrategyError: its devices or settings are missing.
    """
    if name == "auto":
        several, gpus = _count_workers() > 1, len(tf.config.list_physical_devices("GPU"))
        name = "multiworker" if several else "mirrored" if gpus > 1 else "one"
    if name == "one":
        device = "/GPU:0" if tf.config.list_physical_devices("GPU") else "/CPU:0"
        return tf.distribute.OneDeviceStrategy(device)
    if name == "tpu":
        return _build_tpu(tpu)
    return _build_mirrored() if name == "mirrored" else _build_multiworker()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes files; every other worker only computes."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (resolver.task_id == 0 and not has_chief)


def resolve_precision(precision: str, strategy: tf.distribute.Strategy) -> str:
    """Pick the dtype policy for `auto`.

    Returns:
        bfloat16 on TPUs and on GPUs since Ampere, float16 on Volta and Turing, else float32.
    """
    if precision != "auto":
        return precision
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "mixed_bfloat16"
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    weakest = min((detail.get("compute_capability", (0, 0)) for detail in details), default=(0, 0))
    return "mixed_bfloat16" if weakest >= (8, 0) else "mixed_float16" if weakest >= (7, 0) else "float32"


def _build_mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise StrategyError(
            "mirrored needs at least two GPUs in this machine, found"
            f" {len(tf.config.list_physical_devices('GPU'))}. Use --strategy one."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _build_multiworker() -> tf.distribute.Strategy:
    if "TF_CONFIG" in os.environ:
        if _count_workers() < 2:
            raise StrategyError(
                f"multiworker needs two workers or more in TF_CONFIG, got {os.environ['TF_CONFIG']}. Use"
                " --strategy one."
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolve_slurm())
    raise StrategyError(
        'multiworker needs TF_CONFIG, such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task":'
        ' {"type": "worker", "index": 0}}, on every worker, or a Slurm job step (srun). Use --strategy one or'
        " mirrored on a single machine."
    )


def resolve_slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Find the workers of a Slurm job step, one a task.

    TensorFlow's resolver counts GPUs with nvidia-smi and numbers them anew, but Slurm has given each task its
    own already; so it is told of one a task and sets nothing. Its port, 8888, is also that of notebooks: the
    job's number picks another.
    """
    tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
    port = SLURM_PORTS[int(os.environ.get("SLURM_JOB_ID", "0")) % len(SLURM_PORTS)]
    slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=port, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = slurm.cluster_spec()
    task_type, task_id = slurm.get_task_info()
    gpus = {"GPU": len(tf.config.list_physical_devices("GPU"))}
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type=task_type, task_id=task_id, num_accelerators=gpus, rpc_layer="grpc"
    )


def _build_tpu(tpu: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu or "local")
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise StrategyError(
            f"No TPU found as {tpu or 'local'}: {str(error).splitlines()[0]} Run on a TPU VM, or name one"
            " with --tpu."
        ) from error


def _count_workers() -> int:
    """Training workers named in `TF_CONFIG`; 0 where it is not set."""
    try:
        cluster: dict[str, Any] = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {})
    except json.JSONDecodeError as error:
        raise StrategyError(f"TF_CONFIG is not valid JSON: {error}") from error
    return len(cluster.get("chief", [])) + len(cluster.get("worker", []))
