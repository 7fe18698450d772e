import json

import pytest

from tl_pipeline.errors import MisfitError, WeightsError
from tl_pipeline.preprocess import AudioPreprocess
from tl_pipeline.weights.extractor_files import FILE, read_extractor, read_length

WHISPER = AudioPreprocess("whisper", 16_000, 3000, 80, max_windows=3)
KALDI = AudioPreprocess("kaldi", 16_000, 1024, 128, -4.2677393, 4.5689974)
WAVEFORM = AudioPreprocess("waveform", 16_000, 250_000, normalize=True)

# As they lie beside openai/whisper-tiny (its filters shortened), MIT's AST and
# facebook/wav2vec2-base.
OF_WHISPER = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "hop_length": 160,
    "mel_filters": [[0.0, 0.0248], [0.0, 0.0]],
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "WhisperProcessor",
    "return_attention_mask": False,
    "sampling_rate": 16000,
}
OF_AST = {
    "do_normalize": True,
    "feature_extractor_type": "ASTFeatureExtractor",
    "feature_size": 1,
    "max_length": 1024,
    "mean": -4.2677393,
    "num_mel_bins": 128,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16000,
    "std": 4.5689974,
}
OF_WAV2VEC2 = {
    "do_normalize": True,
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16000,
}


def read(folder, said, usual):
    (folder / FILE).write_text(said if isinstance(said, str) else json.dumps(said))
    return read_extractor(folder, usual)


@pytest.mark.parametrize(
    ("usual", "said"),
    [(WHISPER, OF_WHISPER), (KALDI, OF_AST), (WAVEFORM, OF_WAV2VEC2)],
)
def test_what_is_published_is_the_usual_front_end(tmp_path, usual, said):
    assert read_extractor(tmp_path, usual) is usual  # there is none
    assert read(tmp_path, said, usual) == usual


@pytest.mark.parametrize(
    ("usual", "said", "changed"),
    [
        (KALDI, OF_AST | {"mean": -6.8, "std": 5.5}, {"mean": -6.8, "std": 5.5}),
        (KALDI, OF_AST | {"do_normalize": False}, {"mean": 0.0, "std": 0.5}),
        (WAVEFORM, OF_WAV2VEC2 | {"do_normalize": False}, {"normalize": False}),
    ],
)
def test_what_a_file_chooses_is_chosen(tmp_path, usual, said, changed):
    found = read(tmp_path, said, usual)
    assert found != usual
    assert {name: getattr(found, name) for name in changed} == changed


@pytest.mark.parametrize(
    ("usual", "said", "words"),
    [
        (WHISPER, OF_AST, r'type: the file says "ASTFeatureExtractor", \'Whisper'),
        (WHISPER, OF_WHISPER | {"feature_size": 128}, "says 128, 80 is wanted"),
        (WHISPER, OF_WHISPER | {"chunk_length": 15}, "says 15, 30.0 is wanted"),
        (WHISPER, OF_WHISPER | {"dither": 0.1}, "dither: the file says 0.1"),
        (KALDI, OF_AST | {"num_mel_bins": 64}, "says 64, 128 is wanted"),
        (KALDI, OF_AST | {"max_length": 128}, "says 128, 1024 is wanted"),
        (WAVEFORM, OF_WAV2VEC2 | {"sampling_rate": 8000}, "says 8000, 16000 is"),
        (WAVEFORM, OF_WHISPER, r"says \"WhisperFeatureExtractor\", 'Wav2Vec2Fe"),
    ],
)
def test_a_front_end_of_another_network_is_refused(tmp_path, usual, said, words):
    with pytest.raises(MisfitError, match=words) as caught:
        read(tmp_path, said, usual)
    assert "is not of their network" in str(caught.value)


@pytest.mark.parametrize(
    ("usual", "said", "words"),
    [
        (KALDI, "[1]", "its content is no object"),
        (KALDI, "{", "its content is"),
        (KALDI, OF_AST | {"std": 0}, "std is 0"),
        (KALDI, OF_AST | {"mean": "low"}, "mean is low"),
        (WAVEFORM, OF_WAV2VEC2 | {"do_normalize": "yes"}, "do_normalize is yes"),
    ],
)
def test_what_cannot_be_used_names_the_field(tmp_path, usual, said, words):
    with pytest.raises(WeightsError, match=words):
        read(tmp_path, said, usual)


def test_the_frames_of_a_window_are_what_the_file_says(tmp_path):
    assert read_length(tmp_path) is None
    read(tmp_path, OF_AST, KALDI)
    assert read_length(tmp_path) == 1024
    (tmp_path / FILE).write_text(json.dumps({"max_length": "long"}))
    with pytest.raises(WeightsError, match="max_length is long"):
        read_length(tmp_path)
