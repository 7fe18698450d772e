"""How an example's bytes become a backbone's input: one class a kind of input.

All of it is part of the feature spec: another size, another tokenizer, another row.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from tl_pipeline.digest import Json, plain_json
from tl_pipeline.errors import ConfigError

POOLINGS = ("avg", "max", "flatten", "none")
TOKEN_POOLINGS = ("cls", "mean", "last", "max", "none")
DEEP = "pillow-16"  # the decoder that keeps 16 bits
DECODERS = ("pillow", DEEP)
UTF8 = "utf-8"  # the decoder of texts
WORD_POOLINGS = ("mean", "sif", "max")
SOUNDFILE = "soundfile"  # the decoder of recordings
FRONT_ENDS = ("whisper", "kaldi", "waveform")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


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
    windowed: ClassVar[bool] = False
    poolings: ClassVar[tuple[str, ...]] = POOLINGS

    def __post_init__(self) -> None:
        check_choice("color", self.color, ("rgb", "bgr", "gray"))
        check_choice("resize", self.resize, ("short", "exact", "none"))
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        check_choice("decoder", self.decoder, DECODERS)
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
        return {"kind": "image", **plain_json(dataclasses.asdict(self))}

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
    windowed: ClassVar[bool] = False
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
    windowed: ClassVar[bool] = False
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


class FoundWord(NamedTuple):
    """A word's vector, float32 [D], and how often a word of a text is it."""

    vector: np.ndarray
    probability: float


class WordTable(Protocol):
    """Vectors of words, to be looked up on the host."""

    def find(self, word: str) -> FoundWord | None:
        """Returns what is known of a word; None where nothing is."""
        ...


@dataclasses.dataclass(frozen=True)
class VectorPreprocess:
    """How a text's bytes become vectors of its words, pooled: float32 [3, D].

    Decode as UTF-8, find words, look them up, pool by `WORD_POOLINGS`: on the host,
    where a table of gigabytes is read in the few places that are needed.

    Attributes:
      size: D.
      smoothing: Of words weighted by frequency: one of this probability counts half.
      table: Where words are looked up. Its digest is that of the weights.
    """

    size: int
    smoothing: float
    table: WordTable | None = dataclasses.field(repr=False, compare=False)

    takes: ClassVar[str] = "texts"
    windowed: ClassVar[bool] = False
    decoder: ClassVar[str] = UTF8
    dtype: ClassVar[str] = "float32"
    poolings: ClassVar[tuple[str, ...]] = ("none",)

    @property
    def input_shape(self) -> tuple[int, int]:
        """(3, D) of every input: one row a pooling."""
        return (len(WORD_POOLINGS), self.size)

    def to_json(self) -> dict[str, Json]:
        """Returns the fields but the table as plain data, the kind among them."""
        return {
            "kind": "vectors",
            "decoder": self.decoder,
            "size": self.size,
            "smoothing": self.smoothing,
        }


@dataclasses.dataclass(frozen=True)
class AudioPreprocess:
    """How a recording's bytes become a network's input, window by window.

    Decode, take the mean of the channels, resample, cut into windows without overlap,
    and prepare each window as if it were a recording of its own: float32 [W, T, D], or
    [W, T] of a waveform, on the host. What holds nothing of the recording is NaN.

    Attributes:
      front_end: `"whisper"`, log10 of mel bins, 8 below their largest at most;
        `"kaldi"`, log of mel bins, `(x - mean) / (2 std)`; `"waveform"`, the samples.
      rate: Samples a second.
      length: T of a window: frames 160 samples apart, or of a waveform the samples.
      bins: D, mel bins; 0 of a waveform.
      mean: Of the bins of `"kaldi"`.
      std: Likewise.
      normalize: Whether each window of a waveform is brought to mean 0, variance 1.
      max_windows: Most windows of a recording; what is behind is cut off. 0: all.
      resampler: The library's quality: soxr's best, in double precision.
    """

    front_end: str
    rate: int
    length: int
    bins: int = 0
    mean: float = 0.0
    std: float = 0.5
    normalize: bool = False
    max_windows: int = 0
    resampler: str = "soxr-vhq"

    takes: ClassVar[str] = "recordings"
    windowed: ClassVar[bool] = True  # an input is [W, ...], and becomes one row
    decoder: ClassVar[str] = SOUNDFILE
    dtype: ClassVar[str] = "float32"

    def __post_init__(self) -> None:
        check_choice("front end", self.front_end, FRONT_ENDS)
        check_choice("resampler", self.resampler, ("soxr-vhq",))

    @property
    def poolings(self) -> tuple[str, ...]:
        """Those of frames, which stay unpooled where no recording has more windows."""
        unpooled = ("none",) if self.max_windows == 1 else ()
        return ("mean", "max", "last", "cls", *unpooled)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(T, D) or (T,) of the longest window."""
        return (self.length, self.bins) if self.bins else (self.length,)

    def to_json(self) -> dict[str, Json]:
        """Returns the fields as plain data, the kind among them."""
        return {
            "kind": "audio",
            "decoder": self.decoder,
            "channels": "mean",
            **plain_json(dataclasses.asdict(self)),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "AudioPreprocess":
        """Makes it from the fields as `to_json` returns them."""
        said = ("kind", "decoder", "channels")
        return cls(**{key: field for key, field in value.items() if key not in said})


Preprocess = (
    ImagePreprocess
    | TextPreprocess
    | BagPreprocess
    | VectorPreprocess
    | AudioPreprocess
)
_TAKEN = {"text": "texts", "bag": "texts", "vectors": "texts", "audio": "recordings"}


def find_taken(spec: Mapping[str, Json]) -> str:
    """Returns what a spec's rows are of: `"images"`, `"texts"` or `"recordings"`."""
    preprocess = spec.get("preprocess")
    kind = preprocess.get("kind") if isinstance(preprocess, Mapping) else None
    return _TAKEN.get(str(kind), "images")


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises a `ConfigError` unless a value is one of the known ones."""
    if value not in choices:
        raise ConfigError(
            f"Asked for {what} {value!r}; known are {', '.join(choices)}."
        )
