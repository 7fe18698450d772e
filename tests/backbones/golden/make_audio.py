"""Makes audio.json: transformers' feature extractors, and networks on what they make.

    python tests/backbones/golden/make_audio.py

Made with torch 2.13.0, transformers 5.23.0, without torchaudio: AST's extractor then
computes in NumPy what torchaudio's `fbank` does.
"""

from pathlib import Path

import numpy as np
import torch
from seeded import (
    describe_output,
    draw_all,
    draw_recording,
    fold_names,
    write_golden,
)
from torch_oracles import load_published, published_shapes, state_shapes, transformers

t = transformers
LENGTHS = (16_000, 9_001, 6_240, 450)  # samples: a window, parts of it, next to nothing
LONG = (35 * 16_000, 8 * 16_000 + 77, 700)
WIDTH, DEPTH, HEADS = 48, 3, 4
WHISPER = {
    "d_model": WIDTH,
    "encoder_layers": DEPTH,
    "encoder_attention_heads": HEADS,
    "encoder_ffn_dim": 4 * WIDTH,
    "max_source_positions": 50,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 8,
    "vocab_size": 60,
    "max_target_positions": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
WAV2VEC2 = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "conv_dim": (32,) * 7,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "num_codevectors_per_group": 4,
    "vocab_size": 8,
}
AST = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "max_length": 64,
}


def whisper_extractor(**settings):
    """Returns the function of samples, [T, bins]."""
    extractor = t.WhisperFeatureExtractor(**settings)
    return lambda x: extractor(x, sampling_rate=16_000)["input_features"][0].T


def whisper_in_numpy(**settings):
    """Returns the same without torch, in double precision."""
    extractor = t.WhisperFeatureExtractor(**settings)

    def extract(x):
        padded = np.zeros(extractor.n_samples, np.float32)
        padded[: len(x)] = x[: len(padded)]
        return extractor._np_extract_fbank_features(padded[None], "cpu")[0].T

    return extract


def ast_extractor(**settings):
    """Returns the function of samples, [T, bins]."""
    extractor = t.ASTFeatureExtractor(**settings)
    return lambda x: np.asarray(extractor(x, sampling_rate=16_000)["input_values"][0])


def wav2vec2_extractor(**settings):
    """Returns the function of samples, [T]."""
    extractor = t.Wav2Vec2FeatureExtractor(**settings)
    return lambda x: np.asarray(extractor(x, sampling_rate=16_000)["input_values"][0])


def make_front_ends() -> dict:
    """Returns what extractors at their full size make of long and short recordings."""
    extractors = {
        "whisper": whisper_extractor(feature_size=80),
        "whisper in numpy": whisper_in_numpy(feature_size=80),
        "whisper 128": whisper_extractor(feature_size=128),
        "ast": ast_extractor(),
        "ast as it is": ast_extractor(do_normalize=False, max_length=128),
        "wav2vec2": wav2vec2_extractor(do_normalize=True),
        "wav2vec2 as it is": wav2vec2_extractor(do_normalize=False),
    }
    cases = {}
    for name, extract in extractors.items():
        for n in LONG:
            x = draw_recording(n)
            if name.startswith("wav2vec2"):
                x = x[:250_000]  # it takes whatever it is given
            cases[f"{name}, {n}"] = describe_output(np.asarray(extract(x)))
    return cases


def count_frames(n: int) -> int:
    """Returns wav2vec 2.0's frames of so many samples."""
    for kernel, stride in ((10, 5), *((3, 2),) * 4, *((2, 2),) * 2):
        n = (n - kernel) // stride + 1
    return n


def run_whisper(model) -> dict[str, np.ndarray]:
    """Returns the outputs, frames of the silence behind a recording among them."""
    extract = whisper_extractor(feature_size=80, chunk_length=1)
    batch = np.stack([extract(draw_recording(n)).T for n in LENGTHS])
    encoder = model.encoder if hasattr(model, "encoder") else model.model.encoder
    found = encoder(torch.from_numpy(batch), output_hidden_states=True)
    return name_layers(found.hidden_states, found.last_hidden_state)


def run_wav2vec2(model) -> dict[str, np.ndarray]:
    """Returns the outputs of each recording alone, with zeros behind."""
    extract = wav2vec2_extractor()
    longest, rows = count_frames(max(LENGTHS)), []
    for n in LENGTHS:
        x = torch.from_numpy(extract(draw_recording(n)))[None]
        found = model.base_model(x, output_hidden_states=True)
        rows.append(
            [
                torch.nn.functional.pad(x[0], (0, 0, 0, longest - x.shape[1]))
                for x in found.hidden_states
            ]
        )
    layers = [torch.stack(one) for one in zip(*rows, strict=True)]
    return name_layers(layers, layers[-1])


