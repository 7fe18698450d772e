"""Bytes become a recording: samples of one channel, or a `DecodeError` with the reason.

WAV, FLAC and Ogg (Vorbis, Opus) are read by soundfile, of the extra `audio`. Several
channels become their mean. What a header claims is checked before it is believed: a
file that ends before its header says is damaged, and so is one with no samples.
"""

import io
from types import ModuleType
from typing import NamedTuple

import numpy as np

from tl_pipeline.data.containers import find_damage
from tl_pipeline.data.decoding import DecodeError
from tl_pipeline.errors import RequestError, shorten

# libsndfile knows more, and takes what is damaged for one that it tells stderr about.
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS")
MAX_SAMPLES = 2**28  # of a channel: 1 GiB as float32
MAX_SECONDS = 4 * 3600  # resampled, they too are to fit
RATES = (1_000, 1_000_000)  # samples a second, of telephones to bats
_BLOCK = 2**18  # samples of each channel that are read at once


class Recording(NamedTuple):
    """What a file holds.

    Attributes:
      samples: [n] float32, from -1 to 1 of whole numbers.
      rate: Samples a second.
      channels: How many there were.
    """

    samples: np.ndarray
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


def decode_recording(data: bytes, *, max_samples: int = MAX_SAMPLES) -> Recording:
    """Decodes a sound file, and takes the mean of its channels.

    Args:
      data: A WAV, FLAC or Ogg file.
      max_samples: Of each channel; a file that has more is none of this package.

    Raises:
      DecodeError: The bytes are no such file, end too soon, or hold no samples.
      RequestError: soundfile is not installed.
    """
    if not data:
        raise DecodeError("it is empty: 0 bytes")
    if not data.startswith(MAGIC):
        raise DecodeError(f"it is none of WAV, FLAC, OGG; it begins with {data[:8]!r}")
    soundfile = load_audio_library("soundfile")
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise DecodeError(
            f"it is no WAV, FLAC or OGG, or its header is damaged: "
            f"{shorten(error.error_string)}"
        ) from None
    with file:
        _check_size(file.frames, file.samplerate, max_samples)
        if (damage := find_damage(data)) is not None:
            raise DecodeError(damage)
        try:
            samples = _read(file, max_samples)
        except soundfile.LibsndfileError as error:
            reason = shorten(error.error_string)
            raise DecodeError(f"it cannot be decoded: {reason}") from error
        claimed = file.frames
        if len(samples) < claimed < 2**62:  # a stream's header knows of no end
            raise DecodeError(
                f"it is cut short: {len(samples):,} of {claimed:,} samples"
            )
        if not len(samples):
            raise DecodeError("it holds no sound: 0 samples")
        if not np.isfinite(samples).all():
            raise DecodeError("it holds samples that are no numbers")
        return Recording(samples, file.samplerate, file.channels)


def resample(recording: Recording, rate: int) -> np.ndarray:
    """Returns the samples at another rate, [m] float32.

    Raises:
      RequestError: soxr is not installed.
    """
    if recording.rate == rate:
        return recording.samples
    soxr = load_audio_library("soxr")
    return soxr.resample(recording.samples, recording.rate, rate, quality="VHQ")


def load_audio_library(name: str) -> ModuleType:
    """Returns a library of the extra `audio`, which whoever brings images need not.

    Raises:
      RequestError: It is not installed, or lacks a library of the system's.
    """
    try:
        if name == "soxr":
            import soxr

            return soxr
        import soundfile

        return soundfile
    except (ImportError, OSError) as error:
        raise RequestError(
            f"Recordings are read by {name}, which cannot be loaded: "
            f"{shorten(error)}. Install it: pip install 'tl-pipeline[audio]'"
        ) from error


def _check_size(samples: int, rate: int, max_samples: int) -> None:
    least, most = RATES
    if not least <= rate <= most:
        raise DecodeError(
            f"its header claims {rate:,} samples a second; {least:,} to {most:,} are "
            "read"
        )
    claimed = 0 if samples >= 2**62 else samples
    if claimed > min(max_samples, MAX_SECONDS * rate):
        raise DecodeError(
            f"its header claims {samples:,} samples, {samples / rate / 3600:.3g} h; at "
            f"most {max_samples:,}, and {MAX_SECONDS // 3600} h, are read: split it"
        )


def _read(file, max_samples: int) -> np.ndarray:
    most = min(max_samples, MAX_SECONDS * file.samplerate)
    blocks, n = [], 0
    while True:
        block = file.read(_BLOCK, dtype="float32", always_2d=True)
        if not len(block):
            break
        n += len(block)
        if n > most:
            raise DecodeError(f"it has more than {most:,} samples: split it")
        mixed = block.mean(axis=1, dtype=np.float64) if block.shape[1] > 1 else block
        blocks.append(mixed.astype(np.float32).reshape(-1))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
