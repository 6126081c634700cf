import numpy as np
import pytest

from serving import from_pretrained
from trainer.config import DataConfig
from trainer.data.input_pipeline import load_builder, load_learning_split
from trainer.tracking import samples
from trainer.tracking.samples import choose_samples, load_samples


def test_the_hardest_and_the_typical_of_each_class_are_chosen():
    sureness = np.array(
        [0.9, 0.1, 0.7, 0.45, 0.8, 0.95, 0.2]
    )  # for the true label, which is 0 but for the last
    probs = np.stack([sureness, 1 - sureness], axis=1)
    true = np.array([0, 0, 0, 0, 0, 0, 1])
    # Of class 0 rows 1 and 3 are wrong; of the right ones .7, .8, .9, .95 the two in the middle are .8 and
    # .9.
    assert choose_samples(probs, true) == [
        (1, "hardest"),
        (3, "hardest"),
        (4, "typical"),
        (0, "typical"),
        (6, "hardest"),
    ]


def test_no_picture_is_chosen_twice_and_classes_may_be_small():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 40)
    true = rng.integers(0, 3, 40)  # no picture of class 3
    chosen = choose_samples(probs, true)
    rows = [row for row, _ in chosen]
    assert len(rows) == len(set(rows)) <= 12
    assert all(probs[row].argmax() == true[row] for row, kind in chosen if kind == "typical")
    assert choose_samples(np.zeros((0, 4)), np.zeros(0, int)) == []


def test_four_classes_give_sixteen():
    probs = np.full((80, 4), 0.1)
    probs[np.arange(80), np.arange(80) % 4] = 0.7
    assert len(choose_samples(probs, np.arange(80) % 4)) == 16


def test_samples_show_what_the_model_sees_and_answers(dummy_dataset_dir, monkeypatch):
    """The dummy validation split holds one picture a class; its training split, nine a class, stands in for a real one."""
    classifier, builder, asked = from_pretrained(), load_builder("tumor_ds/official", dummy_dataset_dir), []

    def load(builder, split, data, size):
        asked.append(split)
        return load_learning_split(builder, "train", data, size)

    monkeypatch.setattr(samples, "load_learning_split", load)
    found = load_samples(classifier, builder, DataConfig())
    assert asked == ["validation"]
    assert [sample.true for sample in found if sample.kind == "hardest"] == [
        label for label in classifier.labels for _ in range(2)
    ]
    size = classifier.config.image_size
    for sample in found:
        assert sample.picture.shape == (size, size)
        assert sample.overlay.shape == (448, 448, 3)
        assert sample.picture.dtype == sample.overlay.dtype == np.uint8
        assert np.ptp(sample.overlay.astype(int), axis=-1).max() > 30  # coloured where the evidence lies
        assert sample.kind == "hardest" or sample.true == sample.predicted
        probabilities = classifier.predict(sample.picture).probabilities
        assert sample.predicted == max(probabilities, key=probabilities.__getitem__)
        assert sample.probability == pytest.approx(probabilities[sample.predicted], abs=1e-6)
