"""SpecAugment: the augmentation of recordings while a network is trained on them."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.shares import read_share
from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError

N_MASKS = 2  # along time, and as many along frequency


class Masking(NamedTuple):
    """The longest that a mask may be.

    Attributes:
      time: Of a window's frames, or samples, the share.
      frequency: Of all frequencies the share.
    """

    time: float
    frequency: float


MASKING = {
    "none": Masking(0.0, 0.0),
    "light": Masking(0.05, 0.1),
    "strong": Masking(0.1, 0.3),
}
SETTINGS = {"time_masking": "time", "frequency_masking": "frequency"}


def make_masking(name: str, settings: Mapping[str, Json] | None = None) -> Masking:
    """Returns the longest masks, by a recipe's name and its settings.

    Raises:
      ConfigError: There is no such recipe, or a setting is unknown or unfit.

    Example:
      >>> make_masking("light", {"time_masking": 0.2})
      Masking(time=0.2, frequency=0.1)
    """
    if name not in MASKING:
        raise ConfigError(
            f"Asked for the augmentation {name!r}; known are {', '.join(MASKING)}."
        )
    masking = MASKING[name]
    for key, share in (settings or {}).items():
        if key not in SETTINGS:
            raise ConfigError(
                f"Augmentation of recordings has no setting {key}; it has "
                f"{' and '.join(SETTINGS)}, the largest share that a mask hides."
            )
        masking = masking._replace(**{SETTINGS[key]: read_share(key, share)})
    return masking


@jax.jit
def mask_windows(keys: jax.Array, windows: jax.Array, masking: Masking) -> jax.Array:
    """Hides stretches of time and bands of frequency in the windows of recordings.

    Two of each in every window, of a random length up to the longest, at a random
    place. What is hidden becomes the mean of what the window holds. A waveform's bands
    are taken out of its spectrum.

    Args:
      keys: [B], one a recording.
      windows: [B, W, T, D] of bins or [B, W, T] of samples, float32, NaN where there is
        nothing of the recording.
      masking: The longest masks.

    Returns:
      As `windows`; what is NaN stays.

    Reference:
      Park et al. 2019, without its warping of time, https://arxiv.org/abs/1904.08779
    """

    def mask(key: jax.Array, window: jax.Array) -> jax.Array:
        in_time, in_frequency = jax.random.split(key)
        there = ~jnp.isnan(window if window.ndim == 1 else window[:, 0])
        hidden = _draw_masks(in_time, jnp.sum(there), len(there), masking.time)
        mean = jnp.nanmean(jnp.where(jnp.any(there), window, 0))
        if window.ndim == 1:
            masked = _take_bands(in_frequency, window - mean, masking.frequency) + mean
            return jnp.where(there, jnp.where(hidden, mean, masked), jnp.nan)
        bins = window.shape[1]
        bands = _draw_masks(in_frequency, bins, bins, masking.frequency)
        masked = jnp.where(hidden[:, None] | bands[None], mean, window)
        return jnp.where(there[:, None], masked, jnp.nan)

    def mask_all(key: jax.Array, own: jax.Array) -> jax.Array:
        # A window's masks are its own, however many there are in the batch.
        each = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(own)))
        return jax.vmap(mask)(each, own)

    return jax.vmap(mask_all)(keys, windows)


def _take_bands(key: jax.Array, samples: jax.Array, share: float) -> jax.Array:
    """Returns samples [T] without some bands of their spectrum."""
    size = samples.shape[0]
    spectrum = jnp.fft.rfft(jnp.nan_to_num(samples))
    bands = _draw_masks(key, len(spectrum), len(spectrum), share)
    return jnp.fft.irfft(jnp.where(bands, 0, spectrum), n=size)


def _draw_masks(
    key: jax.Array, length: jax.Array | int, size: int, share: float
) -> jax.Array:
    """Draws masks of up to a share of the first `length` of `size` places: [size]."""
    widths, starts = jax.random.uniform(key, (2, N_MASKS, 1))
    width = jnp.floor(widths * (share * length + 1))
    start = jnp.floor(starts * (length - width + 1))
    place = jnp.arange(size)[None]
    return jnp.any((place >= start) & (place < start + width), axis=0)
