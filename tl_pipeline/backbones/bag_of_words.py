"""Bags of words as features: the baseline that a text backbone has to beat. No JAX.

Which words and pairs of neighboring words a text holds, hashed into `size` places.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.architecture import fill_settings
from tl_pipeline.backbones.backbone import Forward
from tl_pipeline.backbones.features import resolve_features
from tl_pipeline.backbones.pixels import NO_WEIGHTS
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import BagPreprocess

NAME = "bag_of_words"
SIZE = 4096  # 8 KiB a text in float16
MAX_SIZE = 2**18


class BagOfWordsBackbone:
    """The hashed words as one output, `pool`; see `Backbone` for the attributes."""

    name = NAME
    source = ""
    weights = NO_WEIGHTS
    weights_digest = array_digest({})
    classifier_digest = None
    compute_dtype = "float32"
    matmul_precision = "highest"
    needs_accelerator = False

    def __init__(self, settings: Mapping[str, Json], preprocess: BagPreprocess):
        """Takes what `make_bag_of_words` has checked."""
        self.settings = settings
        self.preprocess = preprocess
        self.weights_origin: Mapping[str, Json] = {
            "kind": NO_WEIGHTS,
            "source_dataset": None,
            "license": None,
        }

    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the one output's shape."""
        return {"pool": self.preprocess.input_shape}

    def make_forward(self, features: Sequence[str]) -> Forward:
        """Returns the function of float32 [B, D], which the host has counted already.

        Raises:
          BackboneError: A feature other than `pool` is asked for.
        """
        poolings = self.preprocess.poolings
        resolve_features(
            features, self.feature_shapes(), backbone=NAME, poolings=poolings
        )

        def forward(bags: np.ndarray) -> dict[str, np.ndarray]:
            return {"pool": bags}

        return forward


def make_bag_of_words(
    settings: Mapping[str, Json] | None = None,
) -> BagOfWordsBackbone:
    """Returns the bag-of-words baseline.

    Args:
      settings: `size`, how many places words share.

    Raises:
      BackboneError: A setting is unknown or out of range.

    Example:
      >>> make_bag_of_words({"size": 512}).feature_shapes()
      {'pool': (512,)}
    """
    filled = fill_settings(NAME, settings, {"size": SIZE})
    size = filled["size"]
    if not (isinstance(size, int) and 1 <= size <= MAX_SIZE):
        raise BackboneError(
            f"Asked for {NAME} with size = {size}; it takes 1 to {MAX_SIZE:,}."
        )
    return BagOfWordsBackbone(filled, BagPreprocess(size))
