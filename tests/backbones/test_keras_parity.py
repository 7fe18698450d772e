"""keras.applications' networks, live: Keras on JAX beside ours, on the same file."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tl_pipeline.stages.backbones import load_backbone

# Keras' variables and NumPy 2, when Keras writes a file.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

TOLERANCE = 1e-4  # of the largest value: float32 through a hundred layers

RESNET = {
    "stem": "conv1_relu",
    "stage1": "conv2_block3_out",
    "stage4": "conv5_block3_out",
    "pool": "avg_pool",
    "logits": "predictions",
}
RESNET_V2 = RESNET | {"stem": "conv1_conv"}
VGG = {f"block{i}": f"block{i}_pool" for i in (1, 3, 5)}
VGG_TOP = VGG | {"fc1": "fc1", "fc2": "fc2", "logits": "predictions"}
MOBILENET = {
    "stem": "conv1_relu",
    "block2": "conv_pw_2_relu",
    "block7": "conv_pw_7_relu",
    "pool": "global_average_pooling2d",
    "logits": "predictions",
}
MOBILENET_V3 = {
    "stage1": "expanded_conv_project_bn",
    "pool": "global_average_pooling2d",
    "logits": "predictions",
}
EFFICIENT = {
    "stem": "stem_activation",
    "stage1": "block1a_project_bn",
    "stage3": "block3b_add",
    "head_conv": "top_activation",
    "pool": "avg_pool",
    "logits": "predictions",
}
EFFICIENT_ENDS = {
    key: EFFICIENT[key] for key in ("stem", "head_conv", "pool", "logits")
}
DENSE = {
    "stem": "conv1_relu",
    "block1": "conv2_block6_concat",
    "block2": "conv3_block12_concat",
    "pool": "avg_pool",
    "logits": "predictions",
}
INCEPTION = {
    "mixed0": "mixed0",
    "mixed5": "mixed5",
    "pool": "avg_pool",
    "logits": "predictions",
}


class Case(NamedTuple):
    """Ours, Keras' function and the module of its preprocessing, and our outputs."""

    name: str
    function: str
    module: str
    size: int
    layers: dict[str, str]
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}


TRUNK = {"include_top": False, "pooling": "avg"}
QUICK = [
    Case("keras_resnet50", "ResNet50", "resnet", 33, RESNET),
    Case("keras_resnet50_v2", "ResNet50V2", "resnet_v2", 33, RESNET_V2),
    Case(
        "vgg16",
        "VGG16",
        "vgg16",
        33,
        VGG | {"pool": "global_average_pooling2d"},
        options=TRUNK,
    ),
    # Two odd images on the way: 17 and 9 pixels a side.
    Case(
        "mobilenet",
        "MobileNet",
        "mobilenet",
        65,
        MOBILENET,
        settings={"width": 0.25},
        options={"alpha": 0.25},
    ),
]
LONG = [
    Case("keras_resnet101", "ResNet101", "resnet", 33, RESNET),
    Case("keras_resnet152", "ResNet152", "resnet", 33, RESNET),
    Case("keras_resnet101_v2", "ResNet101V2", "resnet_v2", 33, RESNET_V2),
    Case("keras_resnet152_v2", "ResNet152V2", "resnet_v2", 33, RESNET_V2),
    Case("vgg16", "VGG16", "vgg16", 224, VGG_TOP),
    Case("vgg19", "VGG19", "vgg19", 224, VGG_TOP),
    Case("mobilenet", "MobileNet", "mobilenet", 64, MOBILENET),
    *(
        Case(
            f"tf_mobilenetv3_{size.lower()}_100",
            f"MobileNetV3{size}",
            "mobilenet_v3",
            65,
            MOBILENET_V3 | layers,
        )
        for size, layers in (
            ("Small", {"stage5": "expanded_conv_10_add"}),
            (
                "Large",
                {"stage1": "expanded_conv_add", "stage6": "expanded_conv_14_add"},
            ),
        )
    ),
    *(
        Case(f"tf_efficientnet_b{i}", f"EfficientNetB{i}", "efficientnet", 65, layers)
        for i in range(8)
        for layers in [
            EFFICIENT
            if i == 0
            else {
                key: EFFICIENT[key] for key in ("stem", "head_conv", "pool", "logits")
            }
        ]
    ),
    Case(
        "tf_efficientnetv2_s",
        "EfficientNetV2S",
        "efficientnet_v2",
        65,
        EFFICIENT_ENDS | {"stage1": "block1b_add", "stage3": "block3d_add"},
    ),
    Case(
        "tf_efficientnetv2_m", "EfficientNetV2M", "efficientnet_v2", 65, EFFICIENT_ENDS
    ),
    *(
        Case(f"keras_densenet{n}", f"DenseNet{n}", "densenet", 65, DENSE)
        for n in (121, 169, 201)
    ),
    Case("keras_inception_v3", "InceptionV3", "inception_v3", 75, INCEPTION),
]
CASES = [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in LONG)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.size}")
def test_every_output_is_that_of_keras(keras_network, tmp_path, case):
    model = keras_network(
        case.function,
        case.size,
        layers=case.layers,
        preprocess=case.module,
        **case.options,
    )
    model.save(tmp_path / "weights.h5")
    shape = (2, case.size, case.size, 3)
    images = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
    expected = model.run(images)
    settings = {"input_size": case.size, **case.settings}
    loaded = load_backbone(
        case.name, weights=tmp_path / "weights.h5", settings=settings
    )
    assert set(expected) <= set(loaded.feature_shapes())
    # The host decodes to the colors that are asked for; Keras swaps them itself.
    ours_in = images[..., ::-1] if loaded.preprocess.color == "bgr" else images
    outputs = loaded.make_forward(list(expected))(ours_in)
    for output, theirs in expected.items():
        ours = np.asarray(outputs[output])
        largest = np.abs(theirs).max()
        assert np.std(theirs) > 1e-3 * largest, f"{output} says nothing"
        assert np.abs(ours - theirs.reshape(ours.shape)).max() <= TOLERANCE * largest
