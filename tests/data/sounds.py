"""Sound files, as bytes."""

import io

import numpy as np
import soundfile


def make_tone(seconds: float, *, rate: int = 16_000, hertz: float = 440.0):
    """Returns a tone with a little noise, [n] float64."""
    n = round(seconds * rate)
    noise = np.random.default_rng(n).uniform(-0.01, 0.01, n)
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(n) / rate) + noise


def encode(samples, rate: int = 16_000, *, format: str = "WAV", **options) -> bytes:
    """Returns a sound file of [n] or [n, channels]."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, **options)
    return buffer.getvalue()
