"""Partial labels and outlines on two replicas: they learn as one, whoever has which images."""

import os
import subprocess
import sys

import numpy as np

from tests.trainer.models.test_decoder import RESNET_V2
from tests.trainer.models.test_keras_cv_presets import save_preset
from tests.trainer.training.processes import ROOT, TIMEOUT_SECONDS
from tests.trainer.training.test_loop_on_devices import TWO_CPUS

# Outlines and partial labels. What is known lies unevenly: of the first half of the batch, which is the first
# replica's, three kinds and no outline; of the second none and two.
LEARN_PARTLY_KNOWN = """
import sys
import keras, numpy as np
from trainer.config import build_config
from trainer.training.learner import Learner
from trainer.training.strategies import build_strategy
generator = np.random.default_rng(0)
masks = np.zeros((8, 64, 64, 1), np.float32)
masks[6, 16:32, 16:40] = 1
targets = np.ones((8, 4), np.float32)
targets[:3] = np.eye(4)[:3]
images = generator.uniform(0, 255, (8, 64, 64, 1)).astype(np.float32)
weights, map_weights = (np.array(known, np.float32) for known in ([1] * 3 + [0] * 5, [0] * 6 + [1] * 2))
parts = images, targets, weights, masks, map_weights
model = {"architecture": f"keras_cv:{sys.argv[1]}", "decoder_channels": 8, "dropout": 0.0}
config = build_config({"data": {"image_size": 64, "progressive_scales": [], "batch_size": 8}, "model": model})
for name in ("one", "mirrored"):
    keras.utils.set_random_seed(0)
    strategy = build_strategy(name)
    learner = Learner(config, strategy, 4)
    each = 8 // strategy.num_replicas_in_sync
    dataset = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensor_slices(parts).batch(each, drop_remainder=True).repeat()
    )
    batches = iter(dataset)
    for _ in range(3):
        print(name, *(float(figure) for figure in learner.train_step(next(batches), 1e-4, 0.9)))
    scores = learner.validate([next(batches)])
    print(name, scores.loss, scores.accuracy, scores.map_loss)
"""


def test_what_is_known_may_lie_unevenly_over_replicas(tmp_path):
    save_preset(tmp_path, "ResNetV2Backbone", RESNET_V2)
    command = [sys.executable, "-c", TWO_CPUS + LEARN_PARTLY_KNOWN, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    told = {name: [[*map(float, row[1:])] for row in lines if row[0] == name] for name in ("one", "mirrored")}
    assert len(told["one"]) == 4
    np.testing.assert_allclose(told["mirrored"], told["one"], rtol=2e-3)
    assert min(row[2] for row in told["one"]) > 0  # the map, too
