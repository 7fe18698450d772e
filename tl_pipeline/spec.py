"""The feature spec: everything chosen by a person that decides a row's value.

Its digest names the store. Feature names, views, paths, batch size, workers, targets,
splits and dates are no part of it: changing them never makes a stored row wrong.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from tl_pipeline.arrays import COMPUTE_DTYPES, STORE_DTYPES
from tl_pipeline.digest import Json, json_digest, plain_json
from tl_pipeline.errors import BackboneError, SpecMismatchError
from tl_pipeline.preprocess import POOLINGS, TOKEN_POOLINGS, check_choice

SCHEMA_VERSION = 1
DECLARED = "declared"  # the kind of preprocessing that others did, by their word
PLAIN_RECIPE = "plain"


class View(NamedTuple):
    """One way of preparing an example: its recipe, and which of the recipe's views."""

    recipe: str
    number: int


PLAIN = View(PLAIN_RECIPE, 0)  # the example as it is


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """Everything chosen that decides a row's value; see the module's docstring.

    Attributes:
      backbone: Registry name, or `package.module:factory`.
      settings: The architecture's settings (width, input size, ...), plain data.
      weights: Digest of the trunk's float32 tensors, before BatchNorm folding.
      preprocess: `ImagePreprocess.to_json()`, or another kind's.
      fingerprint: SHA-256 of packaged examples after preprocessing: a library that
        changes pixels changes it, a harmless upgrade does not.
      compute_dtype: One of `COMPUTE_DTYPES`.
      matmul_precision: JAX's name of the precision of matrix products.
      store_dtype: One of `STORE_DTYPES`.
      source: Digest of what a user's own module computes, else "".
      schema: Version of the store's format.
    """

    backbone: str
    settings: Mapping[str, Json]
    weights: str
    preprocess: Mapping[str, Json]
    fingerprint: str
    compute_dtype: str = "float32"
    matmul_precision: str = "highest"
    store_dtype: str = "float16"
    source: str = ""
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        check_choice("compute_dtype", self.compute_dtype, COMPUTE_DTYPES)
        check_choice("store dtype", self.store_dtype, STORE_DTYPES)

    def to_json(self) -> dict[str, Json]:
        """Returns the fields as plain data; `json_digest` of it names the store."""
        return plain_json(dataclasses.asdict(self))

    @property
    def digest(self) -> str:
        """The spec's SHA-256, 64 hexadecimal digits."""
        return json_digest(self.to_json())


def make_declared_spec(
    *, backbone: str, weights: str, preprocess: str, store_dtype: str
) -> dict[str, Json]:
    """Returns the spec of rows that were made elsewhere: what their maker says.

    Nothing of it can be checked, and no row of such a store can be computed here.

    Args:
      backbone: The network, in its maker's words; likewise the next two.
      weights: Its weights.
      preprocess: What was done to the inputs.
      store_dtype: One of `STORE_DTYPES`.
    """
    spec = FeatureSpec(
        backbone=backbone,
        settings={},
        weights=weights,
        preprocess={"kind": DECLARED, "text": preprocess},
        fingerprint="unknown",
        matmul_precision="unknown",
        store_dtype=store_dtype,
    )
    return spec.to_json() | {"compute_dtype": "unknown"}


def is_declared(spec: Mapping[str, Json]) -> bool:
    """Tells whether a spec is of rows that were made elsewhere."""
    preprocess = spec.get("preprocess")
    return isinstance(preprocess, Mapping) and preprocess.get("kind") == DECLARED


class Feature(NamedTuple):
    """A feature name taken apart: `stage3:avg` is output `stage3`, pooling `avg`."""

    output: str
    pooling: str

    @property
    def name(self) -> str:
        """The canonical name: pooling `none` is left out."""
        return self.output if self.pooling == "none" else ":".join(self)


def parse_feature(name: str) -> Feature:
    """Takes a feature name apart.

    Raises:
      BackboneError: The pooling is neither one of images nor one of tokens.

    Example:
      >>> parse_feature("stage3:avg")
      Feature(output='stage3', pooling='avg')
    """
    output, _, pooling = name.partition(":")
    pooling = pooling or "none"
    if pooling not in POOLINGS + TOKEN_POOLINGS:
        raise BackboneError(
            f"Feature {name!r} asks for pooling {pooling!r}; known are "
            f"{', '.join(POOLINGS)} of images, and {', '.join(TOKEN_POOLINGS)} of "
            "texts and recordings. Write it as OUTPUT:POOLING."
        )
    return Feature(output, pooling)


def diff_specs(
    stored: Mapping[str, Json], wanted: Mapping[str, Json]
) -> list[tuple[str, Json, Json]]:
    """Lists the fields that differ as (dotted name, stored, wanted), sorted.

    A field that one side lacks counts as `"(absent)"` there.
    """
    left, right = _flatten(stored), _flatten(wanted)
    return [
        (name, left.get(name, "(absent)"), right.get(name, "(absent)"))
        for name in sorted(left.keys() | right.keys())
        if left.get(name, "(absent)") != right.get(name, "(absent)")
    ]


def check_same_spec(
    what: str, *, stored: Mapping[str, Json], wanted: Mapping[str, Json]
) -> None:
    """Raises unless two specs agree on every field.

    Args:
      what: The start of the message: "Feature store stores/x", "Run runs/y".
      stored: The spec found there.
      wanted: The spec asked for.

    Raises:
      SpecMismatchError: They differ; the message names every field that does.
    """
    differing = diff_specs(stored, wanted)
    if not differing:
        return
    width = max(len(name) for name, _, _ in differing)
    rows = "\n".join(
        f"  {name:<{width}}  stored {_shown(a)}, wanted {_shown(b)}"
        for name, a, b in differing
    )
    raise SpecMismatchError(
        f"{what} was made with another feature spec than the one asked for:\n{rows}\n"
        "Use the backbone, weights and preprocessing that made it, or extract into "
        "another store."
    )


def _flatten(value: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flatten(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat


def _shown(value: Json) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else text
