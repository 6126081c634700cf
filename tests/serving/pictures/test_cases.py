"""The small inputs of the shared data that were once read wrongly, each with what is right."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from serving import ImageError, from_pretrained
from serving.app.service import AnswerService
from serving.preprocess import decode_grey
from trainer.cli.main import app

# By file: the label, or a part of the reason or of the error.
RIGHT = {
    "four_frames.tif": "holds 4 pictures",
    "glioma_16_black_is_zero.tif": "glioma",
    "glioma_16_white_is_zero.tif": "glioma",
    "glioma_full_range.dcm": "glioma",
    "glioma_jet.dcm": "It is a colour picture",
    "glioma_jet.png": "It is a colour picture",
    "glioma_no_padding.dcm": "glioma",
    "glioma_padding_-2000.dcm": "glioma",
    "grey_12bit.png": "glioma",
    "meningioma_2048_4096.dcm": "meningioma",
    "meningioma_modality_lut.dcm": "meningioma",
    "meningioma_no_lut.dcm": "meningioma",
    "meningioma_no_preamble.dcm": "meningioma",
    "mif1.heic": "is HEIC, which is not read: export it as PNG or JPEG",
    "rgb_12bit.png": "glioma",
}
# Two files of the same slice.
SAME = (
    ("glioma_16_black_is_zero.tif", "glioma_16_white_is_zero.tif", 0),
    ("glioma_no_padding.dcm", "glioma_padding_-2000.dcm", 6),  # black in place of the noise of air
    ("grey_12bit.png", "rgb_12bit.png", 0),
    ("meningioma_no_lut.dcm", "meningioma_modality_lut.dcm", 0),
    ("meningioma_no_lut.dcm", "meningioma_no_preamble.dcm", 0),
    ("glioma_no_padding.dcm", "glioma_full_range.dcm", 1),
)


@pytest.fixture
def cases(real_data_dir) -> Path:
    if not (real_data_dir / "cases").is_dir():
        pytest.skip(f"no cases in {real_data_dir}")
    return real_data_dir / "cases"


def describe(answer) -> str:
    return answer.label or answer.reason


@pytest.mark.real_data
def test_in_python(cases):
    classifier = from_pretrained()
    for name, right in RIGHT.items():
        try:
            said = describe(classifier.predict(cases / name))
        except ImageError as error:
            said = str(error)
        assert right in said, name


@pytest.mark.real_data
def test_in_the_app(cases):
    service = AnswerService(from_pretrained())
    for name, right in RIGHT.items():
        try:
            said = describe(service.answer_slice(cases / name).prediction)
        except ImageError as error:
            said = str(error)
        assert right in said, name


@pytest.mark.real_data
def test_on_the_command_line(cases):
    result = CliRunner().invoke(app, ["predict", *(str(cases / name) for name in RIGHT), "--json"])
    assert result.exit_code == 2
    for row, (name, right) in zip(json.loads(result.stdout), RIGHT.items(), strict=True):
        assert right in (row.get("error") or row["label"] or row["reason"]), name


@pytest.mark.real_data
@pytest.mark.parametrize(("one", "other", "levels"), SAME)
def test_two_files_of_one_slice_are_read_alike(cases, one, other, levels):
    apart = np.abs(decode_grey(cases / one).astype(int) - decode_grey(cases / other))
    assert apart.max() <= levels
