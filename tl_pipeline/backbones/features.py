"""Feature names: which output of a backbone, pooled how.

A map of shape [H, W, D] or tokens of shape [T, D] pool over all but the last axis.
"""

import difflib
import math
from collections.abc import Mapping, Sequence

from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import POOLINGS
from tl_pipeline.spec import Feature, parse_feature


def resolve_features(
    names: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    backbone: str = "",
    poolings: Sequence[str] = POOLINGS,
) -> list[Feature]:
    """Takes feature names apart and checks them against a backbone's outputs.

    Args:
      names: As asked for: `"pool"`, `"block3:avg"`.
      shapes: From `Backbone.feature_shapes`.
      backbone: Its name, for messages.
      poolings: Those of its kind of input, from `Backbone.preprocess`.

    Returns:
      The features in the order asked for, each once.

    Raises:
      BackboneError: No names, an unknown output, a pooling of another kind of input,
        or of an output that is a vector already.
    """
    features = [parse_feature(name) for name in names]
    if not features:
        raise BackboneError(
            f"Asked for no features: name at least one of {', '.join(shapes)}."
        )
    unknown = [feature.output for feature in features if feature.output not in shapes]
    if unknown:
        close = difflib.get_close_matches(unknown[0], shapes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BackboneError(
            f"Asked for feature {', '.join(map(repr, unknown))}, which "
            f"{backbone or 'the backbone'} does not have; it has "
            f"{', '.join(shapes)}.{hint}"
        )
    for feature in features:
        vector = len(shapes[feature.output]) == 1 and feature.pooling == "none"
        if feature.pooling not in poolings and not vector:
            raise BackboneError(
                f"Asked for feature {feature.name!r}: of {backbone or 'this backbone'} "
                f"outputs are pooled by {', '.join(poolings)}. Ask for "
                f"{feature.output}:{poolings[0]}, or another of these."
            )
        feature_shape(feature, shapes)
    return list(dict.fromkeys(features))


def feature_shape(
    feature: Feature, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """Returns a feature's shape for one example, after pooling.

    Raises:
      BackboneError: It pools an output that is a vector already.

    Example:
      >>> feature_shape(Feature("stage1", "avg"), {"stage1": (8, 8, 32)})
      (32,)
    """
    shape = shapes[feature.output]
    if feature.pooling == "none":
        return shape
    if len(shape) < 2:
        raise BackboneError(
            f"Asked for {feature.name!r}: {feature.output} is a vector of "
            f"{list(shape)} already, so ask for {feature.output!r} without pooling."
        )
    return (math.prod(shape),) if feature.pooling == "flatten" else shape[-1:]
