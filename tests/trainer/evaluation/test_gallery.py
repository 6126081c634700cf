"""The pictures that a report shows are those it says, with the heat map of the label that was named."""

import numpy as np
import pytest
from PIL import Image

from serving import from_pretrained
from serving.model.explain import overlay_heatmap
from tests.trainer.make_predictions import make_predictions, simulate_predictions
from trainer.config import DataConfig
from trainer.data import input_pipeline
from trainer.data.input_pipeline import load_builder, load_learning_split, load_split
from trainer.evaluation import gallery as galleries
from trainer.evaluation.gallery import (
    SIDE,
    Gallery,
    choose_hard_and_typical,
    choose_mistakes,
    choose_samples,
    list_gallery,
    load_gallery,
    load_validation_samples,
    read_folder,
    read_split,
)
from trainer.reporting.contact_sheet import save_contact_sheets


def draw(names) -> dict[str, np.ndarray]:
    return {
        name: np.random.default_rng(len(name) + int(name[8:13])).integers(0, 256, (50, 40), np.uint8)
        for name in names
    }


def test_the_surest_mistakes_come_first():
    predictions = make_predictions(
        [0, 0, 1, 2], [[0.4, 0.6, 0, 0], [0.9, 0.1, 0, 0], [0.95, 0.05, 0, 0], [0.2, 0, 0, 0.8]]
    )
    assert choose_mistakes(predictions).tolist() == [2, 3, 0]


def test_no_more_mistakes_than_fit_a_page():
    predictions = simulate_predictions(count=400, skill=0.5)
    chosen = choose_mistakes(predictions)
    wrong = predictions.probs.max(axis=1)[predictions.predicted != predictions.true]
    assert len(chosen) == galleries.MAX_MISTAKES < len(wrong)
    np.testing.assert_array_equal(predictions.probs[chosen].max(axis=1), np.sort(wrong)[::-1][:24])


def test_samples_are_spread_over_the_names_of_each_class():
    predictions = make_predictions([0] * 11 + [3] * 2, np.full((13, 4), 0.25))
    assert choose_samples(predictions).tolist() == [0, 2, 4, 6, 8, 10, 11, 12]


def test_the_hardest_and_the_typical_of_each_class_are_chosen():
    # For the true label, which is 0 but for the last.
    sureness = np.array([0.9, 0.1, 0.7, 0.45, 0.8, 0.95, 0.2])
    true, probs = [0, 0, 0, 0, 0, 0, 1], np.stack([sureness, 1 - sureness], axis=1)
    # Of class 0 rows 1 and 3 are wrong; of the right ones .7, .8, .9, .95 the middle two are .8 and .9.
    assert choose_hard_and_typical(make_predictions(true, probs, labels=("a", "b"))) == [
        (1, "hardest"),
        (3, "hardest"),
        (4, "typical"),
        (0, "typical"),
        (6, "hardest"),
    ]


def test_no_hard_or_typical_picture_is_chosen_twice_and_classes_may_be_small():
    rng = np.random.default_rng(0)
    predictions = make_predictions(rng.integers(0, 3, 40), rng.dirichlet(np.ones(4), 40))  # none of class 3
    chosen = choose_hard_and_typical(predictions)
    rows = [row for row, _ in chosen]
    assert len(rows) == len(set(rows)) <= 12
    typical = [row for row, kind in chosen if kind == "typical"]
    assert (predictions.predicted[typical] == predictions.true[typical]).all()


def test_four_classes_give_sixteen_hard_and_typical():
    probs = np.full((80, 4), 0.1)
    probs[np.arange(80), np.arange(80) % 4] = 0.7
    assert len(choose_hard_and_typical(make_predictions(np.arange(80) % 4, probs))) == 16


