"""What the reporting functions take, as the stages would hand it over."""

from typing import Any

import pytest


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


@pytest.fixture
def extraction() -> dict[str, Any]:
    return {
        "dataset": "insects",
        "store": "stores/toy-555555555555",
        "features": ("pool",),
        "examples": 398,
        "rows_reused": 380,
        "rows_computed": 12,
        "views_computed": 96,
        "shards_merged": 34,
        "duplicates": 2,
        "changes": {"added": 12, "removed": 0, "relabeled": 3},
        "failures": [
            {"id": f"bees/{i}.jpg", "reason": "truncated", "kind": "decode"}
            for i in range(4)
        ],
        "parity": {"rows": 8, "max_difference": 1.5e-7, "tolerance": 1e-4},
        "seconds": 1.25,
        "seconds_saved": 2460.0,
        "notes": ["`val` is used as test."],
        "conflicts": [["ants/1.jpg", "bees/1.jpg"]],
        "leaks": [],
        "weights_origin": None,
        "baselines": [{"name": "pixels", "rows_computed": 12}],
    }


@pytest.fixture
def metrics() -> dict[str, Any]:
    def row(name: str, accuracy: float) -> dict[str, Any]:
        return {
            "name": name,
            "feature": "pool",
            "dimensions": 1280,
            "n_train": 206,
            "measure": "accuracy",
            "score": accuracy,
            "shots": {"5": {"mean": accuracy / 2, "spread": 0.02}},
        }

    def gain(against: str, points: float) -> dict[str, Any]:
        ends = {"low": points - 8, "high": points + 8}
        return {"against": against, "points": points, "verdict": "positive", **ends}

    return {
        "task": "binary",
        "task_reason": "its targets are two classes",
        "seeds": None,
        "selection": {
            "method": "val",
            "folds": 0,
            "examples": 39,
            "sentence": "chosen on 39 validation examples: as asked",
            "corrected": interval(0.88),
        },
        "chosen": {
            "kind": "linear",
            "settings": {"feature": "pool", "l2": 0.1, "C": 0.05},
        },
        "val": {"accuracy": interval(0.9), "log_loss": interval(0.2)},
        "test": {"accuracy": interval(0.875), "log_loss": interval(0.25)},
        "classes": ["ants", "bees"],
        "confusion": [[0, 0, 66], [0, 1, 4], [1, 0, 3], [1, 1, 80]],
        "counts": {"test": 153, "train": 206, "val": 39},
        "candidates": [
            {
                "kind": "linear",
                "feature": "pool",
                "l2": l2,
                "C": 1 / (200 * l2),
                "accuracy": 0.9,
                "log_loss": loss,
                "converged": True,
                "chosen": l2 == 0.1,
            }
            for l2, loss in ((0.001, 0.5), (0.1, 0.2), (10.0, 0.4))
        ],
        "comparison": [row("toy", 0.875), row("pixels", 0.6), row("random:0", 0.55)],
        "transfer": {
            "verdict": "positive",
            "sentence": "Transfer: positive, +27.5 points over raw pixels",
            "gains": [gain("pixels", 27.5), gain("random:0", 32.5)],
        },
        "per_class": [],
        "calibration": {
            "temperature": 1.5,
            "applied": False,
            "test": {"log_loss": 0.25, "expected_calibration_error": 0.1},
            "test_scaled": {"log_loss": 0.2, "expected_calibration_error": 0.05},
            "bins": [
                {"low": 0.0, "high": 0.5, "n": 0, "confidence": None, "accuracy": None},
                {"low": 0.5, "high": 1.0, "n": 9, "confidence": 0.8, "accuracy": 0.7},
            ],
        },
        "slices": [
            {
                "column": "camera <b>",
                "slices": [
                    {
                        "group": "old",
                        "n": 60,
                        "metrics": {"accuracy": interval(0.7)},
                        "unsure": None,
                    },
                    {
                        "group": None,
                        "n": 3,
                        "metrics": {},
                        "unsure": "3 examples, fewer than 30",
                    },
                ],
                "differences": [{"name": "bees", "error_difference": 0.25}],
            }
        ],
        "learning_curve": [{"k": 1, "mean": 0.6, "spread": 0.1}],
        "heads_trained": 3,
    }


@pytest.fixture
def report(metrics: dict[str, Any], extraction: dict[str, Any]) -> dict[str, Any]:
    """A `ReportData`."""
    return {
        "asked": {
            "version": "1.0",
            "spec": "5" * 64,
            "snapshot": "e" * 64,
            "features": ["pool"],
            "heads": {"kinds": ["linear"], "l2": [0.001, 0.1, 10.0], "n_seeds": 3},
            "baselines": [{"name": "pixels"}, {"name": "random:0"}],
            "shots": [5],
        },
        "provenance": {
            "dataset": "insects",
            "store": "stores/toy-555555555555",
            "weights": "toy.safetensors",
            "weights_origin": {
                "file": "toy.safetensors",
                "source_dataset": "ImageNet-1k",
                "license": None,
                "url": "https://example.org/toy.safetensors",
            },
            "extraction": extraction,
            "versions": {"jax": "0.10.2"},
        },
        "spec": {
            "backbone": "toy",
            "settings": {"width": 1.0},
            "weights": "w" * 64,
            "preprocess": {"kind": "image", "size": [224, 224], "resize_size": None},
            "compute_dtype": "float32",
            "matmul_precision": "highest",
            "store_dtype": "float16",
        },
        "metrics": metrics,
        "mistakes": [
            {
                "id": "val/ants/7.jpg",
                "target": "ants",
                "predicted": "bees",
                "probability": 0.95,
            }
        ],
    }


@pytest.fixture
def summary(metrics: dict[str, Any], extraction: dict[str, Any]) -> dict[str, Any]:
    """What a pipeline reports."""
    return {
        "extract": extraction,
        "train": metrics
        | {
            "run": "runs/insects-1",
            "report": "runs/insects-1/report.html",
            "reused": False,
            "seconds": 3.0,
        },
        "promotion": {
            "verdict": "hold",
            "sentence": "Hold: +0.4 over the current head is within noise",
            "consultations": 3,
            "alpha": 0.05,
            "notes": ["the head in use does not know a\x1bb"],
            "current": "runs/insects-0",
        },
        "drift": {"differ": True, "sentence": "Drift: 12 new examples differ in pool"},
        "retention": {"snapshots": 2, "rows": 1200, "runs": ["runs/insects-9"]},
    }
