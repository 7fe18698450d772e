"""The feature spec: everything chosen by a person that decides a row's value.

Its digest names the store. Feature names, views, paths, batch size, workers, targets,
splits and dates are no part of it: changing them never makes a stored row wrong.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from tl_pipeline.arrays import COMPUTE_DTYPES, STORE_DTYPES
from tl_pipeline.digest import Json, json_digest
from tl_pipeline.errors import BackboneError, ConfigError, SpecMismatchError

SCHEMA_VERSION = 1
POOLINGS = ("avg", "max", "flatten", "none")
TOKEN_POOLINGS = ("cls", "mean", "last", "max", "none")
DEEP = "pillow-16"  # the decoder that keeps 16 bits
DECODERS = ("pillow", DEEP)
UTF8 = "utf-8"  # the decoder of texts
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
DECLARED = "declared"  # the kind of preprocessing that others did, by their word
PLAIN_RECIPE = "plain"


class View(NamedTuple):
    """One way of preparing an example: its recipe, and which of the recipe's views."""

    recipe: str
    number: int


PLAIN = View(PLAIN_RECIPE, 0)  # the example as it is


@dataclasses.dataclass(frozen=True)
class ImagePreprocess:
    """How an image's bytes become the backbone's input.

    Decode, convert to `color`, resize, crop the center: uint8 [H, W, C] on the host.
    Then, with the backbone on the device, `(x * scale - mean) / std`.

    Attributes:
      color: `"rgb"`, `"bgr"` (the same three channels, reversed) or `"gray"`.
      resize: `"short"` scales the shorter side to `resize_size`, keeping the aspect;
        `"exact"` scales to `size`, whatever the aspect; `"none"` takes images that
        already have `size`.
      resize_size: Pixels of the shorter side, for `"short"`.
      size: (H, W) of the input. After `"short"` the center of this size is cropped.
      interpolation: One of `INTERPOLATIONS`; reducing always averages over the
        source pixels covered (antialiasing), as Pillow does.
      scale: Factor on the uint8 values.
      mean: One value a channel, in scaled units.
      std: One value a channel, in scaled units.
      decoder: What turns bytes into pixels: `"pillow"`, 8 bits of each color, or
        `"pillow-16"`, which keeps 16, as uint16 of 257 times the value of 8: of gray
        images alone, because Pillow itself reads 8 bits of 16-bit color.
    """

    color: str
    resize: str
    resize_size: int | None
    size: tuple[int, int]
    interpolation: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoder: str = "pillow"

    takes: ClassVar[str] = "images"
    poolings: ClassVar[tuple[str, ...]] = POOLINGS

    def __post_init__(self) -> None:
        _check_choice("color", self.color, ("rgb", "bgr", "gray"))
        _check_choice("resize", self.resize, ("short", "exact", "none"))
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        _check_choice("decoder", self.decoder, DECODERS)
        if (self.resize == "short") != (self.resize_size is not None):
            raise ConfigError(
                f'Preprocessing has resize = "{self.resize}" and resize_size = '
                f'{self.resize_size}: a size of the shorter side goes with "short".'
            )
        if self.resize_size is not None and self.resize_size < max(self.size):
            raise ConfigError(
                f"Preprocessing resizes the shorter side to {self.resize_size} pixels "
                f"and crops {list(self.size)} from it: crop at most the shorter side."
            )
        if not len(self.mean) == len(self.std) == self.channels:
            raise ConfigError(
                f'Preprocessing for color "{self.color}" needs {self.channels} values '
                f"of mean and std, got {len(self.mean)} and {len(self.std)}."
            )

    @property
    def channels(self) -> int:
        """C of the input."""
        return 1 if self.color == "gray" else 3

    @property
    def dtype(self) -> str:
        """Of the input on the host."""
        return "uint16" if self.decoder == DEEP else "uint8"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the input."""
        return (*self.size, self.channels)

    def to_json(self) -> dict[str, Json]:
        """Returns the fields as plain data, the kind among them."""
        return {"kind": "image", **_plain(dataclasses.asdict(self))}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ImagePreprocess":
        """Makes it from the fields as `to_json` returns them."""
        fields: dict[str, Any] = {
            key: tuple(field) if isinstance(field, list) else field
            for key, field in value.items()
            if key != "kind"
        }
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class TextPreprocess:
    """How a text's bytes become token ids.

    Decode as UTF-8, tokenize, cut: int32 [T] on the host, behind its end -1.

    Attributes:
      tokenizer: SHA-256 of `content`.
      max_length: Most tokens, special ones among them; the rest is cut off.
      content: The tokenizer, as the canonical JSON that the `tokenizers` library reads.
        It is long, and stands for nothing that its digest does not.
    """

    tokenizer: str
    max_length: int
    content: str = dataclasses.field(repr=False, compare=False)

    takes: ClassVar[str] = "texts"
    decoder: ClassVar[str] = UTF8
    dtype: ClassVar[str] = "int32"
    poolings: ClassVar[tuple[str, ...]] = TOKEN_POOLINGS

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(T,) of the longest input."""
        return (self.max_length,)

    def to_json(self) -> dict[str, Json]:
        """Returns what decides a row as plain data, the kind among it."""
        return {
            "kind": "text",
            "decoder": self.decoder,
            "tokenizer": self.tokenizer,
            "max_length": self.max_length,
        }


@dataclasses.dataclass(frozen=True)
class BagPreprocess:
    """How a text's bytes become counts of its words, hashed: float32 [D] on the host.

    Attributes:
      size: D, how many places words share.
    """

    size: int

    takes: ClassVar[str] = "texts"
    decoder: ClassVar[str] = UTF8
    dtype: ClassVar[str] = "float32"
    poolings: ClassVar[tuple[str, ...]] = ("none",)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(D,) of every input."""
        return (self.size,)

    def to_json(self) -> dict[str, Json]:
        """Returns the fields as plain data, the kind among them."""
        return {"kind": "bag", "decoder": self.decoder, "size": self.size}


Preprocess = ImagePreprocess | TextPreprocess | BagPreprocess


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
        _check_choice("compute_dtype", self.compute_dtype, COMPUTE_DTYPES)
        _check_choice("store dtype", self.store_dtype, STORE_DTYPES)

    def to_json(self) -> dict[str, Json]:
        """Returns the fields as plain data; `json_digest` of it names the store."""
        return _plain(dataclasses.asdict(self))

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


def find_taken(spec: Mapping[str, Json]) -> str:
    """Returns what a spec's rows are of: `"images"` or `"texts"`."""
    preprocess = spec.get("preprocess")
    kind = preprocess.get("kind") if isinstance(preprocess, Mapping) else None
    return "texts" if kind in ("text", "bag") else "images"


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
      BackboneError: The pooling is neither one of images nor one of texts.

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
            "texts. Write it as OUTPUT:POOLING."
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


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"Asked for {what} {value!r}; known are {', '.join(choices)}."
        )


def _plain(value: Json) -> dict[str, Json]:
    """Makes tuples lists, so that a spec equals itself after a trip through JSON."""

    def plain(value: Json) -> Json:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    result = plain(value)
    assert isinstance(result, dict)
    return result


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
