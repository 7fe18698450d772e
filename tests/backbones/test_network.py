import dataclasses

import jax
import numpy as np
import pytest

from tl_pipeline.backbones.crops import gray_crop
from tl_pipeline.backbones.intake import normalize
from tl_pipeline.backbones.network import compute_features
from tl_pipeline.stages.backbones import load_backbone

IMAGES = np.random.default_rng(3).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8)
SMALL = {"width": 0.35, "input_size": 32}


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("digits_cnn", weights="pretrained")


@pytest.fixture(autouse=True)
def strict_ranks():
    with jax.numpy_rank_promotion("raise"):
        yield


def run(backbone, features, images=IMAGES):
    outputs = backbone.make_forward(features)(images)
    return {name: np.asarray(x) for name, x in outputs.items()}


def test_several_features_in_one_pass_are_those_asked_for_alone(backbone):
    names = ["logits", "stage1:max", "stage2", "pool"]
    together = run(backbone, names)
    assert list(together) == names
    for name in names:
        alone = run(backbone, [name])[name]
        np.testing.assert_allclose(alone, together[name], rtol=1e-5, atol=1e-5)


def test_poolings_are_those_of_numpy(backbone):
    names = [f"stage2{pooling}" for pooling in ("", ":avg", ":max", ":flatten")]
    whole, mean, largest, flat = run(backbone, names).values()
    shape = backbone.feature_shapes()["stage2"]
    assert whole.shape == (5, *shape)
    np.testing.assert_allclose(mean, whole.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(largest, whole.max((1, 2)))
    np.testing.assert_array_equal(flat, whole.reshape(5, -1))


def test_padding_and_neighbors_leave_a_row_bit_equal(backbone):
    padded = np.concatenate([IMAGES[:2], np.zeros_like(IMAGES[2:])])
    np.testing.assert_array_equal(
        run(backbone, ["pool"])["pool"][:2], run(backbone, ["pool"], padded)["pool"][:2]
    )


def test_another_batch_shape_gives_the_same_rows_to_rounding(backbone):
    whole = run(backbone, ["pool"])["pool"]
    for n in (1, 3):
        part = run(backbone, ["pool"], IMAGES[:n])["pool"]
        np.testing.assert_allclose(part, whole[:n], rtol=1e-5, atol=1e-5)


def test_two_weights_of_one_architecture_share_a_compilation():
    forwards = [
        load_backbone("digits_cnn", weights=f"random:{seed}").make_forward(["pool"])
        for seed in (11, 12)
    ]
    first = np.asarray(forwards[0](IMAGES)["pool"])
    compiled = compute_features._cache_size()
    second = np.asarray(forwards[1](IMAGES)["pool"])
    forwards[0](IMAGES[::-1].copy())
    assert compute_features._cache_size() == compiled
    assert np.abs(first - second).max() > 0.1
    forwards[0](IMAGES[:4])  # another shape does compile: the count counts
    assert compute_features._cache_size() == compiled + 1


def test_batches_move_without_implicit_transfers(backbone):
    forward = backbone.make_forward(["pool"])
    forward(IMAGES)
    with jax.transfer_guard("disallow"):
        jax.device_get(forward(IMAGES))


def test_bfloat16_is_close_and_comes_out_as_float32():
    exact, rough = (
        load_backbone("digits_cnn", compute_dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    a, b = run(exact, ["pool", "logits"]), run(rough, ["pool", "logits"])
    assert exact.weights_digest == rough.weights_digest
    for name in a:
        assert b[name].dtype == np.float32
        difference = np.abs(a[name] - b[name]).max() / np.abs(a[name]).max()
        assert 0 < difference < 0.03  # 8 bits of mantissa


def test_random_weights_depend_on_the_seed_alone():
    # The digests are pinned: stores and runs are named by them.
    digests = {
        name: load_backbone(name, weights="random:0", settings=settings).weights_digest
        for name, settings in (("digits_cnn", {}), ("mobilenet_v2", SMALL))
    }
    assert {name: digest[:12] for name, digest in digests.items()} == {
        "digits_cnn": "733afeba8673",
        "mobilenet_v2": "198e95ce45fa",
    }
    other = load_backbone("digits_cnn", weights="random:1").weights_digest
    assert other != digests["digits_cnn"]


def test_the_input_size_is_no_part_of_the_weights():
    a, b = (
        load_backbone(
            "mobilenet_v2", weights="random:0", settings=SMALL | {"input_size": size}
        )
        for size in (32, 64)
    )
    assert a.weights_digest == b.weights_digest
    assert a.feature_shapes()["block16"] == (1, 1, 112)
    assert b.feature_shapes()["block16"] == (2, 2, 112)


def test_16_bits_are_normalized_as_8_that_are_as_bright():
    preprocess = dataclasses.replace(gray_crop(32), mean=(0.5,), std=(0.25,))
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    deep = normalize(images.astype(np.uint16) * 257, preprocess)
    np.testing.assert_allclose(deep, normalize(images, preprocess), atol=1e-6)
    np.testing.assert_allclose(deep[0, -1, -1, 0], 2)
