"""keras.applications' MobileNetV2 as the oracle, and its files in the legacy layout."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest

# Our outputs by the Keras layer that computes them.
LAYERS = {
    "stem": "Conv1_relu",
    "block0": "expanded_conv_project_BN",
    **{f"block{i}": f"block_{i}_project_BN" for i in (1, 3, 6, 10, 13, 16)},
    **{f"block{i}": f"block_{i}_add" for i in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)},
    "head_conv": "out_relu",
    "pool": "global_average_pooling2d",
    "logits": "predictions",
}


class KerasMobileNet:
    """The model with seeded weights and BatchNorm statistics far from trivial."""

    def __init__(self, width: float, size: int, *, classes: int = 11, seed: int = 0):
        os.environ.setdefault("KERAS_BACKEND", "jax")
        self.keras: Any = pytest.importorskip("keras", reason="keras is the oracle")
        self.keras.utils.clear_session()  # layers are named from zero again
        # Keras compiles one program for each shape that it draws, 15 s in all, only
        # to have its draws overwritten below.
        drawing = self.keras.initializers.VarianceScaling
        with mock.patch.object(drawing, "__call__", _make_zeros):
            self.model = self.keras.applications.MobileNetV2(
                input_shape=(size, size, 3),
                alpha=width,
                weights=None,
                classes=classes,
                classifier_activation=None,
            )
        rng = np.random.default_rng(seed)
        for layer in self.model.layers:
            depthwise = isinstance(layer, self.keras.layers.DepthwiseConv2D)
            layer.set_weights([_draw(w, rng, depthwise) for w in layer.weights])

    def load(self, path: Path) -> None:
        """Takes the weights of a legacy file, as Keras itself reads them."""
        self.model.load_weights(path)

    def save(self, path: Path, *, top: bool = True) -> None:
        """Saves the weights in the legacy layout, with or without the top."""
        from keras.src.legacy.saving import legacy_h5_format

        model = self.model
        if not top:
            model = self.keras.Model(model.input, model.get_layer("out_relu").output)
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
            # Keras repeats the model's loose weights, of which there are none.
            assert not list(file["top_level_model_weights"])

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every output of uint8 [B, H, W, 3], under our names."""
        layers = [self.model.get_layer(name).output for name in LAYERS.values()]
        preprocess = self.keras.applications.mobilenet_v2.preprocess_input
        every = self.keras.Model(self.model.input, layers)
        results = every.predict_on_batch(preprocess(images.astype(np.float32)))
        return dict(zip(LAYERS, map(np.asarray, results), strict=True))


@pytest.fixture(scope="session")
def keras_mobilenet() -> type[KerasMobileNet]:
    """The oracle's class."""
    return KerasMobileNet


def _make_zeros(self: Any, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _draw(weight: Any, rng: np.random.Generator, depthwise: bool) -> np.ndarray:
    shape = tuple(weight.shape)
    if weight.name == "kernel":
        fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
        return rng.standard_normal(shape) * np.sqrt(1 / fan_in)
    if weight.name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.standard_normal(shape) * 0.3
