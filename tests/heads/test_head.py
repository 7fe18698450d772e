"""The saved head: round trips, and NumPy's answer beside JAX's."""

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load, save

from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.links import apply_link
from tl_pipeline.heads.preparation import Preparation, Steps
from tl_pipeline.heads.standardize import Standardizer
from tl_pipeline.tasks import Task


def make_head(width: int = 7, n_classes: int = 3) -> Head:
    rng = np.random.default_rng(0)
    return Head(
        kind="linear",
        feature="stage3:avg",
        task=Task("multiclass", tuple(f"class {i}" for i in range(n_classes))),
        settings={"l2": 0.01, "C": 0.5},
        preparation=Preparation(
            Steps(),
            Standardizer(
                rng.normal(size=width).astype(np.float32),
                rng.uniform(0.5, 2, width).astype(np.float32),
            ),
        ),
        arrays={
            "kernel": rng.normal(size=(width, n_classes)).astype(np.float32),
            "bias": rng.normal(size=n_classes).astype(np.float32),
        },
    )


def test_a_head_saved_and_loaded_predicts_the_same_bytes():
    head = make_head()
    features = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float16)
    loaded = Head.from_arrays(head.to_json(), load(save(head.to_arrays())))
    assert loaded.to_json() == head.to_json()
    expected = head.predict(features)
    assert loaded.predict(features).tobytes() == expected.tobytes()
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-12)


def test_the_answer_in_numpy_equals_the_one_in_jax():
    head = make_head()
    features = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    mean, scale = head.preparation.standardizer or ()
    standardized = (features - mean) / scale
    logits = jnp.asarray(standardized) @ head.arrays["kernel"] + head.arrays["bias"]
    np.testing.assert_allclose(head.outputs(features), logits, atol=1e-5)
    np.testing.assert_allclose(
        head.predict(features), jax.nn.softmax(logits), atol=1e-5
    )


def test_a_prediction_does_not_depend_on_the_rest_of_its_batch():
    head = make_head(width=300)
    features = np.random.default_rng(1).normal(size=(50, 300)).astype(np.float32)
    together = head.predict(features)
    alone = [head.predict(features[row : row + 1])[0] for row in range(50)]
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    assert head.predict(features[:0]).shape == (0, 3)


def test_features_of_another_width_are_refused():
    with pytest.raises(FeatureShapeError, match=r"on stage3:avg .*\[2, 8\]: .* 7 feat"):
        make_head().predict(np.zeros((2, 8)))


def test_arrays_that_do_not_fit_each_other_are_listed_at_once():
    head = make_head()
    arrays = head.to_arrays() | {"preparation.scale": np.ones(8)}
    with pytest.raises(FeatureShapeError, match=r"on 7 features .*: scale \[8\]"):
        Head.from_arrays(head.to_json(), arrays)


def test_an_unknown_kind_and_missing_keys_are_named():
    head = make_head()
    with pytest.raises(ConfigError, match="kind 'forest'; known are linear"):
        replace(head, kind="forest")
    description = head.to_json()
    del description["classes"]
    with pytest.raises(ConfigError, match="lacks classes"):
        Head.from_arrays(description, head.to_arrays())
    for name in ("bias", "preparation.scale"):
        arrays = head.to_arrays()
        del arrays[name]
        with pytest.raises(ConfigError, match=f"lacks {name.split('.')[-1]}"):
            Head.from_arrays(head.to_json(), arrays)


def test_a_binary_head_has_one_logit_and_two_probabilities():
    head = make_head(n_classes=1)
    head = replace(head, task=Task("binary", ("no", "yes")))
    features = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    logits = head.outputs(features)
    assert logits.shape == (9, 1)
    probabilities = head.predict(features)
    np.testing.assert_allclose(probabilities[:, 1:], 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_labels_have_probabilities_of_their_own_and_numbers_stay():
    logits = np.array([[800.0, -800.0, 0.0]])
    labels = apply_link(Task("multilabel", ("a", "b", "c")), logits)
    np.testing.assert_allclose(labels, [[1, 0, 0.5]], atol=1e-300)
    numbers = apply_link(Task("regression", ("a", "b", "c")), logits)
    np.testing.assert_array_equal(numbers, logits)


def test_using_a_head_loads_no_jax():
    program = (
        "import sys, tl_pipeline.heads, tl_pipeline.heads.head\n"
        "assert 'jax' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
