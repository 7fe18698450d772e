import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import registry, spectrogram, wav2vec2, whisper
from tl_pipeline.data.front_ends import prepare_recording
from tl_pipeline.data.recordings import Recording
from tl_pipeline.errors import BackboneError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.lanes import Batches
from tl_pipeline.stages.windows import join_windows, measure_windows

sys.path.append(str(Path(__file__).parents[1] / "data"))

from sounds import make_tone  # noqa: E402

NAMES = ("layer1:mean", "layer1:max", "layer1:last", "layer1:cls")


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The tables with small rows, whose windows are of a second, or less."""
    for family, length in ((whisper, 100), (wav2vec2, 4_000), (spectrogram, 64)):
        kind = family.__name__.rpartition(".")[2]
        shape = next(iter(family.VARIANTS.values()))
        small = shape._replace(width=48, depth=1, heads=4, length=length)
        monkeypatch.setitem(family.VARIANTS, f"{kind}_row", small)
        monkeypatch.setitem(registry._MODULES, f"{kind}_row", family.__name__)


def prepare(samples, backbone):
    recording = Recording(np.asarray(samples, np.float32), 16_000, 1)
    return prepare_recording(recording, backbone.preprocess)[0]


def compute(backbone, examples, *, size=4):
    batches = Batches(backbone.make_forward(NAMES), batch_size=size, windowed=True)
    for example in examples:
        batches.push(example)
    return batches.finish()


def test_windows_are_joined_by_how_they_are_pooled():
    rows = {
        "a:mean": np.float32([[1], [3], [5], [9]]),
        "a:max": np.float32([[1], [3], [5], [9]]),
        "a:last": np.float32([[1], [3], [5], [9]]),
        "pooler": np.float32([[1], [3], [5], [9]]),
    }
    joined = join_windows(rows, [np.array([8, 2, 2]), np.array([4])])
    assert {name: values.ravel().tolist() for name, values in joined.items()} == {
        "a:mean": [2, 9],  # (8 * 1 + 2 * 3 + 2 * 5) / 12
        "a:max": [5, 9],
        "a:last": [5, 9],
        "pooler": [2, 9],
    }
    assert all(values.dtype == np.float32 for values in joined.values())


def test_a_window_is_measured_by_what_it_holds():
    windows = np.zeros((3, 4, 2), np.float32)
    windows[2, 1:] = np.nan
    assert measure_windows(windows).tolist() == [4, 4, 1]
    assert measure_windows(windows[..., 0]).tolist() == [4, 4, 1]


def test_the_mean_over_windows_is_that_of_all_frames():
    backbone = load_backbone("whisper_row", weights="random:0")
    whole = load_backbone(
        "whisper_row", weights="random:0", settings={"max_windows": 1}
    )
    sound = make_tone(2.48)
    joined = compute(backbone, [prepare(sound, backbone)])
    frames = np.concatenate(
        [
            np.asarray(whole.make_forward(["layer1"])(window[None])["layer1"])[0]
            for window in prepare(sound, backbone)
        ]
    )
    # Of the last window some 50 of 100 frames, 25 of 50 after the convolutions.
    assert len(frames) == 50 + 50 + 50
    there = frames[: 50 + 50 + 25]
    np.testing.assert_allclose(
        joined["layer1:mean"][0], there.mean(axis=0), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(joined["layer1:max"][0], there.max(axis=0), rtol=1e-4)
    np.testing.assert_allclose(joined["layer1:last"][0], there[-1], rtol=1e-4)


@pytest.mark.parametrize("name", ["whisper_row", "wav2vec2_row"])
def test_a_row_does_not_depend_on_its_neighbors(name):
    backbone = load_backbone(name, weights="random:0")
    second = 16_000 if name == "whisper_row" else 4_000
    lengths = (0.3, 2.4, 1.0, 3.1)
    one = [prepare(make_tone(n * second / 16_000), backbone) for n in lengths]
    assert [len(windows) for windows in one] == [1, 3, 1, 4]
    alone = [compute(backbone, [windows]) for windows in one]
    together = compute(backbone, [*one, *one[::-1], one[1]])
    order = [*range(4), *range(4)[::-1], 1]
    for feature in NAMES:
        expected = np.concatenate([alone[i][feature] for i in order])
        # A convolution's sums may be in another order at another place of a batch.
        np.testing.assert_allclose(
            together[feature], expected, rtol=1e-5, atol=1e-5, err_msg=feature
        )


def test_a_vector_of_each_window_becomes_their_mean():
    backbone = load_backbone("spectrogram_row", weights="random:0")
    windows = prepare(make_tone(1.0), backbone)  # of 0.64 s
    batches = Batches(backbone.make_forward(["pooler"]), batch_size=4, windowed=True)
    batches.push(windows)
    alone = np.asarray(backbone.make_forward(["pooler"])(windows)["pooler"])
    frames = np.array([64, 34])  # of 98
    expected = frames @ alone / frames.sum()
    np.testing.assert_allclose(batches.finish()["pooler"][0], expected, rtol=1e-4)


def test_frames_stay_unpooled_only_where_a_recording_is_one_window():
    backbone = load_backbone("whisper_row", weights="random:0")
    with pytest.raises(BackboneError, match="pooled by mean, max, last, cls. Ask for"):
        backbone.make_forward(["layer1"])
    one = load_backbone("whisper_row", weights="random:0", settings={"max_windows": 1})
    one.make_forward(["layer1"])
    for windows in (-1, 2**16 + 1):
        with pytest.raises(BackboneError, match=f"max_windows = {windows}; it takes"):
            load_backbone(
                "whisper_row", weights="random:0", settings={"max_windows": windows}
            )
