"""Fine-tuning of small audio networks, from sound files and behind a cut."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tl_pipeline.backbones import registry, spectrogram, wav2vec2, whisper
from tl_pipeline.config import make_config
from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import ConfigError, RequestError
from tl_pipeline.preprocess import AudioPreprocess
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone, load_trainable
from tl_pipeline.stages.extract import extract, items_by_content
from tl_pipeline.stages.finetune import finetune
from tl_pipeline.stages.finetune_inputs import CachedFrames, PreparedInputs
from tl_pipeline.stages.finetune_preview import preview_finetune
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store

sys.path.append(str(Path(__file__).parents[1] / "data"))

from sounds import encode  # noqa: E402

RATE = 16_000
# Of every family a small network; windows of half a second.
SMALL = {
    "whisper_row": (whisper, "whisper_tiny", {"length": 50}),
    "ast_row": (spectrogram, "ast_base", {"length": 50}),
    "wav2vec2_row": (wav2vec2, "wav2vec2_base", {"length": 8_000}),
}
QUICK = {
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "head_learning_rate": 1e-2,
    "warmup": 0.0,
    "from_scratch_head": True,
    "unfreeze": ["layer2"],
}


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        for name, (module, like, facts) in SMALL.items():
            shape = module.VARIANTS[like]._replace(width=48, depth=2, heads=4, **facts)
            patch.setitem(module.VARIANTS, name, shape)
            patch.setitem(registry._MODULES, name, module.__name__)
        yield


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of a tone and of noise, of 0.1 to 1.3 seconds."""
    root = tmp_path_factory.mktemp("data") / "sounds"
    for kind in ("tone", "noise"):
        (root / kind).mkdir(parents=True)
        for i in range(20):
            rng = np.random.default_rng([i, len(kind)])
            seconds = np.arange(round(RATE * (0.1 + 0.4 * (i % 4)))) / RATE
            sound = {
                "tone": 0.1 * np.sin(2 * np.pi * rng.uniform(300, 3000) * seconds),
                "noise": 0.1 * rng.standard_normal(len(seconds)),
            }[kind]
            (root / kind / f"{i:02}.wav").write_bytes(encode(sound, RATE))
    return root


def start(sounds: Path, root: Path, name: str, *, windows: int = 0) -> str:
    """Extracts and trains; returns the run."""
    extracted = extract(
        load_dataset(sounds),
        load_backbone(name, weights="random:0", settings={"max_windows": windows}),
        features=["layer2:mean"],
        store_root=root / "stores",
        store_dtype="float32",
        batch_size=8,
    )
    return train(extracted.store, run_root=root / "runs", l2=[1.0]).run


