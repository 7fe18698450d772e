import jax.numpy as jnp
import numpy as np
import pytest

from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recordings import Masking, make_masking, mask_windows
from tl_pipeline.errors import ConfigError

N, FRAMES, BINS = 48, 60, 20
# Windows of bins, each [i, 0] full and [i, 1] of i frames; no value is the mean.
SPECTRA = np.random.default_rng(0).normal(size=(N, 2, FRAMES, BINS)).astype(np.float32)
for _i, _pair in enumerate(SPECTRA):
    _pair[1, _i:] = np.nan


def mask(windows: np.ndarray, masking: Masking, *, seed: int = 0) -> np.ndarray:
    keys = make_keys(seed, np.arange(len(windows)), 3)
    return np.asarray(mask_windows(keys, jnp.asarray(windows), masking))


def longest_runs(hidden: np.ndarray) -> int:
    """Returns the longest stretch of what is true."""
    edges = np.flatnonzero(np.diff(np.r_[0, hidden.astype(int), 0]))
    return max(edges[1::2] - edges[::2], default=0)


def test_masks_hide_whole_frames_and_whole_bins_behind_the_mean() -> None:
    after = mask(SPECTRA, Masking(0.2, 0.3))
    np.testing.assert_array_equal(np.isnan(after), np.isnan(SPECTRA))
    runs = []
    for before, one in zip(SPECTRA[:, 0], after[:, 0], strict=True):
        hidden = before != one
        np.testing.assert_allclose(one[hidden], before.mean(), atol=1e-6)
        frames, bins = hidden.all(axis=1), hidden.all(axis=0)
        np.testing.assert_array_equal(hidden, frames[:, None] | bins[None])
        runs.append((longest_runs(frames), longest_runs(bins)))
    # Two masks may touch; a mask alone is at most its share.
    assert max(frames for frames, _ in runs) in range(9, 2 * 12 + 1)
    assert max(bins for _, bins in runs) in range(4, 2 * 6 + 1)


def test_time_masks_stay_within_what_there_is_and_are_a_share_of_it() -> None:
    after = mask(SPECTRA, Masking(0.5, 0.0))
    shares = []
    for n, (before, one) in enumerate(zip(SPECTRA[:, 1], after[:, 1], strict=True)):
        hidden = (before != one)[:n].all(axis=1)
        shares.append(hidden.sum() / max(n, 1))
    long = np.array(shares[20:])
    assert 0.2 < long.mean() < 0.6  # of two up to a half each, which overlap


def test_nothing_is_hidden_where_nothing_is_asked() -> None:
    np.testing.assert_array_equal(mask(SPECTRA, Masking(0.0, 0.0)), SPECTRA)


def test_masks_are_a_function_of_key_and_window_alone() -> None:
    masking = Masking(0.2, 0.2)
    whole = mask(SPECTRA, masking)
    np.testing.assert_array_equal(whole, mask(SPECTRA, masking))
    assert (whole != mask(SPECTRA, masking, seed=1))[:, 0].any()
    keys = make_keys(0, [11], 3)
    more = np.full((1, 4, FRAMES, BINS), np.nan, np.float32)
    more[:, :2] = SPECTRA[11:12]
    alone = np.asarray(mask_windows(keys, jnp.asarray(more), masking))
    np.testing.assert_array_equal(alone[0, :2], whole[11])
    assert np.isnan(alone[0, 2:]).all()


def test_a_waveform_loses_stretches_and_bands() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(N, 1, 4_000)).astype(np.float32)
    samples[:, :, 3_000:] = np.nan
    in_time = mask(samples, Masking(0.2, 0.0))[:, 0, :3_000]
    before = samples[:, 0, :3_000]
    hidden = np.abs(in_time - before) > 1e-4
    assert 0.05 < hidden.mean() < 0.3
    for row, own in zip(hidden, in_time, strict=True):
        assert np.ptp(own[row]) < 1e-5 if row.any() else True

    banded = mask(samples, Masking(0.0, 0.4))
    np.testing.assert_array_equal(np.isnan(banded), np.isnan(samples))
    lost = []
    for old, new in zip(before, banded[:, 0, :3_000], strict=True):
        # What is cut off behind the end spreads a band's edges a little.
        power = [np.abs(np.fft.rfft(x)) ** 2 for x in (old, new)]
        smooth = [np.convolve(p, np.ones(50) / 50, mode="valid") for p in power]
        lost.append((smooth[1] < 0.2 * smooth[0]).mean())
    assert 0.1 < np.mean(lost) < 0.5


def test_one_compilation_serves_every_masking() -> None:
    mask(SPECTRA, Masking(0.1, 0.1))
    before = mask_windows._cache_size()
    mask(SPECTRA, Masking(0.2, 0.05))
    assert mask_windows._cache_size() == before


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("heavy", {}, "'heavy'; known are none, light, strong"),
        ("light", {"token_dropping": 0.1}, "no setting token_dropping"),
        ("light", {"time_masking": 1.0}, "time_masking = 1.0: give a number from 0"),
        ("light", {"frequency_masking": True}, "from 0 to 0.9"),
    ],
)
def test_a_wrong_request_is_told(name: str, settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_masking(name, settings)


def test_a_setting_replaces_a_recipes_own() -> None:
    assert make_masking("none") == (0, 0)
    assert make_masking("light", {"frequency_masking": 0}) == (0.05, 0)
    strong = make_masking("strong")
    assert strong.time > 0.05 and strong.frequency > 0.1
