"""A small run: everything that `write_run` takes, without its root and name."""

from typing import Any

import numpy as np
import pytest

from tl_pipeline.runs import Predictions
from tl_pipeline.tasks import Task

CLASSES = ("ants", "bees", "日本")


@pytest.fixture
def parts() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "asked": {
            "version": "1.0",
            "spec": "5" * 64,
            "snapshot": "e" * 64,
            "features": ["pool"],
            "heads": {"kinds": ["linear"], "l2": [0.1, 1.0], "n_seeds": 3},
        },
        "provenance": {"dataset": "insects", "store": "stores/x"},
        "head": {"kind": "linear", "spec": {"backbone": "toy", "weights": "w" * 64}},
        "head_arrays": {
            "kernel": np.asfortranarray(rng.normal(size=(4, 3)).astype(np.float32)),
            "temperature": np.float32(1.5),
        },
        "metrics": {"test": {"accuracy": {"value": 0.75, "low": 0.5, "high": 1.0}}},
        "predictions": Predictions(
            ids=("a/1.jpg", "ü/2.jpg", "c/3.jpg"),
            content=rng.integers(0, 256, (3, 32), np.uint8),
            splits=("val", "test", "test"),
            targets=np.array([2, 0, -1]),
            outputs=np.array([[0.1, 0.2, 0.7], [0.25, 0.5, 0.25], [0.6, 0.3, 0.1]]),
            task=Task("multiclass", CLASSES),
        ),
        "report": "<!doctype html><p>75 % über alles",
    }