@pytest.fixture(scope="module")
def whole_run(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return start(sounds, tmp_path_factory.mktemp("whole"), "whisper_row")


@pytest.fixture(scope="module")
def tuned(whole_run: str):
    return finetune(whole_run, augment="strong", **QUICK)


def test_tuning_ends_in_a_run_that_takes_new_recordings(tuned, sounds: Path) -> None:
    one = load_run(tuned.rows[1]["run"])
    losses = [epoch["val_loss"] for epoch in one.metrics["finetune"]["epochs"]]
    assert min(losses) < losses[0], "nothing was learned"
    found = one.predictions()
    said = np.asarray(found.outputs).argmax(axis=1)
    predicted = {row.id: row for row in predict(one.path, sounds)}
    for id, place in zip(found.ids, said.tolist(), strict=True):
        assert predicted[id].label == one.metrics["classes"][place]


def test_what_is_frozen_stays_and_what_is_not_moves(tuned) -> None:
    network = load_trainable("whisper_row", weights="random:0")
    blocks = network.blocks(["layer2:mean"])
    after = load_file(str(load_run(tuned.rows[1]["run"]).provenance["weights"]))
    for name, array in network.parameters.items():
        moved = after[name].tobytes() != array.tobytes()
        assert moved == (name in blocks["layer2"]), name


def test_tuned_weights_keep_their_front_end_and_windows(tuned) -> None:
    one = load_run(tuned.rows[1]["run"])
    settings = {"max_windows": 3}
    backbone = load_backbone(
        "whisper_row", weights=str(one.provenance["weights"]), settings=settings
    )
    plain = load_backbone("whisper_row", weights="random:0", settings=settings)
    assert backbone.preprocess == plain.preprocess
    store = open_store(str(one.provenance["store"]))
    assert store.spec["weights"] == backbone.weights_digest


@pytest.mark.parametrize("name", SMALL)
def test_training_begins_at_what_was_extracted(
    sounds: Path, tmp_path: Path, name: str
) -> None:
    """The network of a training step says of all windows what extraction stored."""
    features = ["layer2:mean", "layer1:max", "layer2:last", "layer1:cls"]
    backbone = load_backbone(name, weights="random:0")
    dataset = load_dataset(sounds)
    extracted = extract(
        dataset,
        backbone,
        features=features,
        store_root=tmp_path,
        store_dtype="float32",
        batch_size=8,
    )
    store = open_store(extracted.store)
    content = store.read(features[0], dataset="sounds").content
    network = load_trainable(name, weights="random:0")
    items = items_by_content(digest_items(dataset, None))
    inputs = PreparedInputs(dataset, items, content, backbone.preprocess)
    apply = jax.jit(network.make_apply(features))
    batches = np.array_split(np.arange(len(content)), 3)
    found = [apply(network.parameters, windows) for windows in inputs.stream(batches)]
    for i, feature in enumerate(features):
        rows = np.concatenate([part[i] for part in found])
        stored = store.read(feature, dataset="sounds").features
        np.testing.assert_allclose(rows, stored, atol=2e-4 * np.abs(stored).max())


@pytest.mark.parametrize("name", SMALL)
def test_split_without_masks_is_end_to_end_on_cached_frames(
    sounds: Path, tmp_path: Path, name: str
) -> None:
    run = start(sounds, tmp_path, name, windows=1)
    report = finetune(run, ways=["end-to-end", "split"], augment="none", **QUICK)
    whole, split = (load_run(row["run"]) for row in report.rows[1:])
    assert split.metrics["finetune"]["cut"] == "layer1"
    left, right = (one.metrics["finetune"]["epochs"] for one in (whole, split))
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one == pytest.approx(other, rel=2e-3)


def test_masks_are_another_training(whole_run: str, tuned) -> None:
    report = finetune(
        whole_run, augment_settings={"time_masking": 0.5}, **QUICK | {"epochs": 1}
    )
    left, right = (
        load_run(found.rows[1]["run"]).metrics["finetune"]["epochs"][1]["train_loss"]
        for found in (report, tuned)
    )
    assert left != right


@pytest.mark.parametrize("name", SMALL)
def test_recomputing_blocks_gives_the_same_gradients(name: str) -> None:
    network = load_trainable(name, weights="random:0")
    preprocess = network.architecture.preprocess
    assert isinstance(preprocess, AudioPreprocess)
    shape = (2, 2, *preprocess.input_shape)
    windows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    windows[0, 1] = np.nan  # the first has one window, the second one and a half
    windows[1, 1, shape[2] // 2 :] = np.nan

    def loss(parameters: Any, remat: bool) -> Any:
        apply = network.make_apply(["layer2:mean", "layer1:max"], remat=remat)
        return sum(jnp.sum(rows**3) for rows in apply(parameters, jnp.asarray(windows)))

    parameters = {name: jnp.asarray(x) for name, x in network.parameters.items()}
    plain, again = (
        jax.jit(jax.grad(lambda p, r=remat: loss(p, r)))(parameters)
        for remat in (False, True)
    )
    for key, array in plain.items():
        assert np.isfinite(array).all(), key
        scale = max(1e-6, float(np.abs(array).max()))
        np.testing.assert_allclose(again[key], array, atol=1e-4 * scale, err_msg=key)


def test_recordings_are_stacked_by_their_windows(sounds: Path) -> None:
    dataset, items, content, preprocess = prepared(sounds)
    inputs = PreparedInputs(dataset, items, content, preprocess)
    every = np.arange(len(content))
    alone = [next(iter(inputs.stream([every[i : i + 1]])))[0] for i in every]
    (batch,) = inputs.stream([every])
    assert batch.shape == (len(every), 4, *preprocess.input_shape)  # of 3 at most
    for row, own in zip(batch, alone, strict=True):
        np.testing.assert_array_equal(row[: len(own)], own)
        assert np.isnan(row[len(own) :]).all()


def test_only_so_much_is_kept_and_the_rest_decoded_again(
    sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, items, content, preprocess = prepared(sounds)
    one = int(np.prod(preprocess.input_shape)) * 4
    inputs = PreparedInputs(dataset, items, content, preprocess, most_kept=5 * one)
    every = np.arange(len(content))
    twice = np.concatenate([every, every[:2]])
    (first,) = inputs.stream([twice])
    assert 1 <= len(inputs._kept) <= 5
    opened: list[int] = []
    inner = inputs._inputs.stream

    def count(wanted: Any, **options: Any) -> Any:
        for found in inner(wanted, **options):
            opened.append(1)
            yield found

    monkeypatch.setattr(inputs._inputs, "stream", count)
    (again,) = inputs.stream([every])
    assert len(opened) == len(every) - len(inputs._kept)
    np.testing.assert_array_equal(again, first[: len(every)])
    np.testing.assert_array_equal(first[len(every) :], first[:2])


def test_cached_frames_come_with_how_long_the_recordings_are(sounds: Path) -> None:
    dataset, items, content, preprocess = prepared(sounds, "wav2vec2_row")
    inputs = PreparedInputs(dataset, items, content, preprocess, most_kept=0)
    rows = np.random.default_rng(0).normal(size=(len(content), 24, 2))
    feed = CachedFrames(rows.astype(np.float16), inputs, preprocess)
    taken = np.array([5, 2])
    ((frames, there),) = feed.stream([taken])
    (windows,) = inputs.stream([taken])
    size = (~np.isnan(windows[:, 0])).sum(axis=1)
    np.testing.assert_array_equal(there.sum(axis=1), size)
    assert there.shape[1] == windows.shape[2] and frames.dtype == np.float32
    np.testing.assert_array_equal(
        frames, rows[taken, : frames.shape[1]].astype(np.float16)
    )


def prepared(sounds: Path, name: str = "whisper_row") -> Any:
    dataset = load_dataset(sounds)
    items = items_by_content(digest_items(dataset, None))
    content = np.frombuffer(b"".join(items), np.uint8).reshape(-1, 32)
    settings = {"max_windows": int(name != "whisper_row")}
    backbone = load_backbone(name, weights="random:0", settings=settings)
    return dataset, items, content, backbone.preprocess


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"ways": ["split"], "unfreeze": ["layer2"]}, RequestError, "max_windows = 1"),
        (
            {"ways": ["split"], "unfreeze": ["layer2"], "views": 2},
            RequestError,
            "takes recordings, and views are of images alone",
        ),
        ({"ways": ["views"]}, RequestError, "views are of images alone"),
        ({"augment_settings": {"rotation": 5.0}}, ConfigError, "no setting rotation"),
    ],
)
def test_what_recordings_do_not_have_is_refused(
    whole_run: str, settings: dict, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        finetune(whole_run, **settings)


def test_a_preview_is_of_images(whole_run: str) -> None:
    with pytest.raises(RequestError, match="takes recordings"):
        preview_finetune(whole_run)


def test_a_pipeline_is_told_before_it_runs(sounds: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "data": {"source": str(sounds)},
        "backbone": {
            "name": "whisper_row",
            "weights": "random:0",
            "features": ["layer2:mean"],
        },
        "store": {"root": str(tmp_path / "stores")},
        "run": {"root": str(tmp_path / "runs")},
        "finetune": {"enabled": True, "ways": ["split"], "unfreeze": ["layer2"]},
    }
    with pytest.raises(RequestError, match="max_windows = 1"):
        run_local(make_config(config, where="of a test"))
    assert not (tmp_path / "stores").exists()
    config["backbone"]["settings"] = {"max_windows": 1}
    config["finetune"]["augment_settings"] = {"token_dropping": 0.1}
    with pytest.raises(ConfigError, match="no setting token_dropping"):
        run_local(make_config(config, where="of a test"))
