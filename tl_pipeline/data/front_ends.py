"""Recordings become a network's input: float32 [W, T, D] or [W, T] on the host.

A recording is cut into W windows, and each is prepared by itself as the checkpoints'
own feature extractors in transformers prepare a recording. Frames, or samples, that
hold nothing of the recording are NaN: what a network takes there is up to it.

All is computed in double precision. In single precision the quietest bins beside a
loud tone are rounding noise, and differ between any two libraries.
"""

import importlib.resources
from collections.abc import Callable, Mapping

import numpy as np

from tl_pipeline.arrays import array_digest
from tl_pipeline.data.decoding import DecodeError
from tl_pipeline.data.mel import make_kaldi_bank, make_slaney_bank
from tl_pipeline.data.recordings import Recording, decode_recording, resample
from tl_pipeline.preprocess import AudioPreprocess

FRAME, HOP = 400, 160  # samples: 25 and 10 ms at 16,000 a second
# Of a waveform's longest window. A network is compiled for each, and which of them a
# recording has depends on it alone.
SHARES = tuple(k / 16 for k in (1, 2, 3, 4, 6, 8, 12, 16))
_HIGHEST = 8000.0  # Hz, of Whisper's filters
_LOWEST = 20.0  # Hz, of Kaldi's
_KALDI_FFT = 512
_KALDI_FLOOR = 1.192092955078125e-07  # float32's epsilon
_PREEMPHASIS = 0.97
_DIGITS = 3  # of values that the fingerprint is taken over


def prepare_recording(
    recording: Recording, preprocess: AudioPreprocess
) -> tuple[np.ndarray, bool]:
    """Resamples a recording, cuts it into windows and prepares each.

    An end of less than 25 ms behind the last whole window is left out.

    Args:
      recording: From `decode_recording`.
      preprocess: What the backbone wants.

    Returns:
      [W, T, D] or [W, T] float32, NaN where there is nothing of the recording, and
      whether something was cut off.

    Raises:
      DecodeError: It is shorter than 25 ms.
    """
    samples = resample(recording, preprocess.rate)
    if len(samples) < FRAME:
        raise DecodeError(
            f"it lasts {1000 * recording.seconds:.3g} ms; at least "
            f"{1000 * FRAME / preprocess.rate:.3g} ms are needed"
        )
    size, step = _window_size(preprocess)
    starts = [at for at in range(0, len(samples), step) if len(samples) - at >= FRAME]
    most = preprocess.max_windows or len(starts)
    prepare = _FRONT_ENDS[preprocess.front_end]
    windows = [
        prepare(samples[at : at + size].astype(np.float64), preprocess)
        for at in starts[:most]
    ]
    longest = max(fit_window(len(window), preprocess) for window in windows)
    out = np.full((len(windows), longest, *windows[0].shape[1:]), np.nan, np.float32)
    for row, window in zip(out, windows, strict=True):
        row[: len(window)] = window
    return out, len(starts) > most


def fit_window(size: int, preprocess: AudioPreprocess) -> int:
    """Returns T of the shortest window that holds so many frames, or samples.

    Frames are all those of a window, samples those of a length from `SHARES`.
    """
    if preprocess.bins:
        return preprocess.length
    lengths = (int(np.ceil(share * preprocess.length)) for share in SHARES)
    return next(n for n in lengths if n >= size)


def audio_fingerprint(preprocess: AudioPreprocess) -> str:
    """Returns the SHA-256 of packaged recordings after preprocessing, rounded.

    A library that changes sounds changes it, a harmless upgrade does not.

    Raises:
      RequestError: The extra `audio` is not installed.
    """
    folder = importlib.resources.files("tl_pipeline.data") / "fingerprint_audio"
    arrays = {}
    for file in folder.iterdir():
        if file.name.startswith("."):
            continue
        recording = decode_recording(file.read_bytes())
        window, _ = prepare_recording(recording, preprocess)
        there = window[0][~np.isnan(window[0].reshape(len(window[0]), -1)[:, 0])]
        arrays[file.name] = np.round(there.astype(np.float64), _DIGITS) + 0.0  # no -0
    return array_digest(arrays)


