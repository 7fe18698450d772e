"""keras.applications' networks, live: Keras on JAX beside ours, on the same file."""

import numpy as np
import pytest

from tl_pipeline.stages.backbones import load_backbone

# Keras' variables and NumPy 2, when Keras writes a file.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

TOLERANCE = 1e-4  # of the largest value: float32 through a hundred layers
SLOW = pytest.mark.slow

RESNET = {
    "stem": "conv1_relu",
    "stage1": "conv2_block3_out",
    "stage4": "conv5_block3_out",
    "pool": "avg_pool",
    "logits": "predictions",
}
RESNET_V2 = RESNET | {"stem": "conv1_conv"}
VGG = {f"block{i}": f"block{i}_pool" for i in range(1, 6)}
VGG_TOP = VGG | {"fc1": "fc1", "fc2": "fc2", "logits": "predictions"}

# Our backbone, Keras' function, the module of its preprocessing, size, layers.
CASES = [
    ("keras_resnet50", "ResNet50", "resnet", 33, RESNET),
    ("keras_resnet50_v2", "ResNet50V2", "resnet_v2", 33, RESNET_V2),
    *(
        pytest.param(
            f"keras_resnet{n}{v}",
            f"ResNet{n}{v.upper()[1:]}",
            m,
            33,
            layers,
            marks=SLOW,
        )
        for n in (101, 152)
        for v, m, layers in (("", "resnet", RESNET), ("_v2", "resnet_v2", RESNET_V2))
    ),
]


@pytest.mark.parametrize(("name", "function", "module", "size", "layers"), CASES)
def test_every_output_is_that_of_keras(
    keras_network, tmp_path, name, function, module, size, layers
):
    model = keras_network(function, size, layers=layers, preprocess=module)
    model.save(tmp_path / "weights.h5")
    images = np.random.default_rng(7).integers(0, 256, (2, size, size, 3), np.uint8)
    expected = model.run(images)
    settings = {"input_size": size}
    loaded = load_backbone(name, weights=tmp_path / "weights.h5", settings=settings)
    assert set(expected) <= set(loaded.feature_shapes())
    # The host decodes to the colors that are asked for; Keras swaps them itself.
    ours_in = images[..., ::-1] if loaded.preprocess.color == "bgr" else images
    outputs = loaded.make_forward(list(expected))(ours_in)
    for output, theirs in expected.items():
        ours = np.asarray(outputs[output])
        largest = np.abs(theirs).max()
        assert np.std(theirs) > 1e-3 * largest, f"{output} says nothing"
        assert np.abs(ours - theirs.reshape(ours.shape)).max() <= TOLERANCE * largest
