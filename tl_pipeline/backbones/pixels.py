"""Raw pixels as features: the baseline that a backbone has to beat. No JAX.

An image is scaled to `size`×`size`, whatever its aspect, and laid out as one vector.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.architecture import fill_settings
from tl_pipeline.backbones.backbone import Forward
from tl_pipeline.backbones.features import resolve_features
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import ImagePreprocess

NAME = "pixels"
NO_WEIGHTS = "none"  # the source string of what has no weights
MAX_SIZE = 512  # 786,432 features in color; more is surely a mistake


class PixelsBackbone:
    """The downsized pixels as one output, `pool`; see `Backbone` for attributes."""

    name = NAME
    source = ""
    weights = NO_WEIGHTS
    weights_digest = array_digest({})
    classifier_digest = None
    compute_dtype = "float32"
    matmul_precision = "highest"
    needs_accelerator = False

    def __init__(self, settings: Mapping[str, Json], preprocess: ImagePreprocess):
        """Takes what `make_pixels` has checked."""
        self.settings = settings
        self.preprocess = preprocess
        self.weights_origin: Mapping[str, Json] = {
            "kind": NO_WEIGHTS,
            "source_dataset": None,
            "license": None,
        }

    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the one output's shape: all pixels and channels in a row."""
        return {"pool": (int(np.prod(self.preprocess.input_shape)),)}

    def make_forward(self, features: Sequence[str]) -> Forward:
        """Returns the function from uint8 [B, H, W, C] to float32 [B, H*W*C] in 0..1.

        Raises:
          BackboneError: A feature other than `pool` is asked for.
        """
        resolve_features(features, self.feature_shapes(), backbone=NAME)
        scale = np.float32(self.preprocess.scale)

        def forward(images: np.ndarray) -> dict[str, np.ndarray]:
            return {"pool": images.reshape(len(images), -1).astype(np.float32) * scale}

        return forward


def make_pixels(settings: Mapping[str, Json] | None = None) -> PixelsBackbone:
    """Returns the pixels baseline.

    Args:
      settings: `size`, pixels a side, and `color`, `"rgb"` or `"gray"`. Images of this
        very size, as 16×16 gray digits, are taken as they are.

    Raises:
      BackboneError: A setting is unknown or out of range.

    Example:
      >>> make_pixels({"size": 16, "color": "gray"}).feature_shapes()
      {'pool': (256,)}
    """
    filled = fill_settings(NAME, settings, {"size": 32, "color": "rgb"})
    size, color = filled["size"], filled["color"]
    if not (isinstance(size, int) and 1 <= size <= MAX_SIZE):
        raise BackboneError(
            f"Asked for {NAME} with size = {size}; it takes 1 to {MAX_SIZE}."
        )
    if not (isinstance(color, str) and color in ("rgb", "gray")):
        raise BackboneError(
            f"Asked for {NAME} with color = {color!r}; it takes 'rgb' or 'gray'."
        )
    channels = 1 if color == "gray" else 3
    preprocess = ImagePreprocess(
        color=color,
        resize="exact",
        resize_size=None,
        size=(size, size),
        interpolation="bilinear",
        scale=1 / 255,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    return PixelsBackbone(filled, preprocess)