def make_windows(preprocess: AudioPreprocess) -> np.ndarray:
    """Returns seeded windows as one batch: a chirp, noise, silence, and short ones.

    Returns:
      [B, T, D] or [B, T] float32, of the longest one's T.
    """
    rng = np.random.default_rng(0)
    n = _window_size(preprocess)[0]
    seconds = np.arange(n) / preprocess.rate
    chirp = 0.5 * np.sin(2 * np.pi * (100 + 500 * seconds) * seconds)
    noise = rng.uniform(-1, 1, n)
    sounds = [chirp, noise, np.zeros(n), chirp[: n // 3], noise[:FRAME], 1e-4 * noise]
    windows = [
        prepare_recording(
            Recording(sound.astype(np.float32), preprocess.rate, 1), preprocess
        )[0][0]
        for sound in sounds
    ]
    batch = np.full((len(windows), *preprocess.input_shape), np.nan, np.float32)
    for row, window in zip(batch, windows, strict=True):
        row[: len(window)] = window
    return batch


def _window_size(preprocess: AudioPreprocess) -> tuple[int, int]:
    """Returns the samples of a window, and from one's beginning to the next one's."""
    if preprocess.front_end == "waveform":
        return preprocess.length, preprocess.length
    step = preprocess.length * HOP
    # Kaldi's frames are not centered: the last one ends behind its own 10 ms.
    more = FRAME - HOP if preprocess.front_end == "kaldi" else 0
    return step + more, step


def _make_whisper(samples: np.ndarray, preprocess: AudioPreprocess) -> np.ndarray:
    """Returns [n, D] of a window, as `WhisperFeatureExtractor`.

    Frames are centered at every tenth millisecond, and those behind the end of the
    recording, which hold none of it, are left out: they are all the lowest value.
    """
    size = preprocess.length * HOP
    padded = np.pad(samples, (0, size - len(samples)))
    padded = np.pad(padded, FRAME // 2, mode="reflect")
    n = min(preprocess.length, -(-(len(samples) + FRAME // 2) // HOP))
    window = np.hanning(FRAME + 1)[:-1]
    spectra = np.abs(np.fft.rfft(_list_frames(padded, n) * window)) ** 2
    bank = make_slaney_bank(
        preprocess.bins, rate=preprocess.rate, window=FRAME, highest=_HIGHEST
    )
    logs = np.log10(np.maximum(spectra @ bank, 1e-10))
    return (np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0


def _make_kaldi(samples: np.ndarray, preprocess: AudioPreprocess) -> np.ndarray:
    """Returns [n, D] of a window, as `ASTFeatureExtractor`, which is Kaldi's `fbank`.

    Frames begin at every tenth millisecond, and none reaches behind the end.
    """
    frames = _list_frames(samples, 1 + (len(samples) - FRAME) // HOP)
    frames = frames - frames.mean(axis=1, keepdims=True)
    first = frames[:, :1] * (1 - _PREEMPHASIS)
    frames = np.concatenate(
        [first, frames[:, 1:] - _PREEMPHASIS * frames[:, :-1]], axis=1
    )
    spectra = np.abs(np.fft.rfft(frames * np.hanning(FRAME), _KALDI_FFT)) ** 2
    bank = make_kaldi_bank(
        preprocess.bins, rate=preprocess.rate, window=_KALDI_FFT, lowest=_LOWEST
    )
    logs = np.log(np.maximum(spectra @ bank, _KALDI_FLOOR))
    return (logs - preprocess.mean) / (2 * preprocess.std)


def _take_waveform(samples: np.ndarray, preprocess: AudioPreprocess) -> np.ndarray:
    """Returns [T] of a window, as `Wav2Vec2FeatureExtractor`, NaN behind its end."""
    if preprocess.normalize:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    length = fit_window(len(samples), preprocess)
    return np.pad(samples, (0, length - len(samples)), constant_values=np.nan)


_FRONT_ENDS: Mapping[str, Callable[[np.ndarray, AudioPreprocess], np.ndarray]] = {
    "whisper": _make_whisper,
    "kaldi": _make_kaldi,
    "waveform": _take_waveform,
}


def _list_frames(samples: np.ndarray, n: int) -> np.ndarray:
    """Returns the first n frames, [n, FRAME], a view of the samples."""
    return np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP][:n]
