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
from tl_pipeline.heads.standardize import Standardizer


def make_head(width: int = 7, n_classes: int = 3) -> Head:
    rng = np.random.default_rng(0)
    return Head(
        kind="linear",
        feature="stage3:avg",
        classes=tuple(f"class {index}" for index in range(n_classes)),
        settings={"l2": 0.01, "C": 0.5},
        standardizer=Standardizer(
            rng.normal(size=width).astype(np.float32),
            rng.uniform(0.5, 2, width).astype(np.float32),
        ),
        kernel=rng.normal(size=(width, n_classes)).astype(np.float32),
        bias=rng.normal(size=n_classes).astype(np.float32),
    )


def test_a_head_saved_and_loaded_predicts_the_same_bytes():
    head = make_head()
    features = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float16)
    loaded = Head.from_arrays(head.to_json(), load(save(head.to_arrays())))
    assert loaded.to_json() == head.to_json()
    expected = head.predict_proba(features)
    assert loaded.predict_proba(features).tobytes() == expected.tobytes()
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-12)


def test_the_answer_in_numpy_equals_the_one_in_jax():
    head = make_head()
    features = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    standardized = (features - head.standardizer.mean) / head.standardizer.scale
    logits = jnp.asarray(standardized) @ head.kernel + head.bias
    np.testing.assert_allclose(head.predict_logits(features), logits, atol=1e-5)
    np.testing.assert_allclose(
        head.predict_proba(features), jax.nn.softmax(logits), atol=1e-5
    )


def test_a_prediction_does_not_depend_on_the_rest_of_its_batch():
    head = make_head(width=300)
    features = np.random.default_rng(1).normal(size=(50, 300)).astype(np.float32)
    together = head.predict_proba(features)
    alone = [head.predict_proba(features[row : row + 1])[0] for row in range(50)]
    np.testing.assert_allclose(alone, together, rtol=1e-12)
    assert head.predict_proba(features[:0]).shape == (0, 3)


def test_features_of_another_width_are_refused():
    with pytest.raises(FeatureShapeError, match=r"7 features \(stage3:avg\).*\[2, 8\]"):
        make_head().predict_proba(np.zeros((2, 8)))


def test_arrays_that_do_not_fit_each_other_are_listed_at_once():
    head = make_head()
    arrays = head.to_arrays() | {"bias": np.zeros(4), "scale": np.ones(8)}
    with pytest.raises(FeatureShapeError) as caught:
        Head.from_arrays(head.to_json(), arrays)
    assert "bias [4] instead of [3], scale [8] instead of [7]" in str(caught.value)


def test_an_unknown_kind_and_missing_keys_are_named():
    head = make_head()
    with pytest.raises(ConfigError, match="kind 'mlp'; known are linear"):
        replace(head, kind="mlp")
    description = head.to_json()
    del description["classes"]
    arrays = head.to_arrays()
    del arrays["scale"]
    with pytest.raises(ConfigError, match="lacks classes, scale"):
        Head.from_arrays(description, arrays)


def test_using_a_head_loads_no_jax():
    program = (
        "import sys, tl_pipeline.heads, tl_pipeline.heads.head\n"
        "assert 'jax' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
