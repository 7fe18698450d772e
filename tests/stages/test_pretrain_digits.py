import json
import logging

import numpy as np

from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.pretrain_digits import (
    Digits,
    load_source_digits,
    main,
    place_digits,
    split_digits,
)
from tl_pipeline.weights.reading import load_tensors


def test_the_command_writes_weights_that_load_and_says_what_they_reach(
    tmp_path, caplog
):
    out = tmp_path / "w.safetensors"
    with caplog.at_level(logging.INFO):
        main(["--out", str(out), "--epochs", "1", "--seed", "3"])
    figures = json.loads(load_tensors(out).metadata["figures"])
    assert (figures["seed"], figures["epochs"]) == (3, 1)
    assert figures["train_digits"] + figures["test_digits"] == 901
    assert figures["test_accuracy"] > 0.6  # one epoch of ten; chance is 0.2
    assert f"held-out accuracy {figures['test_accuracy']:.4f}" in caplog.text
    backbone = load_backbone("digits_cnn", weights=out)
    assert "digits 0-4" in str(backbone.weights_origin["source_dataset"])


def test_held_out_digits_are_not_trained_on():
    digits = load_source_digits()
    numbered = Digits(np.arange(len(digits.targets)), digits.targets)
    train, test = split_digits(numbered, rng=np.random.default_rng(0))
    assert not set(train.images) & set(test.images)
    assert len(train.images) + len(test.images) == 901
    assert set(digits.targets) == {0, 1, 2, 3, 4}


def test_a_placed_digit_is_whole_wherever_it_stands():
    images = np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8).repeat(200, axis=0)
    canvas = place_digits(images, rng=np.random.default_rng(0))
    places = set()
    for one in canvas[..., 0]:
        top, left = np.argwhere(one == 1)[0]
        places.add((top, left))
        np.testing.assert_array_equal(one[top : top + 8, left : left + 8], images[0])
        assert np.count_nonzero(one) == 64
    assert {top for top, _ in places} == {left for _, left in places} == set(range(9))
