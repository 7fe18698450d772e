"""Many small heads in one program against one after another, in one run.

    python tests/benchmarks/mlp_heads.py

Both sides are `fit_mlp` on the same features, for the same epochs, after a first call
that compiles. They take turns: all heads at once, then `--alone` of them one by one,
whose time for all heads is extrapolated, and the output says so.
"""

import argparse
import json
import os
import resource
import time

import jax
import numpy as np

from tl_pipeline.heads.mlp import fit_mlp
from tl_pipeline.heads.settings import MlpSettings
from tl_pipeline.tasks import Task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--heads", type=int, default=256)
    parser.add_argument("--alone", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    targets = rng.integers(0, options.classes, options.rows)
    centers = rng.normal(size=(options.classes, options.width))
    features = 0.3 * centers[targets] + rng.normal(size=(options.rows, options.width))
    features = features.astype(np.float32)
    task = Task("multiclass", tuple(map(str, range(options.classes))))
    settings = [
        MlpSettings(
            hidden=(options.hidden,),
            learning_rate=float(rate),
            batch_size=options.batch,
            epochs=options.epochs,
            patience=options.epochs,
            seed=seed,
        )
        for seed, rate in enumerate(np.geomspace(1e-4, 1e-2, options.heads))
    ]

    together, alone, difference = [], [], 0.0
    for turn in range(options.rounds + 1):  # the first one compiles
        start = time.perf_counter()
        heads = fit_mlp(features, targets, task, settings=settings)
        middle = time.perf_counter()
        first = turn * options.alone % options.heads
        for head in range(first, first + options.alone):
            one = fit_mlp(features, targets, task, settings=[settings[head]])
            difference = max(difference, abs(one.loss[0] / heads.loss[head] - 1))
        if turn:
            together.append(middle - start)
            seconds = time.perf_counter() - middle
            alone.append(seconds / options.alone * options.heads)
    report = vars(options) | {
        "seconds_together": [round(value, 2) for value in together],
        "seconds_alone_extrapolated": [round(value, 2) for value in alone],
        "times_faster": round(min(alone) / min(together), 2),
        "largest_difference_in_loss": float(f"{difference:.2g}"),
        "peak_memory_gib": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2
        ),
        "load": [round(value, 1) for value in os.getloadavg()],
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
