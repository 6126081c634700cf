"""What the model is trained on is what it is served with, from the file on disk to the probability."""

import zipfile

import numpy as np
import pytest

from serving import from_pretrained
from serving.model.calibration import compute_probabilities
from serving.preprocess import preprocess
from trainer.data.input_pipeline import load_builder, load_split

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def served(real_data_dir, real_dataset_dir):
    """(app's tensors, training pipeline's tensors) of 20 real JPEGs, uint8 (20, size, size, 1)."""
    classifier = from_pretrained()
    size, fit = classifier.config.image_size, classifier.config.image_fit
    split = load_split(load_builder("tumor_ds/official", real_dataset_dir), "validation", size, fit)
    names = split.filenames[::29][:20]
    with zipfile.ZipFile(real_data_dir / "brain-tumor-mri-dataset.zip") as archive:
        app = np.stack([preprocess(archive.read(name), size, fit) for name in names])
    assert len(names) == 20
    return app, split.images[::29][:20]


def test_tensors_are_identical(served):
    app, pipeline = served
    np.testing.assert_array_equal(app, pipeline)


def test_keras_and_litert_give_equal_probabilities(served):
    app, pipeline = served
    light, heavy = from_pretrained(), from_pretrained(runtime="keras")
    temperature = light.config.temperature
    litert, keras = (
        compute_probabilities(logits, temperature)
        for logits in (light.run(app).logits, heavy.run(pipeline).logits)
    )
    np.testing.assert_allclose(litert, keras, atol=1e-4)
