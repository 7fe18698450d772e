import numpy as np
import pytest

from tl_pipeline.backbones.pixels import make_pixels
from tl_pipeline.errors import BackboneError


def test_pixels_are_the_values_in_a_row_from_0_to_1():
    backbone = make_pixels({"size": 2, "color": "gray"})
    images = np.uint8([[[[0], [51]], [[102], [255]]]])
    rows = np.asarray(backbone.make_forward(["pool"])(images)["pool"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0, 0.2, 0.4, 1]], rtol=1e-6)


def test_the_default_is_32_by_32_in_color():
    backbone = make_pixels()
    assert backbone.settings == {"size": 32, "color": "rgb"}
    assert backbone.preprocess.input_shape == (32, 32, 3)
    assert backbone.feature_shapes() == {"pool": (3072,)}
    assert not backbone.needs_accelerator


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "size = 0; it takes 1 to 512"),
        ({"color": "bgr"}, "color = 'bgr'; it takes 'rgb' or 'gray'"),
        ({"width": 3}, "'width'; it has size, color"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(BackboneError, match=words):
        make_pixels(settings)


def test_there_is_no_other_output():
    with pytest.raises(BackboneError, match="which pixels does not have; it has pool"):
        make_pixels().make_forward(["logits"])
