"""transformers' audio networks: golden files that golden/make_audio.py wrote."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import registry, spectrogram, wav2vec2, whisper
from tl_pipeline.backbones.intake import find_intake
from tl_pipeline.backbones.recordings import count_frames
from tl_pipeline.data.front_ends import prepare_recording
from tl_pipeline.data.recordings import Recording
from tl_pipeline.errors import MisfitError
from tl_pipeline.preprocess import AudioPreprocess
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.weights.safetensors import write_safetensors

sys.path.append(str(Path(__file__).parent))

from golden_cases import (  # noqa: E402
    check_case,
    check_names,
    load_golden,
)
from seeded import draw_all, draw_recording, sample, unfold_names  # noqa: E402

GOLDEN = load_golden("audio")
FAMILIES = (spectrogram, wav2vec2, whisper)
LENGTH = {"whisper": 100, "wav2vec2": 16_000, "spectrogram": 64}
MEAN, STD = spectrogram.MEAN, spectrogram.STD
FRONT_ENDS = {
    "whisper": AudioPreprocess("whisper", 16_000, 3000, 80),
    "whisper in numpy": AudioPreprocess("whisper", 16_000, 3000, 80),
    "whisper 128": AudioPreprocess("whisper", 16_000, 3000, 128),
    "ast": AudioPreprocess("kaldi", 16_000, 1024, 128, MEAN, STD),
    "ast as it is": AudioPreprocess("kaldi", 16_000, 128, 128),
    "wav2vec2": AudioPreprocess("waveform", 16_000, 250_000, normalize=True),
    "wav2vec2 as it is": AudioPreprocess("waveform", 16_000, 250_000),
}


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """Each family's table with a small row, which the same code makes."""
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        shape = next(iter(family.VARIANTS.values()))
        small = shape._replace(width=48, depth=3, heads=4, length=LENGTH[name])
        monkeypatch.setitem(family.VARIANTS, f"{name}_small_row", small)
        monkeypatch.setitem(registry._MODULES, f"{name}_small_row", family.__name__)


def load_case(folder, golden, **settings):
    """Writes a golden case's weights, and loads them."""
    folder.mkdir(exist_ok=True)
    arrays = draw_all(unfold_names(golden["names"]), small=golden["small"])
    write_safetensors(folder / "model.safetensors", arrays, metadata={})
    name = f"{golden['row']}_small_row"
    return load_backbone(name, weights=folder, settings=settings)


def prepare(n, preprocess):
    windows, _ = prepare_recording(Recording(draw_recording(n), 16_000, 1), preprocess)
    return windows[0]


def prepare_batch(lengths, preprocess):
    """Returns the first windows as one batch, [B, ...], samples padded with NaN."""
    inputs = [prepare(n, preprocess) for n in lengths]
    longest = max(map(len, inputs))
    rest = ((0, 0),) * (inputs[0].ndim - 1)
    return np.stack(
        [
            np.pad(one, ((0, longest - len(one)), *rest), constant_values=np.nan)
            for one in inputs
        ]
    )


@pytest.mark.parametrize("case", GOLDEN["front ends"])
def test_a_front_end_is_that_of_transformers(case):
    name, _, n = case.rpartition(", ")
    preprocess, golden = FRONT_ENDS[name], GOLDEN["front ends"][case]
    inputs = prepare(int(n), preprocess)
    assert inputs.shape[0] == preprocess.length or preprocess.front_end == "waveform"
    take = find_intake(preprocess).take
    ours = np.asarray(take(inputs[None], preprocess, "float32"))[0]
    if preprocess.front_end == "waveform":
        ours = ours[~np.isnan(ours)]
    assert list(ours.shape) == golden["shape"]
    np.testing.assert_allclose(sample(ours), golden["values"], atol=1e-4, rtol=0)
    assert np.abs(ours).max() == pytest.approx(golden["largest"], abs=1e-4)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_every_layer_of_a_padded_batch_is_that_of_transformers(tmp_path, case):
    golden = GOLDEN["cases"][case]
    backbone = load_case(tmp_path / "w", golden, max_windows=1)
    assert list(backbone.feature_shapes()) == list(golden["outputs"])
    inputs = prepare_batch(golden["lengths"], backbone.preprocess)
    outputs = backbone.make_forward(list(golden["outputs"]))(inputs)
    check_case(
        {
            name: (np.asarray(outputs[name]), theirs)
            for name, theirs in golden["outputs"].items()
        }
    )


