import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from tl_pipeline.errors import ConfigError
from tl_pipeline.heads.weights import make_sample_weight

TARGETS = np.array([0, 0, 0, 2, 2, 3])


def test_balanced_weights_are_those_of_scikit_learn():
    found = make_sample_weight(TARGETS, class_weight="balanced")
    np.testing.assert_allclose(found, compute_sample_weight("balanced", TARGETS))


def test_classes_that_weigh_something_weigh_the_same_when_balanced():
    given = np.array([1, 2, 0, 0, 0, 7.0])
    found = make_sample_weight(TARGETS, class_weight="balanced", sample_weight=given)
    np.testing.assert_allclose(np.bincount(TARGETS, found), [5, 0, 0, 5])


def test_factors_of_classes_multiply_the_weights_of_examples():
    found = make_sample_weight(
        TARGETS, class_weight=[1, 9, 0.5, 0], sample_weight=[1, 1, 1, 2, 4, 8]
    )
    np.testing.assert_array_equal(found, [1, 1, 1, 1, 2, 0])
    np.testing.assert_array_equal(make_sample_weight(np.ones((6, 2))), np.ones(6))


@pytest.mark.parametrize(
    ("targets", "asked", "message"),
    [
        (TARGETS, {"class_weight": [1, 2]}, "of 4 classes"),
        (TARGETS, {"class_weight": [1, 1, 1, -1]}, "at least 0"),
        (TARGETS, {"sample_weight": [1, 2]}, "6 examples take as many"),
        (TARGETS, {"sample_weight": [1, 2, 3, 4, 5, np.nan]}, "finite"),
        (np.ones((6, 2)), {"class_weight": "balanced"}, "targets that are no classes"),
    ],
)
def test_weights_that_do_not_fit_are_refused(targets, asked, message):
    with pytest.raises(ConfigError, match=message):
        make_sample_weight(targets, **asked)
