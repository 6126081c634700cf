"""Corruptions do what their strength says, alike in every process; scores count every picture once."""

import hashlib
import io
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from serving.model.guard import Verdict
from serving.preprocess import fit_to_square
from trainer.data.input_pipeline import Example, RecordFacts
from trainer.evaluation import corruptions
from trainer.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from trainer.evaluation.robustness import choose_filenames, evaluate_corruptions
from trainer.reporting.curves import plot_corruptions
from trainer.reporting.evaluation_files import save_corruptions
from trainer.reporting.terminal import print_corruptions

LABELS = ("glioma", "meningioma", "notumor", "pituitary")


class Draws:
    """Stands in for numpy's generator: the sign and the place asked for."""

    def __init__(self, sign=1, place=(0.5, 0.5)):
        self.sign, self.place = sign, place

    def choice(self, _):
        return self.sign

    def uniform(self, size):
        return np.array(self.place)


UP, DOWN = Draws(1), Draws(-1)


def make_slice(height=200, width=180) -> np.ndarray:
    """A head with a bright rim, texture and a lesion, over black: uint8 (height, width)."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    radius = np.hypot(rows, columns)
    texture = 15 * np.sin(20 * rows) * np.cos(17 * columns) + np.random.default_rng(0).normal(
        0, 4, rows.shape
    )
    grey = np.where(radius < 0.85, 90 + texture, 0) + np.where(abs(radius - 0.8) < 0.04, 110, 0)
    return (grey + np.where(np.hypot(rows - 0.2, columns + 0.3) < 0.15, 80, 0)).clip(0, 255).astype(np.uint8)


def test_ten_corruptions_at_the_values_asked_for():
    assert len(CORRUPTIONS) == 10
    assert 30 in CORRUPTIONS["jpeg"].strengths
    assert 96 in CORRUPTIONS["downscale"].strengths
    assert 15 in CORRUPTIONS["rotation"].strengths
    assert 10 in CORRUPTIONS["crop"].strengths


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_is_further_from_the_clean_picture(name):
    for key in ("a", "b", "c", "d"):
        grey = make_slice(200, 150)  # 128, 96 and 64 pixels keep its proportions to the pixel
        before = grey.copy()
        seen = fit_to_square(grey, 192).astype(float)
        worse = [corrupt(grey, name, severity, key) for severity in SEVERITIES]
        distances = [np.abs(fit_to_square(picture, 192) - seen).mean() for picture in worse]
        assert 0 < distances[0] < distances[1] < distances[2]
        assert all(picture.dtype == np.uint8 for picture in worse)
        np.testing.assert_array_equal(grey, before)


@pytest.mark.parametrize("shape", [(200, 180), (37, 300), (1, 1), (5, 700)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_shape_goes_in_and_stays_but_for_crop_and_downscale(name, shape):
    worse = corrupt(make_slice(*shape), name, 3, "a")
    if name == "crop":
        assert worse.shape == tuple(max(1, round(0.8 * side)) for side in shape)
    elif name == "downscale":
        assert max(worse.shape) == min(64, max(shape))
    else:
        assert worse.shape == shape


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("brightness", 0),
        ("contrast", 1),
        ("gamma", 1),
        ("noise", 0),
        ("blur", 0),
        ("downscale", 200),
        ("rotation", 0),
        ("crop", 0),
        ("bias_field", 0),
    ],
)
def test_no_strength_leaves_the_picture_alone(name, strength):
    grey = make_slice()
    np.testing.assert_array_equal(CORRUPTIONS[name].apply(grey, strength, np.random.default_rng(0)), grey)


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "rotation"])
def test_both_signs_occur(name):
    grey, means = make_slice(), []
    for number in range(20):
        worse = corrupt(grey, name, 2, f"{number}.jpg").astype(float)
        # A turn is told by where it takes the lesion, at first left of the middle.
        means.append(
            round({"rotation": worse[:100].mean(), "contrast": worse.std()}.get(name, worse.mean()), 2)
        )
    assert len(set(means)) == 2


def test_tones_by_hand():
    grey = np.array([[0, 51, 102, 153, 204, 255]], np.uint8)
    brightness, contrast, gamma = (CORRUPTIONS[name].apply for name in ("brightness", "contrast", "gamma"))
    assert brightness(grey, 20, UP).tolist() == [[51, 102, 153, 204, 255, 255]]
    assert brightness(grey, 20, DOWN).tolist() == [[0, 0, 51, 102, 153, 204]]
    # The mean is 127.5: 127.5 +- 2 (76.5, 25.5), then half of (127.5, 76.5, 25.5) on either side of it.
    assert contrast(grey, 2, UP).tolist() == [[0, 0, 76, 178, 255, 255]]
    assert contrast(grey, 2, DOWN).tolist() == [[64, 89, 115, 140, 166, 191]]
    # 255 times (.2, .4, .6, .8) squared: 10.2, 40.8, 91.8, 163.2; their roots .447, .632, .775, .894: 114.04,
    # 161.28, 197.52, 228.08.
    assert gamma(grey, 2, UP).tolist() == [[0, 10, 41, 92, 163, 255]]
    assert gamma(grey, 2, DOWN).tolist() == [[0, 114, 161, 198, 228, 255]]


def test_crop_by_hand():
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    cropped = CORRUPTIONS["crop"].apply
    np.testing.assert_array_equal(cropped(grey, 20, Draws(place=(0.0, 0.0))), grey[:8, :16])
    np.testing.assert_array_equal(cropped(grey, 20, Draws(place=(0.5, 0.5))), grey[1:9, 2:18])
    np.testing.assert_array_equal(cropped(grey, 20, Draws(place=(0.99, 0.99))), grey[2:, 4:])


def test_quarter_turns_are_exact():
    grey = make_slice(64, 64)
    np.testing.assert_array_equal(CORRUPTIONS["rotation"].apply(grey, 90, UP), np.rot90(grey))
    np.testing.assert_array_equal(CORRUPTIONS["rotation"].apply(grey, 90, DOWN), np.rot90(grey, -1))


def test_rotation_turns_by_its_degrees():
    grey = np.zeros((101, 101), np.uint8)
    grey[48:53, 88:93] = 255  # 40 to the right of the centre
    turned = CORRUPTIONS["rotation"].apply(grey, 15, UP)
    rows, columns = np.nonzero(turned > 128)
    angle = math.degrees(math.atan2(50 - rows.mean(), columns.mean() - 50))
    assert angle == pytest.approx(15, abs=0.7)


@pytest.mark.parametrize("quality", [60, 30, 10])
def test_jpeg_is_encoded_at_its_quality(quality, monkeypatch):
    stored = []
    opened = Image.open

    def keep(file, *arguments):
        stored.append(file.getvalue())
        return opened(file, *arguments)

    monkeypatch.setattr(corruptions.Image, "open", keep)
    grey = make_slice()
    worse = CORRUPTIONS["jpeg"].apply(grey, quality, UP)
    with opened(io.BytesIO(stored[0])) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (180, 200))
        percent = 5000 // quality if quality < 50 else 200 - 2 * quality
        assert picture.quantization[0][0] == (16 * percent + 50) // 100  # T.81, table K.1 begins with 16
        np.testing.assert_array_equal(worse, np.asarray(picture))


def test_downscale_keeps_proportions_and_enlarges_nothing():
    assert CORRUPTIONS["downscale"].apply(make_slice(200, 100), 96, UP).shape == (96, 48)
    small = make_slice(60, 50)
    assert CORRUPTIONS["downscale"].apply(small, 64, UP) is small


def test_blur_is_a_share_of_the_native_size():
    for side in (101, 401):
        line = np.zeros((side, side), np.uint8)
        line[:, side // 2 - 2 : side // 2 + 3] = 255
        profile = CORRUPTIONS["blur"].apply(line, 2, UP)[side // 2].astype(float)
        places = np.arange(side) - side // 2
        # Variances add up: that of five pixels is 2.
        assert math.sqrt((profile * places**2).sum() / profile.sum() - 2) == pytest.approx(
            0.02 * side, rel=0.05
        )


@pytest.mark.parametrize("side", [200, 256, 512, 601])
def test_noise_has_its_standard_deviation_at_every_size(side):
    grey = np.full((side, side), 120, np.uint8)
    noisy = CORRUPTIONS["noise"].apply(grey, 5, np.random.default_rng(0)).astype(float)
    # Far above the noise a Rician is nearly Gaussian with mean sqrt(A^2 + sigma^2); rounding adds a variance
    # of 1/12.
    assert noisy.std() == pytest.approx(math.hypot(6, math.sqrt(1 / 12)), rel=0.03)
    assert noisy.mean() == pytest.approx(math.hypot(120, 6), abs=0.2)


def test_noise_without_signal_is_rayleigh():
    grey = np.zeros((300, 300), np.uint8)
    grey[:30] = 200
    noise = CORRUPTIONS["noise"].apply(grey, 10, np.random.default_rng(0))[60:].astype(float)
    assert noise.mean() == pytest.approx(20 * math.sqrt(math.pi / 2), rel=0.03)
    assert noise.std() == pytest.approx(20 * math.sqrt(2 - math.pi / 2), rel=0.05)


def test_large_pictures_keep_their_noise_when_made_small():
    seen = []
    for side in (256, 512, 1024):
        noisy = CORRUPTIONS["noise"].apply(np.full((side, side), 120, np.uint8), 5, np.random.default_rng(0))
        seen.append(fit_to_square(noisy, 192).std())
    assert seen[1] == pytest.approx(seen[0], rel=0.1)
    assert seen[2] == pytest.approx(seen[0], rel=0.1)


def test_bias_field_spans_its_range_smoothly_and_spares_black():
    flat = np.full((120, 100), 100, np.uint8)
    shaded = CORRUPTIONS["bias_field"].apply(flat, 40, np.random.default_rng(0)).astype(float)
    assert (shaded.min(), shaded.max()) == (80, 120)
    assert max(np.abs(np.diff(shaded, axis=axis)).max() for axis in (0, 1)) <= 5
    disc = np.where(np.hypot(*np.mgrid[-1:1:120j, -1:1:100j]) < 0.6, 100, 0).astype(np.uint8)
    inside = CORRUPTIONS["bias_field"].apply(disc, 40, np.random.default_rng(0))[disc > 0]
    assert (inside.min(), inside.max()) == (80, 120)
    head = make_slice()
    worse = CORRUPTIONS["bias_field"].apply(head, 80, np.random.default_rng(0))
    assert not worse[head == 0].any()
    assert (worse <= np.rint(1.4 * head)).all()


def test_the_same_in_another_process():
    code = (
        "import hashlib, numpy as np\nfrom trainer.evaluation.corruptions import CORRUPTIONS, corrupt\ngrey ="
        " np.random.default_rng(1).integers(0, 256, (40, 30), dtype=np.uint8)\nfor name in CORRUPTIONS:"
        " print(hashlib.sha256(corrupt(grey, name, 2, 'Testing/a.jpg').tobytes()).hexdigest())\n"
    )
    grey = np.random.default_rng(1).integers(0, 256, (40, 30), dtype=np.uint8)
    here = [
        hashlib.sha256(corrupt(grey, name, 2, "Testing/a.jpg").tobytes()).hexdigest() for name in CORRUPTIONS
    ]
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert here == there
    assert len({corrupt(grey, "noise", 2, f"{number}.jpg").tobytes() for number in range(5)}) == 5


def test_module_loads_without_tensorflow():
    code = "import sys, trainer.evaluation.robustness; print('tensorflow' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_wrong_pictures_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Expected a grey picture uint8 \(h, w\)"):
        corrupt(wrong, "blur", 1, "a")


@pytest.mark.parametrize(("name", "severity"), [("fog", 1), ("blur", 0), ("blur", 4)])
def test_unknown_corruptions_are_refused(name, severity):
    with pytest.raises(ValueError, match="Expected one of brightness"):
        corrupt(make_slice(), name, severity, "a")


def test_choice_is_balanced_and_does_not_depend_on_the_order():
    names = [f"{label}/{number}.jpg" for label in "abc" for number in range(10)]
    true = [label for label in range(3) for _ in range(10)]
    chosen = choose_filenames(names, true, 4)
    assert [sum(name.startswith(label) for name in chosen) for label in "abc"] == [4, 4, 4]
    assert chosen == choose_filenames(names[::-1], true[::-1], 4)
    assert choose_filenames(names, true, 3) < chosen
    assert choose_filenames(names, true, 100) == set(names)


def make_answer(probabilities: dict[str, float], in_domain: bool) -> SimpleNamespace:
    """What the figures read of a prediction."""
    return SimpleNamespace(
        logits=np.zeros(len(probabilities)),
        unguarded_probabilities=probabilities,
        in_domain=in_domain,
        verdict=Verdict.like_training if in_domain else Verdict.not_brain_mri,
        tumor_peak=None,
        healthy_label=None,
    )


class BrightnessClassifier:
    """Tells labels by the mean of a picture, 50 levels each; refuses what is nearly white."""

    labels = LABELS
    config = SimpleNamespace(image_size=32, image_fit="pad", healthy=LABELS.index("notumor"))

    def __init__(self):
        self.seen = []

    def score(self, images):
        assert images.dtype == np.uint8
        assert images.shape[1:] == (32, 32, 1)
        self.seen.append(len(images))
        means = images.mean(axis=(1, 2, 3))
        answers = [
            {label: 0.85 if index == min(3, int(mean // 50)) else 0.05 for index, label in enumerate(LABELS)}
            for mean in means
        ]
        return [make_answer(answer, mean < 240) for answer, mean in zip(answers, means, strict=True)]


def make_examples(levels, true, twins=()):
    """Flat pictures of 40 pixels; those whose number is among the twins have one in Training."""
    return [
        Example(
            RecordFacts(f"{number}.jpg", label, number // 2, number in twins),
            np.full((40, 40, 1), level, np.uint8),
            np.zeros((40, 40, 1), np.uint8),
        )
        for number, (level, label) in enumerate(zip(levels, true, strict=True))
    ]


EXAMPLES = make_examples([20, 75, 75, 125, 120, 175, 125], [0, 0, 1, 2, 2, 3, 3])


@pytest.fixture(scope="module")
def scored():
    """Seven pictures; when clean, one tumour is called another, one is called none, the others are right."""
    classifier = BrightnessClassifier()
    return classifier, evaluate_corruptions(classifier, iter(EXAMPLES))


def test_every_picture_is_scored_once_in_31_versions(scored):
    classifier, found = scored
    assert list(found) == ["all"]
    result = found["all"]
    assert classifier.seen == [31] * 7
    assert result["count"] == result["clean"]["count"] == 7
    assert list(result["corruptions"]) == list(CORRUPTIONS)
    for name, rows in result["corruptions"].items():
        assert [row["severity"] for row in rows] == [1, 2, 3]
        assert tuple(row["value"] for row in rows) == CORRUPTIONS[name].strengths
        assert all(row["count"] == 7 for row in rows)
        for row in rows:
            means = [
                fit_to_square(
                    corrupt(example.image[..., 0], name, row["severity"], example.facts.filename), 32
                ).mean()
                for example in EXAMPLES
            ]
            answers = [min(3, int(mean // 50)) for mean in means]
            assert row["accuracy"] == pytest.approx(
                np.mean(
                    [answer == example.facts.label for answer, example in zip(answers, EXAMPLES, strict=True)]
                )
            )
            assert row["refused"] == np.mean([mean >= 240 for mean in means])


def test_figures_by_hand(scored):
    result = scored[1]["all"]
    clean = result["clean"]
    assert clean["accuracy"] == pytest.approx(5 / 7)
    # F1: glioma 2 * 1 / (1 + 2), meningioma 2 * 1 / (2 + 1), notumor 2 * 2 / (3 + 2), pituitary 2 * 1 / (1 +
    # 2).
    assert clean["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 4 / 5 + 2 / 3) / 4)
    assert clean["tumour_sensitivity"] == pytest.approx(4 / 5)
    assert clean["refused"] == 0
    low, high = clean["accuracy_interval"]
    assert low <= 5 / 7 <= high
    # All confidences are .85; two of seven answers are wrong, and 15 bins hold one answer each.
    assert clean["ece"] == pytest.approx((5 * 0.15 + 2 * 0.85) / 7)
    # Flat pictures have no structure to lose: JPEG, blur, downscaling, cropping and contrast leave them as
    # they are.
    for name in ("contrast", "blur", "jpeg", "downscale", "crop"):
        assert [row["accuracy"] for row in result["corruptions"][name]] == [clean["accuracy"]] * 3


def test_summary_is_the_mean_over_corruptions(scored):
    result = scored[1]["all"]
    by_corruption = [np.mean([row["accuracy"] for row in rows]) for rows in result["corruptions"].values()]
    assert result["mean_corruption_accuracy"] == pytest.approx(np.mean(by_corruption))
    assert result["relative_drop"] == pytest.approx(1 - np.mean(by_corruption) / (5 / 7))
    assert result["relative_drop"] > 0
    low, high = result["relative_drop_interval"]
    assert low <= result["relative_drop"] <= high
    assert json.loads(json.dumps(result)) == result


def test_labels_without_a_healthy_one_have_no_tumour_sensitivity():
    classifier = BrightnessClassifier()
    classifier.config = SimpleNamespace(**{**vars(classifier.config), "healthy": None})
    classifier.score = lambda images: [make_answer({"a": 0.9, "b": 0.1}, True) for _ in images]
    result = evaluate_corruptions(classifier, make_examples([20], [1]))
    assert result["all"]["clean"]["tumour_sensitivity"] is None
    assert result["all"]["relative_drop"] is None
    console = Console(file=io.StringIO(), width=140)
    print_corruptions(result, console)
    assert "so - of it is lost" in console.file.getvalue()


def test_classes_without_pictures_take_no_part_in_macro_f1():
    result = evaluate_corruptions(BrightnessClassifier(), make_examples([20, 75], [0, 0]))
    assert result["all"]["clean"]["macro_f1"] == pytest.approx(2 / 3)


def test_unseen_pictures_stand_beside_all():
    twins = (0, 2, 5)
    examples = make_examples([20, 75, 75, 125, 120, 175, 125], [0, 0, 1, 2, 2, 3, 3], twins)
    found = evaluate_corruptions(BrightnessClassifier(), examples)
    alone = evaluate_corruptions(
        BrightnessClassifier(), [one for number, one in enumerate(examples) if number not in twins]
    )
    assert found["all"] == evaluate_corruptions(BrightnessClassifier(), EXAMPLES)["all"]
    assert found["unseen"] == alone["all"]
    assert list(evaluate_corruptions(BrightnessClassifier(), make_examples([20, 75], [0, 1], (0, 1)))) == [
        "all"
    ]
    console = Console(file=io.StringIO(), width=140)
    print_corruptions(found, console)
    text = " ".join(console.file.getvalue().split())
    assert "all test images, 7 each" in text
    assert "test images without a twin in Training, 4 each" in text


def test_no_pictures():
    with pytest.raises(ValueError, match="at least one picture"):
        evaluate_corruptions(BrightnessClassifier(), [])


def test_table_says_what_was_counted(scored):
    _, result = scored
    console = Console(file=io.StringIO(), width=140)
    print_corruptions(result, console)
    text = console.file.getvalue()
    assert "7 each" in text
    for name, corruption in CORRUPTIONS.items():
        assert name.replace("_", " ") in text
        assert corruption.quantity in text
    assert f"{result['all']['clean']['accuracy']:.1%}" in text
    assert f"{result['all']['relative_drop']:.1%} of it is lost" in " ".join(text.split())


def test_figure_shows_every_severity(scored, tmp_path, monkeypatch):
    result = scored[1] | {"unseen": evaluate_corruptions(BrightnessClassifier(), EXAMPLES[:3])["all"]}
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda figure, path, **options: (drawn.append(figure), save(figure, path, **options))[1],
    )
    plot_corruptions(result, tmp_path / "figure.png")
    assert len(drawn[0].axes) == 10
    for axes, (name, rows) in zip(drawn[0].axes, result["all"]["corruptions"].items(), strict=True):
        assert axes.get_title() == name.replace("_", " ")
        clean, accuracy = axes.lines[:2]
        assert clean.get_ydata()[0] == pytest.approx(100 * 5 / 7)
        np.testing.assert_allclose(
            accuracy.get_ydata(), [100 * 5 / 7, *(100 * row["accuracy"] for row in rows)]
        )
        unseen = [100 * row["accuracy"] for row in result["unseen"]["corruptions"][name]]
        np.testing.assert_allclose(axes.lines[-1].get_ydata()[1:], unseen)
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.format == "PNG"
        assert picture.width <= 1000


def test_result_and_figure_are_written(scored, tmp_path):
    _, result = scored
    save_corruptions(result, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "corruptions.json").read_text()) == result
    assert (tmp_path / "out" / "figures" / "corruptions.png").read_bytes().startswith(b"\x89PNG")
