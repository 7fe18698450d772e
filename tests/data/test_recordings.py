import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.data.decoding import DecodeError
from tl_pipeline.data.front_ends import SHARES, prepare_recording
from tl_pipeline.data.preparing import decode, fingerprint, prepare
from tl_pipeline.data.recordings import Recording, decode_recording, resample
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import RequestError
from tl_pipeline.preprocess import SOUNDFILE, AudioPreprocess, find_taken

sys.path.append(str(Path(__file__).parent))

from sounds import encode, make_tone  # noqa: E402

MEAN, STD = -4.2677393, 4.5689974  # of AudioSet
WHISPER = AudioPreprocess("whisper", 16_000, 100, 80)
KALDI = AudioPreprocess("kaldi", 16_000, 64, 128, MEAN, STD)
WAVEFORM = AudioPreprocess("waveform", 16_000, 16_000, normalize=True)


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        *(("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE")),
        *(("WAV", kind) for kind in ("ULAW",)),
        ("WAVEX", "PCM_16"),
        ("RF64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
def test_a_file_is_decoded_to_the_samples_that_it_was_made_of(format, subtype):
    samples = make_tone(0.5)
    data = encode(samples, format=format, subtype=subtype)
    found = decode_recording(data)
    assert (found.rate, found.channels, found.seconds) == (16_000, 1, 0.5)
    assert found.samples.dtype == np.float32
    rough = subtype in ("PCM_U8", "ULAW", "VORBIS", "OPUS")
    error = np.abs(found.samples - samples).max()
    assert error < (0.1 if rough else 2**-15)


def test_channels_become_their_mean():
    left, right = make_tone(0.1), make_tone(0.1, hertz=900)
    found = decode_recording(encode(np.stack([left, right], axis=1), format="FLAC"))
    assert found.channels == 2
    np.testing.assert_allclose(found.samples, (left + right) / 2, atol=2**-15)


SOUND = make_tone(1.0)
FLAC, OGG = encode(SOUND, format="FLAC"), encode(SOUND, format="OGG")
WAV = encode(SOUND)


def damage(data: bytes) -> bytes:
    """Returns bytes of which some in the middle are others."""
    middle = len(data) // 2
    return (
        data[:middle]
        + bytes(255 - b for b in data[middle : middle + 64])
        + (data[middle + 64 :])
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty: 0 bytes"),
        (b"not a sound at all", "it is none of WAV, FLAC, OGG; it begins with b'not a"),
        (WAV[:20], "it is no WAV, FLAC or OGG, or its header is damaged"),
        (WAV[: len(WAV) // 2], r"cut short: 15,978 of 32,000 bytes"),
        (encode(SOUND[:0]), "it holds no sound: 0 samples"),
        (encode(SOUND[:0], format="OGG"), "it holds no sound: 0 samples"),
        (FLAC[: len(FLAC) // 2], "it cannot be decoded"),
        (damage(FLAC), "it cannot be decoded"),
        (OGG[: len(OGG) // 2], r"cut short: page \d ends too soon"),
        (OGG[:-5], r"cut short: page \d ends too soon"),
        (damage(OGG), r"its page \d is damaged"),
        (
            encode(SOUND, format="AIFF"),
            "it is none of WAV, FLAC, OGG; it begins with b'FORM",
        ),
        (encode(SOUND, rate=100), "claims 100 samples a second; 1,000 to 1,000,000"),
        (encode(SOUND * np.inf, subtype="FLOAT"), "samples that are no numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_recording_says_why(data, words):
    with pytest.raises(DecodeError, match=words):
        decode(data, SOUNDFILE)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns a file with a few bytes of it, mostly of its header, changed."""
    mutant = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(min(len(mutant), rng.choice([100, len(mutant)]))))
        more = rng.bytes(int(rng.integers(1, 50)))
        kind = rng.integers(4)
        if kind == 0:
            mutant[at : at + 4] = rng.choice([0, 0x7FFFFFFF, 0xFFFFFFFF]).tobytes()[:4]
        elif kind == 1:
            mutant[at:at] = more
        elif kind == 2:
            mutant[at : at + len(more)] = b""
        else:
            mutant[at] ^= 1 << int(rng.integers(8))
        mutant = mutant or bytearray(b"x")
    return bytes(mutant)


def test_a_damaged_file_is_a_recording_or_says_why_and_no_more(capfd):
    rng, good = np.random.default_rng(0), 0
    kinds = [
        *(encode(SOUND, subtype=kind) for kind in ("PCM_16", "FLOAT", "IMA_ADPCM")),
        encode(np.stack([SOUND, SOUND], axis=1), format="RF64"),
        *(FLAC, OGG, encode(SOUND, format="OGG", subtype="OPUS")),
    ]
    for number in range(700):
        data = mutate(kinds[number % len(kinds)], rng)
        try:
            found = decode_recording(data)
        except DecodeError:
            continue
        assert len(found.samples) and np.isfinite(found.samples).all()
        good += 1
    assert 50 < good < 500
    assert capfd.readouterr() == ("", "")


def test_more_samples_than_fit_are_refused_before_they_are_read():
    with pytest.raises(DecodeError, match="claims 16,000 samples, .* at most 9,999"):
        decode_recording(WAV, max_samples=9_999)
    slow = encode(np.zeros(1_000 * 14_401), rate=1_000, format="FLAC")
    with pytest.raises(DecodeError, match="14,401,000 samples, 4 h; .* 4 h, are read"):
        decode_recording(slow)


def test_a_stream_that_does_not_know_its_length_is_read_to_its_end():
    at = WAV.index(b"data") + 4
    streamed = WAV[:at] + b"\xff\xff\xff\xff" + WAV[at + 4 :]
    found = decode_recording(streamed)
    np.testing.assert_array_equal(found.samples, decode_recording(WAV).samples)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_the_same_tone(rate):
    found = resample(
        Recording(make_tone(1, rate=rate).astype(np.float32), rate, 1), 16_000
    )
    assert found.dtype == np.float32 and len(found) == 16_000
    middle = np.arange(2_000, 14_000)
    expected = 0.3 * np.sin(2 * np.pi * 440 * middle / 16_000)
    # But for the noise, of which at a lower rate some is lost.
    assert np.sqrt(np.mean((found[middle] - expected) ** 2)) < 0.007


def test_what_is_above_half_the_rate_does_not_come_back_as_another_tone():
    high = make_tone(1, rate=44_100, hertz=12_000).astype(np.float32)
    found = resample(Recording(high - 0.0, 44_100, 1), 16_000)
    assert np.abs(found[2_000:14_000]).max() < 0.02  # the noise alone


def record(n: int) -> Recording:
    return Recording(make_tone(n / 16_000).astype(np.float32), 16_000, 1)


@pytest.mark.parametrize(
    ("preprocess", "size", "step"),
    [(WHISPER, 16_000, 16_000), (KALDI, 10_480, 10_240), (WAVEFORM, 16_000, 16_000)],
)
def test_each_window_is_prepared_as_a_recording_of_its_own(preprocess, size, step):
    long = record(2 * step + 5_000)
    windows, is_cut = prepare_recording(long, preprocess)
    assert windows.shape == (3, *preprocess.input_shape) and not is_cut
    assert windows.dtype == np.float32
    for i, window in enumerate(windows):
        part = long.samples[i * step : i * step + size]
        alone, _ = prepare_recording(Recording(part, 16_000, 1), preprocess)
        assert len(alone) == 1
        np.testing.assert_array_equal(window[: alone.shape[1]], alone[0])
        assert np.isnan(window[alone.shape[1] :]).all()


def test_frames_go_on_from_window_to_window():
    whole = AudioPreprocess("kaldi", 16_000, 256, 128, MEAN, STD)
    recording = record(3 * 10_240 + 400)
    windows, _ = prepare_recording(recording, KALDI)
    frames = prepare_recording(recording, whole)[0][0][:192]
    np.testing.assert_array_equal(windows[:3].reshape(192, 128), frames)


@pytest.mark.parametrize("preprocess", [WHISPER, KALDI, WAVEFORM])
def test_an_end_of_less_than_25_ms_is_left_out(preprocess):
    step = 10_240 if preprocess is KALDI else 16_000
    counts = [
        len(prepare_recording(record(n), preprocess)[0])
        for n in (400, step, step + 399, step + 400, 2 * step + 400)
    ]
    assert counts == [1, 1, 1, 2, 3]
    with pytest.raises(DecodeError, match="lasts 24.9 ms; at least 25 ms are needed"):
        prepare_recording(record(399), preprocess)


def test_windows_beyond_the_most_are_cut_and_that_is_said():
    most = AudioPreprocess("waveform", 16_000, 16_000, max_windows=2)
    for n, cut in ((32_000, False), (32_399, False), (32_400, True)):
        made = prepare(record(n), most)
        assert (len(made.input), made.is_cut) == (2, cut)


def test_samples_have_the_first_length_that_holds_them():
    lengths = [int(16_000 * share) for share in SHARES]
    for n in (400, 1_000, 1_001, 7_999, 8_000, 12_001, 16_000):
        [window] = prepare_recording(record(n), WAVEFORM)[0]
        assert len(window) == next(length for length in lengths if length >= n)
        assert np.isnan(window[n:]).all() and np.isfinite(window[:n]).all()
        assert abs(window[:n].mean()) < 1e-6
        assert window[:n].std() == pytest.approx(1, abs=1e-5)


def test_silence_is_a_recording():
    silent = Recording(np.zeros(8_000, np.float32), 16_000, 1)
    for preprocess in (WHISPER, KALDI, WAVEFORM):
        windows, _ = prepare_recording(silent, preprocess)
        lengths = (100, 64, 8_000)  # of a waveform, the first that holds it
        assert windows.shape[1] in lengths and len(windows) == 1
        first = windows[0].reshape(len(windows[0]), -1)[:40]
        assert np.isfinite(first).all() and len(np.unique(first)) == 1


def test_the_fingerprint_tells_front_ends_apart_and_not_runs():
    kinds = [
        WHISPER,
        KALDI,
        WAVEFORM,
        AudioPreprocess("waveform", 16_000, 16_000),
        AudioPreprocess("whisper", 16_000, 100, 128),
        AudioPreprocess("kaldi", 16_000, 64, 128),
        AudioPreprocess("waveform", 8_000, 16_000, normalize=True),
    ]
    found = [fingerprint(kind) for kind in kinds]
    assert len(set(found)) == len(kinds)
    assert found == [fingerprint(kind) for kind in kinds]


# Of soundfile 0.14, soxr 1.1 and NumPy 2.4: with others that compute alike, the same.
KNOWN = {
    "whisper": "0720f90833a6fc84",
    "kaldi": "f3c67215fe4731f2",
    "waveform": "b694534ca23183f3",
}


@pytest.mark.parametrize("preprocess", [WHISPER, KALDI, WAVEFORM])
def test_the_fingerprint_stays_what_it_was(preprocess):
    assert fingerprint(preprocess)[:16] == KNOWN[preprocess.front_end]


def test_what_makes_an_input_is_part_of_the_spec():
    said = KALDI.to_json()
    assert said["kind"] == "audio" and said["resampler"] == "soxr-vhq"
    assert {"decoder", "channels", "rate", "length", "bins", "mean"} <= said.keys()
    assert find_taken({"preprocess": said}) == "recordings"


def test_a_library_that_is_missing_is_one_sentence(monkeypatch):
    for name in ("soundfile", "soxr"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, name, None)
            with pytest.raises(
                RequestError, match=rf"read by {name}, .*pip install 'tl-pipeline.audio"
            ):
                fingerprint(WHISPER)


def test_a_table_names_sound_files(tmp_path):
    (tmp_path / "a.wav").write_bytes(WAV)
    table = tmp_path / "t.csv"
    table.write_text("audio,label\na.wav,tone\n")
    dataset = load_dataset(table)
    [item] = dataset.items
    assert (item.id, item.target, dataset.holds) == ("a.wav", "tone", "")
    assert hashlib.sha256(dataset.read(item)).digest() == hashlib.sha256(WAV).digest()