def test_validation_samples_are_of_validation_and_show_what_the_model_answers(dummy_dataset_dir, monkeypatch):
    """The dummy validation split has a picture a class; its training split, nine a class, stands in."""
    classifier, builder, asked = from_pretrained(), load_builder("tumor_ds/official", dummy_dataset_dir), []

    def load(builder, split, data, size):
        asked.append(split)
        return load_learning_split(builder, "train", data, size)

    monkeypatch.setattr(input_pipeline, "load_learning_split", load)
    found = load_validation_samples(classifier, builder, DataConfig())
    assert asked == ["validation"]
    hardest = [one.true for one in found if one.kind == "hardest"]
    assert hardest == [label for label in classifier.labels for _ in range(2)]
    split = load_learning_split(builder, "train", DataConfig(), classifier.config.image_size)
    pictures = dict(zip(split.filenames, split.images[..., 0], strict=True))
    for one in found:
        assert (one.picture.shape, one.overlay.shape) == ((SIDE, SIDE), (SIDE, SIDE, 3))
        assert one.picture.dtype == one.overlay.dtype == np.uint8
        assert np.ptp(one.overlay.astype(int), axis=-1).max() > 30  # coloured where the evidence lies
        assert one.kind == "hardest" or one.true == one.predicted
        probabilities = classifier.predict(pictures[one.filename]).unguarded_probabilities
        assert one.predicted == max(probabilities, key=probabilities.__getitem__)
        assert one.probability == pytest.approx(probabilities[one.predicted], abs=1e-6)


def test_a_mistake_shows_the_picture_and_the_heat_map_of_the_label_that_was_named():
    classifier = from_pretrained()
    pictures = draw([f"Testing/{row:05}.jpg" for row in range(4)])
    probs = [
        list(classifier.predict(picture).unguarded_probabilities.values()) for picture in pictures.values()
    ]
    true = (np.argmax(probs, axis=1) + 1) % 4
    predictions = make_predictions(true, probs, has_train_twin=[True, False, True, False])
    predictions.refused[1] = True
    gallery = load_gallery(predictions, classifier, lambda names: {name: pictures[name] for name in names})
    assert len(gallery.mistakes) == 4
    for one in gallery.mistakes:
        row = predictions.filenames.index(one.filename)
        answer = classifier.predict(pictures[one.filename])
        assert one.predicted == max(
            answer.unguarded_probabilities, key=answer.unguarded_probabilities.__getitem__
        )
        assert (one.true, one.refused, one.has_train_twin) == (
            classifier.labels[true[row]],
            row == 1,
            row % 2 == 0,
        )
        assert one.probability == pytest.approx(max(probs[row]))
        expected = Image.fromarray(overlay_heatmap(pictures[one.filename], answer.heatmap)).resize(
            (SIDE, SIDE), Image.Resampling.LANCZOS
        )
        assert (
            np.abs(np.asarray(expected).astype(int) - one.overlay).max() <= 2
        )  # LiteRT rounds another way in another batch
        assert one.picture.shape == (SIDE, SIDE)


def test_contact_sheets_are_written_and_taken_back(tmp_path):
    predictions = simulate_predictions(count=60)
    gallery = load_gallery(predictions, from_pretrained(), draw)
    save_contact_sheets(gallery, "official", tmp_path / "pictures")
    sheets = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in sheets] == ["mistakes_official.png", "samples_official.png"]
    for path in sheets:
        with Image.open(path) as sheet:
            assert sheet.width == 750
    (tmp_path / "pictures" / "mine.png").write_bytes(b"")
    save_contact_sheets(list_gallery(predictions), "official", tmp_path / "pictures")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["mine.png"]
    save_contact_sheets(Gallery([], []), "official", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_pictures_are_read_again_from_where_they_were_scored(dummy_dataset_dir, tmp_path):
    builder = load_builder("tumor_ds/official", dummy_dataset_dir)
    names = load_split(builder, "test", 64).filenames[:3]
    found = read_split(builder, "test", set(names))
    assert set(found) == set(names)
    assert all(picture.dtype == np.uint8 and picture.ndim == 2 for picture in found.values())
    Image.fromarray(found[names[0]]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_folder(tmp_path, ["a.png"])["a.png"], found[names[0]])
