"""Weights of audio networks with what lies beside them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import registry, spectrogram, wav2vec2, whisper
from tl_pipeline.errors import WeightsError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.targets import make_spec
from tl_pipeline.weights.hub import BESIDE
from tl_pipeline.weights.safetensors import write_safetensors

TESTS = Path(__file__).parent.parent
sys.path.append(str(TESTS / "backbones"))

from golden_cases import load_golden  # noqa: E402
from seeded import draw_all, unfold_names  # noqa: E402

GOLDEN = load_golden("audio")["cases"]
CASES = {
    "ASTForAudioClassification": (spectrogram, 64),
    "Wav2Vec2ForPreTraining, old names": (wav2vec2, 16_000),
    "WhisperForConditionalGeneration": (whisper, 100),
}


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The tables with small rows, of the sizes of the files below."""
    for family, length in CASES.values():
        name = f"{family.__name__.rpartition('.')[2]}_row"
        shape = next(iter(family.VARIANTS.values()))
        # AST's own says how long its windows are.
        length = 1024 if family is spectrogram else length
        small = shape._replace(width=48, depth=3, heads=4, length=length)
        monkeypatch.setitem(family.VARIANTS, name, small)
        monkeypatch.setitem(registry._MODULES, name, family.__name__)


def write_folder(folder, case, **beside):
    """Writes a folder as a hub has it."""
    golden = GOLDEN[case]
    folder.mkdir(exist_ok=True)
    arrays = draw_all(unfold_names(golden["names"]), small=1.0)
    write_safetensors(folder / "model.safetensors", arrays, metadata={})
    for name, said in beside.items():
        (folder / f"{name}.json").write_text(json.dumps(said))
    return folder


def load(folder, case, **settings):
    name = f"{GOLDEN[case]['row']}_row"
    return load_backbone(name, weights=folder, settings=settings)


def test_what_a_network_has_no_use_for_is_left_out_and_counted(tmp_path):
    for case, words in (
        ("WhisperForConditionalGeneration", "decoder"),
        ("Wav2Vec2ForPreTraining, old names", "quantizer"),
    ):
        folder = write_folder(tmp_path / words, case)
        backbone = load(folder, case)
        names = unfold_names(GOLDEN[case]["names"])
        assert backbone.weights_origin["left_out"] >= sum(words in n for n in names) > 0
        assert backbone.weights_origin["preprocess"] == "the network's own"


def test_the_windows_of_ast_are_as_long_as_the_files_say(tmp_path):
    case = "ASTForAudioClassification"
    folder = write_folder(tmp_path / "w", case, config={"max_length": 64})
    of_config = load(folder, case)
    assert of_config.settings == {"max_windows": 0, "max_length": 64}
    assert of_config.preprocess.input_shape == (64, 128)
    (folder / "config.json").unlink()
    said = {"max_length": 64, "mean": -1.0, "std": 2.0}
    write_folder(folder, case, preprocessor_config=said)
    of_extractor = load(folder, case, max_windows=5)
    assert of_extractor.settings["max_length"] == 64
    assert of_extractor.preprocess.max_windows == 5
    assert (of_extractor.preprocess.mean, of_extractor.preprocess.std) == (-1.0, 2.0)
    assert of_extractor.weights_origin["preprocess"] == "said beside the file"
    specs = [make_spec(b, store_dtype="float16") for b in (of_config, of_extractor)]
    assert specs[0].digest != specs[1].digest
    assert specs[0].weights == specs[1].weights
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"position_embeddings: the file has \[62,"):
        load(folder, case)


def test_a_front_end_of_other_weights_is_refused_in_one_message(tmp_path):
    case = "Wav2Vec2ForPreTraining, old names"
    said = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80}
    folder = write_folder(tmp_path / "w", case, preprocessor_config=said)
    with pytest.raises(WeightsError, match="is not of their network") as caught:
        load(folder, case)
    assert "'Wav2Vec2FeatureExtractor' is wanted" in str(caught.value)


def test_a_configuration_of_another_network_names_what_differs(tmp_path):
    case = "Wav2Vec2ForPreTraining, old names"
    said = {
        "hidden_size": 48,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    }
    folder = write_folder(tmp_path / "w", case, config=said)
    with pytest.raises(WeightsError) as caught:
        load(folder, case)
    message = str(caught.value)
    assert "feat_extract_norm: the file says \"layer\", 'group' is wanted" in message
    assert "do_stable_layer_norm: the file says true, False is wanted" in message
    assert "conv_kernel" not in message and "hidden_size" not in message


def test_samples_that_are_taken_as_they_are_are_another_store(tmp_path):
    case = "Wav2Vec2ForPreTraining, old names"
    folder = write_folder(tmp_path / "w", case)
    usual = load(folder, case)
    write_folder(folder, case, preprocessor_config={"do_normalize": False})
    plain = load(folder, case)
    assert (usual.preprocess.normalize, plain.preprocess.normalize) == (True, False)
    assert usual.weights_digest == plain.weights_digest
    specs = {make_spec(b, store_dtype="float16").digest for b in (usual, plain)}
    assert len(specs) == 2
    untrained = load_baselines(["random:0"], beside=plain, features=["layer3:mean"])
    assert untrained[0].backbone.preprocess == plain.preprocess


def test_what_lies_beside_audio_weights_on_a_hub_is_brought_with_them():
    assert set(BESIDE["recordings"]) == {"config.json", "preprocessor_config.json"}


def test_a_window_computes_in_half_precision_nearly_the_same(tmp_path):
    case = "WhisperForConditionalGeneration"
    folder = write_folder(tmp_path / "w", case)
    rough = load_backbone("whisper_row", weights=folder, compute_dtype="bfloat16")
    inputs = np.random.default_rng(0).normal(size=(2, 100, 80)).astype(np.float32)
    inputs[1, 40:] = np.nan
    found, exact = (
        np.asarray(backbone.make_forward(["layer3:mean"])(inputs)["layer3:mean"])
        for backbone in (rough, load(folder, case))
    )
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()
