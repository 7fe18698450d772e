"""Augmented views in a store, made of real files, and heads that train on them."""

import dataclasses
import itertools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.augmentation import keys
from tl_pipeline.augmentation.augment import make_augment, make_view
from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recipe import make_recipe
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.cli.app import run_command
from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import ConfigError, ParityError, RequestError, StoreError
from tl_pipeline.preprocess import DEEP, ImagePreprocess
from tl_pipeline.spec import View
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.extraction import ExtractReport
from tl_pipeline.stages.plan import plan
from tl_pipeline.stages.train import train
from tl_pipeline.stages.views import augment_pictures, make_views
from tl_pipeline.store.gc import plan_gc
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.store.verify import verify_store

PIXELS = load_backbone("pixels", settings={"size": 8, "color": "rgb"})
VIEWS = make_views(3, "light", {"rotation": 10.0})
assert VIEWS is not None


def write_photo(path: Path, seed: int, of_class: int) -> None:
    """Writes a noisy picture that is bright at the left or at the right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 160, (12, 12, 3), dtype=np.uint8)
    pixels[:, 6 * of_class : 6 * of_class + 6] += rng.integers(0, 90, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split, n in (("train", 24), ("val", 60), ("test", 60)):
        for i in range(n):
            folder = tmp_path / "photos" / split / ("left", "right")[i % 2]
            write_photo(folder / f"{i}.png", 1000 * len(split) + i, i % 2)
    return tmp_path / "photos"


def run(photos: Path, **options: object) -> ExtractReport:
    arguments: dict = {
        "features": ["pool"],
        "store_root": photos.parent / "stores",
        "store_dtype": "float32",
        "batch_size": 5,
        "views": VIEWS,
    }
    return extract(load_dataset(photos), PIXELS, **(arguments | options))


def read_view(store: FeatureStore, number: int) -> dict[str, np.ndarray]:
    assert VIEWS is not None
    view = View(VIEWS.text, number)
    part = store.snapshot()
    part = part.take([i for i, split in enumerate(part.splits) if split == "train"])
    rows = store.read("pool", snapshot=part, view=view)
    return dict(zip(rows.ids, rows.features, strict=True))


def test_a_view_is_what_the_backbone_says_of_the_augmented_example(photos: Path):
    assert VIEWS is not None
    report = run(photos)
    assert (report.rows_computed, report.views_computed) == (144, 3 * 24)
    assert report.inputs_opened == 144  # once, whatever number of views
    store = open_store(report.store)
    forward = PIXELS.make_forward(["pool"])
    dataset = load_dataset(photos)
    content = dict(zip(store.snapshot().ids, store.snapshot().content, strict=True))
    draw = make_view(VIEWS.recipe)
    stored = read_view(store, 2)
    assert len(stored) == 24
    for item in dataset.items:
        if not item.id.startswith("train"):
            continue
        image = preprocess_image(decode_image(dataset.read(item)), PIXELS.preprocess)
        (key,) = make_keys(0, content[item.id][None], 2)
        drawn = np.asarray(draw(key, np.float32(image) / 255))
        live = forward(np.round(drawn * 255).astype(np.uint8)[None])["pool"][0]
        np.testing.assert_allclose(stored[item.id], live, atol=1.01)
        assert np.abs(stored[item.id] - live).mean() < 0.02  # a rounding here or there


def test_views_differ_and_only_what_is_new_is_computed(photos: Path):
    first = run(photos)
    store = open_store(first.store)
    rows = [read_view(store, number) for number in (1, 2, 3)]
    for one, other in itertools.combinations(rows, 2):
        assert not np.allclose(np.stack([*one.values()]), np.stack([*other.values()]))
    again = run(photos)
    assert again.rows_computed == again.views_computed == again.inputs_opened == 0
    assert again.store == first.store
    more = run(photos, views=make_views(5, "light", {"rotation": 10.0}))
    assert (more.rows_computed, more.views_computed, more.inputs_opened) == (0, 48, 24)
    write_photo(photos / "train" / "left" / "new.png", 7, 0)
    grown = run(photos)
    assert (grown.rows_computed, grown.views_computed) == (1, 3)
    assert grown.inputs_opened == 1
    assert verify_store(grown.store)["intact"]
    old = read_view(open_store(grown.store), 3)
    for id, row in rows[2].items():
        np.testing.assert_array_equal(old[id], row)


def test_a_killed_extraction_continues_to_the_same_bytes(photos: Path, monkeypatch):
    views = make_views(2, "light")
    commit, allowed = FeatureStore.commit, {"left": 10**6}

    def stop(self, *arguments, **options):
        allowed["left"] -= 1
        if allowed["left"] < 0:
            raise KeyboardInterrupt
        return commit(self, *arguments, **options)

    # A shard of a few rows, so that there are many moments to stop at.
    monkeypatch.setattr("tl_pipeline.store.schema.MAX_SHARD_ROWS", 7)
    monkeypatch.setattr(FeatureStore, "commit", stop)
    whole = Path(run(photos, views=views).store)
    for allowed["left"] in (1, 2, 4, 3, 5):
        with pytest.raises(KeyboardInterrupt):
            run(photos, views=views, store_root=photos.parent / "killed")
    allowed["left"] = 10**6
    again = run(photos, views=views, store_root=photos.parent / "killed")
    resumed = Path(again.store)
    assert (resumed / "store.json").read_bytes() == (whole / "store.json").read_bytes()
    names = sorted(path.name for path in (whole / "shards").iterdir())
    assert len(names) > 20
    for name in names:
        ours, theirs = (folder / "shards" / name for folder in (resumed, whole))
        assert ours.read_bytes() == theirs.read_bytes()


def test_views_are_checked_against_live_ones(photos: Path, monkeypatch):
    run(photos)
    made = keys.make_keys
    monkeypatch.setattr(keys, "make_keys", lambda s, c, v: made(s, c, v + 1))
    write_photo(photos / "train" / "left" / "new.png", 7, 0)
    with pytest.raises(ParityError, match="view 1 of pool"):
        run(photos)


@pytest.mark.parametrize("name", ["keras_squeezenet1_1", "digits_cnn"])
def test_views_are_of_the_picture_whatever_order_or_depth_it_comes_in(name: str):
    # Hue and saturation tell red from blue; rotation fills with one value.
    turned = {"hue": 0.2, "saturation": 0.5, "rotation": 20.0, "brightness": 0.3}
    augment = make_augment(make_recipe("none", turned))
    plain = make_architecture(name).preprocess
    shape = (3, 16, 16, plain.channels)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    keys = make_keys(0, np.arange(96, dtype=np.uint8).reshape(3, 32), 1)

    def draw(given: np.ndarray, preprocess: ImagePreprocess) -> np.ndarray:
        made, _ = augment_pictures(augment, keys, given, jnp.zeros(3), preprocess)
        return np.asarray(made)

    if plain.color == "bgr":
        rgb = dataclasses.replace(plain, color="rgb")
        found = draw(pictures, plain), draw(pictures[..., ::-1], rgb)[..., ::-1]
    else:
        deep = dataclasses.replace(plain, decoder=DEEP)
        found = (
            draw(pictures, plain),
            draw(pictures.astype(np.uint16) * 257, deep) / 257,
        )
    np.testing.assert_allclose(*found, atol=1e-3)
    assert np.abs(found[0] - pictures).max() > 20


def test_what_cannot_be_a_view_is_refused():
    with pytest.raises(ConfigError, match="changes an image"):
        make_views(2, "none")
    with pytest.raises(ConfigError, match="known are none, light, strong"):
        make_views(2, "heavy")
    strong = make_views(2, "strong")
    assert strong is not None and not strong.recipe.is_mixing
    assert make_views(0, "heavy") is None


def test_heads_train_on_views_and_are_chosen_beside_those_that_do_not(photos: Path):
    extracted = run(photos)
    options: dict = {"kinds": ["linear", "mlp"], "l2": [0.1], "n_seeds": 1}
    options |= {"dropout": [0.0], "epochs": 3, "weight_decay": [0.0], "hidden": [4]}
    report = train(extracted.store, run_root=photos.parent / "runs", **options)
    found = [(c["kind"], c.get("views", 0)) for c in report.candidates]
    assert found == [("linear", 0), ("linear", 3), ("mlp", 0), ("mlp", 3)]
    scores = [c["log_loss"] for c in report.candidates]
    assert scores[0] != scores[1] and scores[2] != scores[3]
    again = train(extracted.store, run_root=photos.parent / "runs", **options)
    assert again.reused
    alone = train(
        extracted.store, run_root=photos.parent / "runs", views=[0], **options
    )
    assert {c.get("views", 0) for c in alone.candidates} == {0}
    with pytest.raises(RequestError, match="has 3 .* Extract with --views first"):
        train(extracted.store, run_root=photos.parent / "runs", views=[4], **options)
    write_photo(photos / "train" / "left" / "new.png", 7, 0)
    run(photos, views=None)
    with pytest.raises(StoreError, match="no view 1 of pool of 1 of the 25"):
        train(extracted.store, run_root=photos.parent / "runs", **options)


def test_a_plan_counts_views(photos: Path):
    arguments: dict = {"features": ["pool"], "store_root": photos.parent / "stores"}
    foreseen = plan(load_dataset(photos), PIXELS, views=VIEWS, **arguments)
    assert (foreseen.rows_to_compute, foreseen.views_to_compute) == (144, 72)
    written = run(photos, store_dtype="float16", batch_size=32)
    assert written.views_computed == 72
    size = sum(path.stat().st_size for path in Path(written.store).rglob("*.h5"))
    assert foreseen.bytes == size
    again = plan(load_dataset(photos), PIXELS, views=VIEWS, **arguments)
    assert again.views_to_compute == again.bytes == 0


def test_a_collection_drops_the_views_of_examples_that_are_gone(photos: Path):
    run(photos)
    (photos / "train" / "left" / "0.png").unlink()
    store = run(photos).store
    assert plan_gc(store, keep=1).rows == 1 + 3
    open_it = open_store(store)
    with open_it.lock():
        open_it.collect(keep=1)
    assert verify_store(store)["intact"] and run(photos).views_computed == 0


def test_the_command_line_takes_views(photos: Path, capsys):
    words = ["extract", "--data", str(photos), "--backbone", "pixels", "--views", "2"]
    words += ["--store-root", str(photos.parent / "stores"), "--features", "pool"]
    assert run_command(words) == 0
    assert (
        "augmented views of training examples: computed 48" in capsys.readouterr().out
    )
