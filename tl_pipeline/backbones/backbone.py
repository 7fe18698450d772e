"""What a backbone is to the stages: a named, weighted function of inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.preprocess import Preprocess

# Inputs of `preprocess.dtype`, images [B, H, W, C], token ids [B, T] or windows of
# recordings [B, T, D] or [B, T], -> float32 [B, ...] by canonical feature name. A
# result may be a JAX array still being computed: np.asarray waits for it and brings it.
Forward = Callable[[np.ndarray], Mapping[str, Any]]


class Backbone(Protocol):
    """A frozen network, its weights loaded, or a baseline that stands for one.

    Attributes:
      name: The registry's name, or `package.module:factory`.
      settings: The architecture's settings, all of them, plain data.
      source: The digest of what a user's own network computes, else "".
      weights: The source string that was asked for.
      weights_digest: Of the trunk's float32 parameters, without classifier, before
        BatchNorm is folded.
      classifier_digest: Of the classifier's parameters; None where there is none.
      weights_origin: Where the weights come from, plain data: `kind` always; `file`
        and `sha256` for files; `source_dataset` and `license`, None if unknown;
        `unwrapped`, the words taken off before the tensors' names, and `left_out`, how
        many tensors stood elsewhere, where there were any.
      preprocess: How an example becomes the input.
      compute_dtype: Of the forward pass.
      matmul_precision: JAX's name of the precision of matrix products.
      needs_accelerator: Whether the forward runs on JAX.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def settings(self) -> Mapping[str, Json]: ...  # noqa: D102

    @property
    def source(self) -> str: ...  # noqa: D102

    @property
    def weights(self) -> str: ...  # noqa: D102

    @property
    def weights_digest(self) -> str: ...  # noqa: D102

    @property
    def classifier_digest(self) -> str | None: ...  # noqa: D102

    @property
    def weights_origin(self) -> Mapping[str, Json]: ...  # noqa: D102

    @property
    def preprocess(self) -> Preprocess: ...  # noqa: D102

    @property
    def compute_dtype(self) -> str: ...  # noqa: D102

    @property
    def matmul_precision(self) -> str: ...  # noqa: D102

    @property
    def needs_accelerator(self) -> bool: ...  # noqa: D102

    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns each output's shape for one example, in order, unpooled."""
        ...

    def make_forward(self, features: Sequence[str]) -> Forward:
        """Returns the function that computes these features of a batch.

        Raises:
          BackboneError: A feature is unknown, or its pooling does not apply.
        """
        ...
