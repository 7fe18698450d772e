"""Heads that weigh tokens, or the places of a grid, by learned queries."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.minibatches import Minibatches
from tl_pipeline.heads.mlp import ClassWeight, Features, MlpHeads, fit_heads
from tl_pipeline.heads.settings import AttentionSettings
from tl_pipeline.tasks import Task


def fit_attention(
    features: Features,
    targets: ArrayLike,
    task: Task,
    *,
    settings: Sequence[AttentionSettings],
    val: tuple[Features, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    groups: Sequence[str] | None = None,
    views: ArrayLike | None = None,
    seed: int = 0,
) -> MlpHeads:
    """Trains M heads that pool tokens by attention; all else is as in `fit_mlp`.

    Args:
      features: [N, T, D] tokens or [N, H, W, D] grids, floating, prepared; or
        minibatches of tokens.
      targets: As in `fit_mlp`; so are the others.
      task: What is asked for.
      settings: M.
      val: Features and targets to stop by.
      sample_weight: [N] or [M, N].
      class_weight: [K], or `balanced`.
      groups: [N] names of examples that are held out together.
      views: [V, N, ...] other views of an array's rows.
      seed: Of the order of rows.

    Raises:
      FeatureShapeError: The features are neither tokens nor grids; and as `fit_mlp`.
      ConfigError: Settings of another kind of head; and as `fit_mlp`.
    """
    if not all(isinstance(one, AttentionSettings) for one in settings):
        raise ConfigError("Asked fit_attention for heads without queries: use fit_mlp.")
    return fit_heads(
        _tokens(features),
        targets,
        task,
        settings=settings,
        val=None if val is None else (_tokens(val[0]), val[1]),
        sample_weight=sample_weight,
        class_weight=class_weight,
        groups=groups,
        views=views,
        seed=seed,
    )


def _tokens(features: Features) -> Features:
    if isinstance(features, Minibatches):
        return features
    features = np.asarray(features, np.float32)
    if features.ndim < 3:
        raise FeatureShapeError(
            "Expected tokens [N, T, D] or grids [N, H, W, D], got "
            f"{list(features.shape)}. Store the feature without pooling."
        )
    return features.reshape(len(features), -1, features.shape[-1])
