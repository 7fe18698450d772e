"""How recordings become inputs, as `preprocessor_config.json` beside weights says.

transformers writes it for its feature extractors. What it says must be the front end
that the network was made for: a rate, a number of bins or another extractor that is not
the network's own is refused, and so is what cannot be done here.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.errors import MisfitError, shorten
from tl_pipeline.preprocess import AudioPreprocess
from tl_pipeline.weights.beside import read_fields, refuse_field

FILE = "preprocessor_config.json"

_KINDS = {
    "whisper": "WhisperFeatureExtractor",
    "kaldi": "ASTFeatureExtractor",
    "waveform": "Wav2Vec2FeatureExtractor",
}
# What a file may say beside what is read below, and must say so.
_FIXED: Mapping[str, Mapping[str, Any]] = {
    "whisper": {
        "hop_length": 160,
        "n_fft": 400,
        "dither": 0.0,
        "do_normalize": False,
    },
    "kaldi": {"feature_size": 1},
    "waveform": {"feature_size": 1},
}


def read_extractor(folder: Path, usual: AudioPreprocess) -> AudioPreprocess:
    """Returns how recordings become inputs for weights.

    Args:
      folder: That of the weights.
      usual: Of the network: what the file must not deny, and what is taken where there
        is no file.

    Raises:
      MisfitError: The file is of another front end than the network's.
      WeightsError: It cannot be read, or says what is none.
    """
    path = folder / FILE
    if not path.is_file():
        return usual
    said = read_fields(path)
    kind = said.get("feature_extractor_type", _KINDS[usual.front_end])
    wanted: dict[str, Any] = {
        "feature_extractor_type": _KINDS[usual.front_end],
        "sampling_rate": usual.rate,
        "padding_value": 0.0,
        **_FIXED[usual.front_end],
    }
    # What another extractor says means other things.
    if kind == wanted["feature_extractor_type"]:
        wanted |= _list_wanted(usual)
    denied = [
        f"{key}: the file says {shorten(json.dumps(said[key]))}, {value!r} is wanted"
        for key, value in wanted.items()
        if key in said and said[key] is not None and said[key] != value
    ]
    if denied:
        listed = "\n".join(f"  {line}" for line in denied)
        raise MisfitError(
            f"Preprocessing {path} beside the weights is not of their network:\n"
            f"{listed}\nBring the file that is published with the weights, or name the "
            "backbone they belong to."
        )
    return _read_choices(path, said, usual)


def read_length(folder: Path) -> int | None:
    """Returns the frames of a window that the file names; None where it does not.

    Raises:
      WeightsError: It cannot be read, or names no number.
    """
    path = folder / FILE
    length = read_fields(path).get("max_length") if path.is_file() else None
    if length is not None and (type(length) is not int or length < 1):
        refuse_field(path, "max_length", length)
    return length


def _list_wanted(usual: AudioPreprocess) -> dict[str, Any]:
    """Returns the fields that say the sizes of a network's input."""
    if usual.front_end == "whisper":
        seconds = usual.length * 160 / usual.rate
        return {"feature_size": usual.bins, "chunk_length": seconds}
    if usual.front_end == "kaldi":
        return {"num_mel_bins": usual.bins, "max_length": usual.length}
    return {}


def _read_choices(
    path: Path, said: Mapping[str, Any], usual: AudioPreprocess
) -> AudioPreprocess:
    """Returns the front end with what a file may choose."""
    if usual.front_end == "whisper":
        return usual
    normalizes = said.get("do_normalize", True)
    if normalizes not in (True, False):
        refuse_field(path, "do_normalize", normalizes)
    if usual.front_end == "waveform":
        return dataclasses.replace(usual, normalize=normalizes)
    mean, std = (said.get(key, getattr(usual, key)) for key in ("mean", "std"))
    for key, value in (("mean", mean), ("std", std)):
        if type(value) not in (int, float) or not math.isfinite(value):
            refuse_field(path, key, value)
    if not std > 0:
        refuse_field(path, "std", std)
    mean, std = (float(mean), float(std)) if normalizes else (0.0, 0.5)
    return dataclasses.replace(usual, mean=mean, std=std)
