"""Which kinds of heads take which features: vectors, or tokens and grids."""

from collections.abc import Mapping, Sequence

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.heads.presets import PRESETS
from tl_pipeline.spec import parse_feature
from tl_pipeline.stages.joined import split_name

ATTENTION = "attention"


def match_kinds(
    kinds: Sequence[str],
    features: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, list[str]]:
    """Returns which kinds of heads to train on each feature.

    Attention takes tokens and grids, all others vectors. Of these a preset takes the
    ones it is known for: `dense512` those that are not averaged, `dense128` those that
    are not flattened.

    Args:
      kinds: What was asked for.
      features: The names of what to train on; several are joined by `+`, as vectors.
      shapes: Of a row of each feature of the store; others are not looked at.

    Raises:
      FeatureShapeError: A feature suits no kind, or a kind no feature.
    """
    found = {
        name: [kind for kind in kinds if takes(kind, name, shapes)] for name in features
    }
    idle = [kind for kind in kinds if not any(kind in own for own in found.values())]
    left = [name for name, own in found.items() if not own]
    grids = [name for name in left if not _is_vector(name, shapes)]
    if grids:
        name = grids[0]
        raise FeatureShapeError(
            f"Asked for heads on {name}, whose rows have shape "
            f"{list(shapes[name])}: such heads take vectors. Extract {name}:avg, "
            f"{name}:max or {name}:flatten, or ask for heads of the kind {ATTENTION}."
        )
    if idle:
        raise FeatureShapeError(
            f"Asked for heads of the kind {', '.join(idle)} on {', '.join(features)}: "
            f"none of these suits. {_WANTS.get(idle[0], _VECTORS)}"
        )
    if left:
        raise FeatureShapeError(
            f"Asked for heads of the kind {', '.join(kinds)} on {left[0]}: none of "
            "them takes it. Leave it out, or add another kind, such as linear."
        )
    return found


_VECTORS = "Ask for a feature of vectors, such as OUTPUT:avg."
_WANTS = {
    ATTENTION: "It takes tokens or grids: extract an output without pooling.",
    "dense512": "It takes vectors that are not averaged, such as OUTPUT:flatten.",
    "dense128": "It takes vectors that are not flattened, such as OUTPUT:avg.",
}


def takes(kind: str, feature: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tells whether heads of a kind take a feature; see `match_kinds`."""
    is_vector = _is_vector(feature, shapes)
    if kind == ATTENTION:
        return not is_vector
    if kind not in PRESETS or not is_vector:
        return is_vector
    poolings = {parse_feature(name).pooling for name in split_name(feature)}
    if PRESETS[kind].is_flattened:
        return not poolings & {"avg", "max"}
    return "flatten" not in poolings


def _is_vector(feature: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tells whether its rows are vectors, as those of several joined features are."""
    names = split_name(feature)
    return len(names) > 1 or len(shapes.get(names[0], (1,))) == 1
