"""The diagram tells the shapes and parameters that Keras tells."""

import keras
import pytest
from PIL import Image

from trainer.config import ModelConfig
from trainer.models.build import build_model
from trainer.reporting.architecture_figure import MAX_STAGES, describe_stages, plot_architecture


@pytest.fixture(scope="module")
def efficientnet():
    return build_model(ModelConfig(architecture="efficientnet_lite0", pretrained=False), 64, 4)


def test_stages_of_the_reference():
    stages = describe_stages(build_model(ModelConfig(architecture="reference_vgg", pretrained=False), 224, 4))
    assert [(stage.name, stage.shape, stage.parameters) for stage in stages] == [
        ("images", (224, 224, 3), 0),
        ("block1", (111, 111, 32), 896),
        ("block2", (54, 54, 64), 18_496),
        ("block3", (26, 26, 128), 73_856),
        ("block4", (12, 12, 128), 147_584),
        ("flatten", (18_432,), 0),
        ("embedding", (512,), 9_437_696),
        ("logits", (4,), 2_052),
    ]
    assert stages[1].layers == {"Conv2D": 1, "MaxPooling2D": 1}


def test_stages_of_efficientnet(efficientnet):
    stages = describe_stages(efficientnet)
    assert [stage.name for stage in stages] == [
        "input",
        "stem",
        *(f"block{number}" for number in range(1, 8)),
        "top",
        "embedding",
        "logits",
    ]
    assert [stage.shape[0] for stage in stages] == [64, 32, 32, 16, 8, 4, 4, 2, 2, 2, 1280, 4]
    assert sum(stage.parameters for stage in stages) == efficientnet.count_params()
    assert stages[3].layers == {"Conv2D": 4, "DepthwiseConv2D": 2, "Dropout": 1}


def test_many_differently_named_layers_are_joined_by_size():
    features = images = keras.Input((32, 32, 1))
    for number in range(MAX_STAGES + 5):
        features = keras.layers.Conv2D(
            2, 1, strides=2 if number == 9 else 1, name=f"{chr(97 + number)}_conv"
        )(features)
    stages = describe_stages(
        keras.Model(images, keras.layers.GlobalAveragePooling2D(name="embedding")(features))
    )
    assert [(stage.name, stage.layers) for stage in stages] == [
        ("32 x 32 pixels", {"Conv2D": 9}),
        ("16 x 16 pixels", {"Conv2D": MAX_STAGES - 4}),
        ("embedding", {"GlobalAveragePooling2D": 1}),
    ]


def test_the_diagram_fits_a_phone(efficientnet, tmp_path):
    plot_architecture(efficientnet, "efficientnet_lite0", tmp_path / "architecture.png")
    with Image.open(tmp_path / "architecture.png") as picture:
        assert picture.width == 750
        assert picture.height > 1000
