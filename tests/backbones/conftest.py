"""keras.applications as the oracle, and its files in the legacy layout."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest

# Our outputs by the Keras layer that computes them.
MOBILENET = {
    "stem": "Conv1_relu",
    "block0": "expanded_conv_project_BN",
    **{f"block{i}": f"block_{i}_project_BN" for i in (1, 3, 6, 10, 13, 16)},
    **{f"block{i}": f"block_{i}_add" for i in (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)},
    "head_conv": "out_relu",
    "pool": "global_average_pooling2d",
    "logits": "predictions",
}


class KerasNetwork:
    """A model with seeded weights and BatchNorm statistics far from trivial.

    Args:
      function: Its name in `keras.applications`.
      size: Pixels a side.
      layers: Our outputs by the layer that computes them.
      preprocess: Module of `keras.applications` whose `preprocess_input` it wants.
      options: Of the function.
      gain: Variance of a kernel, times its inputs.
    """

    def __init__(
        self,
        function: str,
        size: int,
        *,
        layers: Mapping[str, str],
        preprocess: str,
        classes: int = 11,
        seed: int = 0,
        gain: float = 1,
        **options: Any,
    ):
        os.environ.setdefault("KERAS_BACKEND", "jax")
        self.keras: Any = pytest.importorskip("keras", reason="keras is the oracle")
        self.keras.utils.clear_session()  # layers are named from zero again
        # Without top, Keras refuses to be told what to do with it.
        top: dict[str, Any] = {"classes": classes, "classifier_activation": None}
        top = top if options.get("include_top", True) else {}
        self.layers = layers
        self.preprocess = getattr(self.keras.applications, preprocess).preprocess_input
        # Keras compiles one program for each shape that it draws, 15 s in all, only
        # to have its draws overwritten below.
        drawing = self.keras.initializers.VarianceScaling
        with mock.patch.object(drawing, "__call__", _make_zeros):
            self.model = getattr(self.keras.applications, function)(
                input_shape=(size, size, 3),
                weights=None,
                **top,
                **options,
            )
        rng = np.random.default_rng(seed)
        for layer in self.model.layers:
            depthwise = isinstance(layer, self.keras.layers.DepthwiseConv2D)
            if isinstance(layer, self.keras.layers.Normalization):
                # Those of ImageNet, which are our preprocessing.
                variances = np.square((0.229, 0.224, 0.225))
                layer.set_weights(
                    [np.array((0.485, 0.456, 0.406)), variances, np.array(0)]
                )
                layer.finalize_state()
            else:
                drawn = [_draw(w, rng, depthwise, gain) for w in layer.weights]
                layer.set_weights(drawn)

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
        layers = [self.model.get_layer(name).output for name in self.layers.values()]
        every = self.keras.Model(self.model.input, layers)
        results = every.predict_on_batch(self.preprocess(images.astype(np.float32)))
        return dict(zip(self.layers, map(np.asarray, results), strict=True))


@pytest.fixture(scope="session")
def keras_network() -> type[KerasNetwork]:
    """The oracle's class."""
    return KerasNetwork


@pytest.fixture(scope="session")
def keras_mobilenet() -> Any:
    """Makes a MobileNetV2 of a width and a size."""

    def make(width: float, size: int, *, classes: int = 11) -> KerasNetwork:
        return KerasNetwork(
            "MobileNetV2",
            size,
            layers=MOBILENET,
            preprocess="mobilenet_v2",
            classes=classes,
            alpha=width,
        )

    return make


@pytest.fixture(scope="session")
def drawing() -> ModuleType:
    """The module `golden/drawing.py`, by which golden files are made too."""
    path = Path(__file__).parent / "golden" / "drawing.py"
    spec = importlib.util.spec_from_file_location("golden_drawing", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _make_zeros(self: Any, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _draw(
    weight: Any, rng: np.random.Generator, depthwise: bool, gain: float
) -> np.ndarray:
    shape = tuple(weight.shape)
    if weight.name in ("kernel", "depthwise_kernel"):
        fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
        return rng.standard_normal(shape, np.float32) * np.float32(
            np.sqrt(gain / fan_in)
        )
    if weight.name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.standard_normal(shape) * 0.3
