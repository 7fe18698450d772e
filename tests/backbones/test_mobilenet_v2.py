import numpy as np
import pytest

from tl_pipeline.backbones.mobilenet_v2 import make_architecture
from tl_pipeline.backbones.network import outline_network
from tl_pipeline.errors import BackboneError, WeightsError
from tl_pipeline.stages.backbones import load_backbone

# Keras' variables and NumPy 2, when Keras writes a file.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

TOLERANCE = 1e-4  # of the largest value: float32 through 53 layers


def draw_images(n: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def check_parity(model, path, images, settings):
    backbone = load_backbone("mobilenet_v2", weights=path, settings=settings)
    expected = model.run(images)
    assert set(backbone.feature_shapes()) == set(expected)
    outputs = backbone.make_forward(list(expected))(images)
    for name, theirs in expected.items():
        ours = np.asarray(outputs[name])
        assert ours.dtype == np.float32
        assert ours.shape[1:] == backbone.feature_shapes()[name]
        assert np.std(theirs) > 1e-3, f"{name} says nothing"
        difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert difference <= TOLERANCE, (name, difference)


@pytest.mark.parametrize(("width", "size"), [(0.35, 75), (1.0, 64), (1.4, 64)])
def test_every_output_is_that_of_keras(keras_mobilenet, tmp_path, width, size):
    model = keras_mobilenet(width, size)
    path = tmp_path / "weights.h5"
    model.save(path)
    settings = {"width": width, "input_size": size}
    check_parity(model, path, draw_images(2, size), settings)


def test_every_output_of_the_real_weights_is_that_of_keras(keras_mobilenet, realdata):
    path = realdata / "weights" / "mobilenet_v2_imagenet_keras.h5"
    model = keras_mobilenet(1.0, 224, classes=1000)
    model.load(path)
    check_parity(model, path, draw_images(2, 224), {})


def test_a_file_without_top_has_the_same_trunk(keras_mobilenet, tmp_path):
    settings = {"width": 0.35, "input_size": 32}
    model = keras_mobilenet(0.35, 32)
    model.save(tmp_path / "with.h5")
    model.save(tmp_path / "without.h5", top=False)
    whole, trunk = (
        load_backbone("mobilenet_v2", weights=tmp_path / name, settings=settings)
        for name in ("with.h5", "without.h5")
    )
    assert whole.weights_digest == trunk.weights_digest
    assert whole.classifier_digest and trunk.classifier_digest is None
    assert whole.feature_shapes()["logits"] == (11,)
    assert "logits" not in trunk.feature_shapes()
    with pytest.raises(BackboneError, match="'logits', which mobilenet_v2 does not"):
        trunk.make_forward(["logits"])


def test_another_width_lists_the_shapes_that_differ(keras_mobilenet, tmp_path):
    keras_mobilenet(0.35, 32).save(tmp_path / "w.h5")
    with pytest.raises(WeightsError) as error:
        load_backbone("mobilenet_v2", weights=tmp_path / "w.h5")
    message = str(error.value)
    assert "do not fit mobilenet_v2 (width = 1.0, input_size = 224)" in message
    assert "Conv1/kernel: the file has [3, 3, 3, 16], stem.conv.kernel" in message
    assert "0 are missing" in message


def test_another_architecture_lists_mismatches_both_ways(realdata):
    name = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
    with pytest.raises(WeightsError) as error:
        load_backbone("mobilenet_v2", weights=realdata / "weights" / name)
    message = str(error.value)
    assert "of 260 parameters 260 are missing" in message
    assert "(as expanded_conv_depthwise/kernel)" in message
    assert "  conv1/" in message
    assert "fire2/" in message


def test_the_parameters_are_as_many_as_kerass():
    # keras.applications' documentation counts 3,538,984 with top.
    outline = outline_network(make_architecture())
    assert outline.parameters == 2_257_984
    assert outline.classifier_parameters == 1_281_000


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 2.0}, "width = 2.0; it takes 0.35 to 1.4"),
        ({"width": "1.0"}, "width = '1.0'; it takes a float"),
        ({"input_size": 16}, "input_size = 16; it takes 32 to 2048"),
        ({"widht": 1.0}, "'widht'; it has width, input_size. Did you mean 'width'"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(BackboneError, match=words):
        make_architecture(settings=settings)


def test_pretrained_says_which_file_to_bring():
    with pytest.raises(WeightsError) as error:
        load_backbone("mobilenet_v2", settings={"width": 0.5})
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_224"
    for file in (f"{name}.h5", f"{name}_no_top.h5"):
        assert f"{file} (https://" in str(error.value)