@pytest.mark.parametrize("name", GOLDEN["names"])
def test_each_published_file_has_a_place_for_all_it_holds(name):
    check_names(name, "transformers", GOLDEN["names"][name])


def test_every_variant_is_checked():
    families = [family.__name__.rpartition(".")[2] for family in FAMILIES]
    names = {name for family in families for name in registry._FAMILIES[family]}
    assert names == set(GOLDEN["names"])


def test_a_kernel_of_positions_is_the_same_under_its_old_and_new_names(tmp_path):
    cases = [
        GOLDEN["cases"][f"Wav2Vec2For{kind}"]
        for kind in ("PreTraining, old names", "CTC, new names")
    ]
    arrays = draw_all(unfold_names(cases[0]["names"]), small=1)
    digests = []
    for number, swap in enumerate((("", ""), ("weight_", "parametrizations.weight."))):
        folder = tmp_path / str(number)
        folder.mkdir()
        renamed = {
            name.replace(*swap)
            .replace("weight.g", "weight.original0")
            # The other half of the pair.
            .replace("weight.v", "weight.original1"): array
            for name, array in arrays.items()
        }
        write_safetensors(folder / "model.safetensors", renamed, metadata={})
        digests.append(
            load_backbone("wav2vec2_small_row", weights=folder).weights_digest
        )
    assert digests[0] == digests[1]


@pytest.mark.parametrize("case", ["WhisperModel", "Wav2Vec2Model", "ASTModel"])
def test_poolings_see_what_there_is_of_a_recording_and_no_more(tmp_path, case):
    golden = GOLDEN["cases"][case]
    backbone = load_case(tmp_path / "w", golden, max_windows=1)
    inputs = prepare_batch(golden["lengths"], backbone.preprocess)
    names = ["layer2", *(f"layer2:{p}" for p in ("cls", "mean", "last", "max"))]
    outputs = {
        k: np.asarray(x) for k, x in backbone.make_forward(names)(inputs).items()
    }
    for row, n in enumerate(golden["lengths"]):
        frames = {
            "whisper": (min(100, -(-(n + 200) // 160)) + 1) // 2,
            "wav2vec2": count_frames(n),
        }
        there = outputs["layer2"][row]
        if golden["row"] == "spectrogram":
            columns = min(5, -(-(1 + (n - 400) // 160) // 10))
            patches = there[2:].reshape(12, 5, -1)
            there = np.concatenate(
                [there[:2], patches[:, :columns].reshape(-1, there.shape[-1])]
            )
        else:
            behind = there[frames[golden["row"]] :]
            # Whisper looks at the silence behind; samples come in several lengths.
            assert behind.any() == (golden["row"] == "whisper" and len(behind) > 0)
            there = there[: frames[golden["row"]]]
        expected = {
            "cls": there[0],
            "last": there[-1],
            "max": there.max(axis=0),
            "mean": there.mean(axis=0),
        }
        for pooling, values in expected.items():
            found = outputs[f"layer2:{pooling}"][row]
            np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-5)


def test_a_row_does_not_depend_on_the_length_that_it_is_padded_to(tmp_path):
    golden = GOLDEN["cases"]["Wav2Vec2Model"]
    backbone = load_case(tmp_path / "w", golden)
    forward = backbone.make_forward(["layer0:max", "layer3:mean"])
    inputs = prepare(9_001, backbone.preprocess)
    longer = np.pad(inputs, (0, 3001), constant_values=np.nan)
    alone = forward(inputs[~np.isnan(inputs)][None])
    for name, rows in forward(longer[None]).items():
        other = np.asarray(alone[name])
        np.testing.assert_allclose(np.asarray(rows), other, rtol=1e-4, atol=1e-5)


def test_a_network_of_other_bins_is_another(tmp_path):
    golden = GOLDEN["cases"]["WhisperModel"]
    folder = tmp_path / "w"
    load_case(folder, golden)
    said = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(
        MisfitError, match="feature_size: the file says 128, 80 is want"
    ):
        load_backbone("whisper_small_row", weights=folder)
