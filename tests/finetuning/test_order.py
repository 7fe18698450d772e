"""The order of examples: a function of seed and step."""

import numpy as np

from tl_pipeline.finetuning.order import iterate_batches


def test_begun_anywhere_the_batches_are_those_of_the_whole():
    whole = list(iterate_batches(7, 3, seed=1, steps=range(12)))
    for start in range(12):
        part = list(iterate_batches(7, 3, seed=1, steps=range(start, 12)))
        np.testing.assert_array_equal(part, whole[start:])


def test_each_pass_has_every_example_once_in_an_order_of_its_own():
    rows = np.concatenate(list(iterate_batches(6, 4, seed=0, steps=range(6))))
    passes = rows.reshape(4, 6)
    assert (np.sort(passes) == np.arange(6)).all()
    assert len(np.unique(passes, axis=0)) > 1
    other = np.concatenate(list(iterate_batches(6, 4, seed=1, steps=range(6))))
    assert (rows != other).any()
