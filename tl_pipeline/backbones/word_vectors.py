"""Word vectors as a frozen backbone: word2vec, GloVe, fastText. No JAX.

Words are looked up and pooled on the host; each pooling is an output, a vector [D].
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.backbones.architecture import fill_settings
from tl_pipeline.backbones.backbone import Forward
from tl_pipeline.backbones.features import resolve_features
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import WORD_POOLINGS, VectorPreprocess, WordTable

NAME = "word_vectors"
USUAL_SIZE = 300  # D of most published files
SMOOTHING = 1e-3  # of the authors of SIF
FORMATS = ("word2vec", "glove", "fasttext")


class WordVectorsBackbone:
    """Pooled word vectors as outputs; see `Backbone` for the attributes."""

    name = NAME
    source = ""
    classifier_digest = None
    compute_dtype = "float32"
    matmul_precision = "highest"
    needs_accelerator = False

    def __init__(
        self,
        preprocess: VectorPreprocess,
        *,
        weights: str,
        weights_digest: str,
        origin: Mapping[str, Json],
    ):
        """Takes a preprocessing with its table, and where that is from."""
        self.settings: Mapping[str, Json] = {"smoothing": preprocess.smoothing}
        self.preprocess = preprocess
        self.weights = weights
        self.weights_digest = weights_digest
        self.weights_origin = origin

    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns each pooling's shape."""
        return dict.fromkeys(WORD_POOLINGS, (self.preprocess.size,))

    def make_forward(self, features: Sequence[str]) -> Forward:
        """Returns the function of float32 [B, 3, D], which the host has pooled already.

        Raises:
          BackboneError: A feature is none of `WORD_POOLINGS`.
        """
        resolved = resolve_features(
            features,
            self.feature_shapes(),
            backbone=NAME,
            poolings=self.preprocess.poolings,
        )
        rows = {f.name: WORD_POOLINGS.index(f.output) for f in resolved}

        def forward(pooled: np.ndarray) -> dict[str, np.ndarray]:
            return {name: pooled[:, row] for name, row in rows.items()}

        return forward


def outline_word_vectors(
    settings: Mapping[str, Json] | None = None,
) -> WordVectorsBackbone:
    """Returns the backbone without a table, to be described and not to be run.

    Raises:
      BackboneError: A setting is wrong.
    """
    preprocess = make_word_preprocess(settings)
    return WordVectorsBackbone(preprocess, weights="", weights_digest="", origin={})


def make_word_preprocess(
    settings: Mapping[str, Json] | None = None,
    *,
    size: int = USUAL_SIZE,
    table: WordTable | None = None,
) -> VectorPreprocess:
    """Returns how texts are looked up in a table of word vectors.

    Args:
      settings: `smoothing`, of words weighted by frequency.
      size: D of the table.
      table: None where it is only asked what the backbone is.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    smoothing = fill_settings(NAME, settings, {"smoothing": SMOOTHING})["smoothing"]
    if not (isinstance(smoothing, (int, float)) and 0 < smoothing <= 1):
        raise BackboneError(
            f"Asked for {NAME} with smoothing = {smoothing}; it takes more than 0, and "
            "at most 1."
        )
    return VectorPreprocess(size, float(smoothing), table)