def run_ast(model) -> dict[str, np.ndarray]:
    """Returns the outputs, patches of the silence behind a recording among them."""
    extract = ast_extractor(max_length=64)
    batch = np.stack([extract(draw_recording(n)) for n in LENGTHS])
    x = torch.from_numpy(batch.astype(np.float32))
    found = model.base_model(x, output_hidden_states=True)
    layers = name_layers(found.hidden_states, found.last_hidden_state)
    return layers | {"pooler": found.pooler_output.numpy()}


def name_layers(layers, last) -> dict[str, np.ndarray]:
    """Returns layers by our names, the last one after the last norm."""
    layers = [*layers[:-1], last]
    return {f"layer{i}": x.numpy() for i, x in enumerate(layers)}


def run_case(row, model, run, *, small, rename=lambda name: name) -> dict:
    """Returns a golden case of a model, its tensors drawn by the file's names."""
    shapes = published_shapes(model)
    named = {rename(name): shape for name, shape in shapes.items()}
    drawn = draw_all(named, small=small)
    model = load_published(model, {name: drawn[rename(name)] for name in shapes})
    with torch.inference_mode():
        outputs = run(model)
    return {
        "row": row,
        "lengths": LENGTHS,
        "small": small,
        "names": fold_names(named),
        "outputs": {name: describe_output(x) for name, x in outputs.items()},
    }


def rename_old(name: str) -> str:
    """Returns the name that a normalized kernel had before PyTorch 2."""
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"parametrizations.weight.{new}", old)
    return name


def rename_new(name: str) -> str:
    """Returns the name that a normalized kernel has since PyTorch 2."""
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"conv.{old}", f"conv.parametrizations.weight.{new}")
    return name


def make_cases() -> dict:
    """Returns the cases by name; in each, the smallest norm shows its epsilon."""
    whisper, ast = t.WhisperConfig(**WHISPER), t.ASTConfig(**AST)
    wav2vec2 = t.Wav2Vec2Config(**WAV2VEC2)
    little = {"small": 1e-2}
    return {
        "WhisperModel": run_case(
            "whisper", t.WhisperModel(whisper), run_whisper, **little
        ),
        "WhisperForConditionalGeneration": run_case(
            "whisper", t.WhisperForConditionalGeneration(whisper), run_whisper, small=1
        ),
        "WhisperForAudioClassification": run_case(
            "whisper", t.WhisperForAudioClassification(whisper), run_whisper, small=1
        ),
        "Wav2Vec2Model": run_case(
            "wav2vec2", t.Wav2Vec2Model(wav2vec2), run_wav2vec2, small=1
        ),
        "Wav2Vec2ForPreTraining, old names": run_case(
            "wav2vec2",
            t.Wav2Vec2ForPreTraining(wav2vec2),
            run_wav2vec2,
            small=1,
            rename=rename_old,
        ),
        "Wav2Vec2ForCTC, new names": run_case(
            "wav2vec2",
            t.Wav2Vec2ForCTC(wav2vec2),
            run_wav2vec2,
            small=1,
            rename=rename_new,
        ),
        "ASTModel": run_case("spectrogram", t.ASTModel(ast), run_ast, **little),
        "ASTForAudioClassification": run_case(
            "spectrogram", t.ASTForAudioClassification(ast), run_ast, small=1
        ),
    }


def make_names() -> dict:
    """Returns the names and shapes of published variants, tied tensors left out."""

    def whisper(width, layers, bins=80):
        return t.WhisperForConditionalGeneration(
            t.WhisperConfig(
                d_model=width,
                encoder_layers=layers,
                decoder_layers=layers,
                encoder_attention_heads=width // 64,
                decoder_attention_heads=width // 64,
                encoder_ffn_dim=4 * width,
                decoder_ffn_dim=4 * width,
                num_mel_bins=bins,
            )
        )

    make = {
        "whisper_tiny": lambda: whisper(384, 4),
        "whisper_base": lambda: whisper(512, 6),
        "whisper_small": lambda: whisper(768, 12),
        "whisper_medium": lambda: whisper(1024, 24),
        "whisper_large": lambda: whisper(1280, 32),
        "whisper_large_v3": lambda: whisper(1280, 32, 128),
        "wav2vec2_base": lambda: t.Wav2Vec2ForPreTraining(t.Wav2Vec2Config()),
    }
    names = {}
    for name, made in make.items():
        with torch.device("meta"):
            model = made()
        tied = set(getattr(model, "_tied_weights_keys", None) or ())
        shapes = state_shapes(model)
        names[name] = fold_names({k: s for k, s in shapes.items() if k not in tied})
    # Its names are others in memory than in files.
    names["ast_base"] = fold_names(
        published_shapes(t.ASTForAudioClassification(t.ASTConfig(num_labels=527)))
    )
    return names


if __name__ == "__main__":
    write_golden(
        Path(__file__).with_name("audio.json"),
        {
            "names": make_names(),
            "front ends": make_front_ends(),
            "cases": make_cases(),
        },
    )
