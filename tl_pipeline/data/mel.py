"""Banks of triangular filters on the mel scale, in double precision."""

import functools

import numpy as np

_BREAK_HERTZ, _BREAK_MEL = 1000.0, 15.0  # where Slaney's scale turns logarithmic
_STEP = np.log(6.4) / 27.0


@functools.cache
def make_slaney_bank(bins: int, *, rate: int, window: int, highest: float):
    """Returns filters of equal area, as librosa makes them and Whisper takes them.

    Args:
      bins: D, how many.
      rate: Samples a second.
      window: Samples of a Fourier transform.
      highest: Where the last filter ends, in Hz.

    Returns:
      [1 + window // 2, D] float64.

    Reference:
      Slaney 1998, Auditory Toolbox, Interval Research Corporation TR 1998-010.
    """
    mels = np.linspace(0.0, _slaney_mel(highest), bins + 2)
    edges = np.where(
        mels < _BREAK_MEL,
        200.0 * mels / 3.0,
        _BREAK_HERTZ * np.exp(_STEP * (mels - _BREAK_MEL)),
    )
    bank = _triangles(np.linspace(0, rate // 2, 1 + window // 2), edges)
    return bank * (2.0 / (edges[2:] - edges[:-2]))


@functools.cache
def make_kaldi_bank(bins: int, *, rate: int, window: int, lowest: float):
    """Returns filters that are triangles in mel and not in Hz, as Kaldi makes them.

    Args:
      bins: D, how many; the last one ends at half the rate.
      rate: Samples a second.
      window: Samples of a Fourier transform.
      lowest: Where the first filter begins, in Hz.

    Returns:
      [1 + window // 2, D] float64.

    Reference:
      Povey et al. 2011 (Kaldi), `src/feat/mel-computations.cc`.
    """
    edges = np.linspace(_kaldi_mel(lowest), _kaldi_mel(rate // 2), bins + 2)
    hertz = rate / window * np.arange(1 + window // 2)
    return _triangles(_kaldi_mel(hertz), edges)


def _slaney_mel(hertz: float) -> float:
    if hertz < _BREAK_HERTZ:
        return 3.0 * hertz / 200.0
    return _BREAK_MEL + float(np.log(hertz / _BREAK_HERTZ) / _STEP)


def _kaldi_mel(hertz):
    return 1127.0 * np.log(1.0 + hertz / 700.0)


def _triangles(places: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns [places, edges - 2]: 1 at each inner edge, 0 from its neighbors on."""
    widths = np.diff(edges)
    slopes = edges[None] - places[:, None]
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling))
