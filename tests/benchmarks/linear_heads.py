"""Many linear heads at once against scikit-learn, one fit after another, in one run.

    python tests/benchmarks/linear_heads.py

Heads are strengths times folds: a head of fold i is fitted to the rows of the other
folds. Both sides take turns: in each round all heads are fitted anew, compilation
included, then scikit-learn fits `--oracles` of them, spread over the strengths, with
its own defaults but for the iterations, which its 100 would cut short. Its time for all
heads is extrapolated from these, and the output says so. At its default tolerance it
stops short of the optimum of weak penalties, which costs it time only where it gets
there: `--sklearn-tol 1e-6` compares optimum with optimum.
"""

import argparse
import json
import os
import platform
import time
import warnings

import jax
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.linear import fit_linear, predict_logits
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer


def make_features(
    n: int, width: int, n_classes: int, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rectified mixtures of 64 hidden directions whose weight falls tenfold."""
    targets = rng.integers(0, n_classes, n)
    centers = rng.normal(size=(n_classes, 64))
    hidden = centers[targets] + 1.6 * rng.normal(size=(n, 64))
    mixing = rng.normal(size=(64, width)) * np.logspace(0, -1, 64)[:, None]
    noise = rng.normal(size=(n, width)).astype(np.float32)
    features = np.maximum((hidden @ mixing).astype(np.float32) + noise, 0)
    return features, targets


def objective(
    kernel: np.ndarray,
    bias: np.ndarray,
    features: np.ndarray,
    targets: np.ndarray,
    rows: np.ndarray,
) -> float:
    """The mean cross-entropy of those rows; the logits float32, the rest float64."""
    logits = (features[rows] @ kernel.astype(np.float32)).astype(np.float64) + bias
    own = logits[np.arange(len(logits)), targets[rows]]
    logits -= own[:, None]
    top = logits.max(axis=1)
    return float((top + np.log(np.exp(logits - top[:, None]).sum(axis=1))).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--strengths", type=int, default=16)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--oracles", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tol", type=float, default=1e-7, help="of fit_linear")
    parser.add_argument("--sklearn-tol", type=float, default=1e-4)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    n, n_test = options.rows, 5000
    features, targets = make_features(
        n + n_test, options.width, options.classes, rng=rng
    )
    standardizer = fit_standardizer(features[:n])
    features = apply_standardizer(standardizer, features)
    train, test = features[:n], features[n:]
    truth, expected = targets[:n], targets[n:]
    grid = np.logspace(-5, 0, options.strengths)
    fold = rng.permutation(n) % options.folds
    l2 = np.repeat(grid, options.folds)
    kept = np.tile(fold != np.arange(options.folds)[:, None], (options.strengths, 1))

    ours: list[float] = []
    seconds: list[float] = []
    loads: list[float] = []
    compared = []
    n_iter, converged = np.zeros(0), np.zeros(0, bool)
    spread = np.linspace(0, len(l2) - 1, options.oracles * options.rounds)
    for turn in range(options.rounds):
        jax.clear_caches()
        loads.append(round(os.getloadavg()[0], 1))
        start = time.perf_counter()
        heads = fit_linear(
            train,
            truth,
            n_classes=options.classes,
            l2=l2,
            sample_weight=kept,
            tol=options.tol,
        )
        ours.append(time.perf_counter() - start)
        n_iter, converged = heads.n_iter, heads.converged
        logits = predict_logits(heads, test)
        for index in spread.round().astype(int)[turn :: options.rounds]:
            rows = kept[index]
            c = sklearn_c(l2[index], rows.sum())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = time.perf_counter()
                oracle = LogisticRegression(
                    C=c, max_iter=1000, tol=options.sklearn_tol
                ).fit(train[rows], truth[rows])
                seconds.append(time.perf_counter() - start)
            predicted = logits[index].argmax(axis=1)
            best = objective(oracle.coef_.T, oracle.intercept_, train, truth, rows)
            found = objective(
                heads.kernel[index], heads.bias[index], train, truth, rows
            )
            best += l2[index] / 2 * np.square(oracle.coef_).sum(dtype=np.float64)
            found += (
                l2[index] / 2 * np.square(heads.kernel[index]).sum(dtype=np.float64)
            )
            compared.append(
                {
                    "l2": float(f"{l2[index]:.3g}"),
                    "seconds_sklearn": round(seconds[-1], 2),
                    "iterations_sklearn": int(oracle.n_iter_.max()),
                    "iterations": int(heads.n_iter[index]),
                    "accuracy_sklearn": float(
                        np.mean(oracle.predict(test) == expected)
                    ),
                    "accuracy": float(np.mean(predicted == expected)),
                    "same_prediction": float(
                        np.mean(predicted == oracle.predict(test))
                    ),
                    "objective_over_sklearn": float(f"{found / best - 1:.1e}"),
                }
            )
    each = float(np.mean(seconds))
    all_ours = float(np.mean(ours))
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": loads,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
        "sklearn": sklearn.__version__,
        "shape": [n, options.width, options.classes],
        "heads": len(l2),
        "tol": options.tol,
        "tol_sklearn": options.sklearn_tol,
        "converged": int(converged.sum()),
        "iterations_mean": float(n_iter.mean()),
        "seconds_with_compilation": [round(one, 1) for one in ours],
        "seconds_a_head": round(all_ours / len(l2), 3),
        "seconds_a_head_sklearn": round(each, 3),
        "seconds_sklearn_extrapolated": round(each * len(l2), 1),
        "ratio_extrapolated_from": len(seconds),
        "ratio": round(each * len(l2) / all_ours, 1),
        "compared": compared,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
