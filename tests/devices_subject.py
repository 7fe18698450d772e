"""What several devices compute: extraction, heads and a fine-tuning, and where it lay.

Run as a program, it writes the arrays and, as JSON, how each computation was placed:

    python tests/devices_subject.py FOLDER OUT.npz [RUN]
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tl_pipeline.backbones import network
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.finetuning import training
from tl_pipeline.heads import lanes, linear
from tl_pipeline.heads.minibatches import ArrayBatches
from tl_pipeline.heads.mlp import MlpHeads, fit_mlp
from tl_pipeline.heads.settings import MlpSettings
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune import finetune
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store
from tl_pipeline.tasks import Task

SOURCE = "builtin:digits-shifted"
THREE = Task("multiclass", ("a", "b", "c"))


def place_of(array: Any) -> list[list[int]]:
    """Returns the shape of the part of an array that each of its devices has."""
    return [list(shard.data.shape) for shard in array.addressable_shards]


def watch(owner: Any, name: str, seen: list[Any], look: Any) -> None:
    """Has a compiled function tell where what it returned lies."""
    compute = getattr(owner, name)

    def told(*args: Any, **kwargs: Any) -> Any:
        found = compute(*args, **kwargs)
        seen.append(look(found))
        return found

    setattr(owner, name, told)


def compute_rows(root: Path, places: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    seen: list[Any] = []
    watch(network, "compute_features", seen, lambda found: place_of(found["pool"]))
    extracted = extract(
        load_dataset(SOURCE),
        load_backbone("digits_cnn"),
        features=["pool"],
        store_root=root / "stores",
        store_dtype="float32",
        batch_size=32,
    )
    places["rows"] = seen[0]
    store = open_store(extracted.store)
    rows = store.read("pool").features
    return extracted.store, {"rows": rows, "digest": np.array([store.digest])}


def fit_some_heads(places: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 241)  # odd: some device gets rows that are none
    features = 0.7 * rng.normal(size=(3, 6))[targets] + rng.normal(size=(241, 6))
    features = features.astype(np.float32)
    seen: list[Any] = []
    watch(linear, "advance", seen, lambda found: place_of(found[0].point.margins))
    folds = (np.arange(241) % 3 != np.array([[0], [0], [1]])).astype(np.float64)
    found = linear.fit_linear(
        features, targets, n_classes=3, l2=[0.01, 0.1, 0.01], sample_weight=folds
    )
    places["linear"] = seen[0]
    arrays = {"linear kernel": found.kernel, "linear loss": found.loss}

    seen = []
    watch(lanes, "run_epochs", seen, lambda found: place_of(found.loss))
    # Of plain steps, which are compiled fast.
    shared: dict[str, Any] = {"hidden": (), "optimizer": "sgd", "batch_size": 64}
    settings = [  # of the last one the loss falls all the time, of the others stays
        MlpSettings(seed=seed, epochs=16, patience=2, learning_rate=rate, **shared)
        for seed, rate in enumerate([1e-30] * 4 + [0.03])
    ]
    arrays |= name_arrays("mlp", fit_mlp(features, targets, THREE, settings=settings))
    places["mlp"] = list(seen)
    alone = fit_mlp(features, targets, THREE, settings=settings[-1:])
    arrays |= name_arrays("alone", alone)
    places["alone"] = seen[-1]
    seen = []
    watch(lanes, "run_step", seen, lambda found: place_of(found[1]))
    batches = ArrayBatches(features, batch_size=64)
    streamed = [MlpSettings(seed=seed, epochs=2, **shared) for seed in range(2)]
    arrays |= name_arrays(
        "streamed", fit_mlp(batches, targets, THREE, settings=streamed)
    )
    places["streamed"] = seen[0]
    return arrays


def name_arrays(kind: str, heads: MlpHeads) -> dict[str, Any]:
    return {
        f"{kind} {i} {name}": array
        for i, arrays in enumerate(heads.arrays)
        for name, array in arrays.items()
    }


def fine_tune(root: Path, run: str, places: dict[str, Any]) -> dict[str, Any]:
    seen: list[Any] = []
    account = training._account

    def look(compiled: Any) -> Any:
        *_, views, targets, weight, _ = compiled.input_shardings[0]
        sizes = ((64, 16, 16, 1), (64, 5), (64,))
        given = zip((views, targets, weight), sizes, strict=True)
        seen.append([[len(s.device_set), *s.shard_shape(size)] for s, size in given])
        return account(compiled)

    training._account = look
    report = finetune(
        run,
        run_root=root / "tuned",
        unfreeze=["stage2"],
        epochs=2,
        batch_size=64,
        learning_rate=1e-3,
        augment="none",
        augment_settings={"brightness": 0.1},
    )
    places["finetune"] = seen[0]
    tuned = load_run(report.rows[1]["run"])
    epochs = tuned.metrics["finetune"]["epochs"]
    losses = [[epoch["val_loss"], epoch.get("train_loss", 0)] for epoch in epochs]
    weights = load_file(str(tuned.provenance["weights"]))
    return {"losses": np.array(losses)} | {
        f"weights {name}": array for name, array in weights.items()
    }


def compute(root: Path, run: str | None) -> tuple[str, dict[str, Any]]:
    """Computes all in a folder; fine-tunes from a run, or from one of its own."""
    places: dict[str, Any] = {}
    store, arrays = compute_rows(root, places)
    arrays |= fit_some_heads(places)
    quick = {"kinds": ["ridge"], "l2": [0.003], "learning_curve": []}
    run = run or train(store, run_root=root / "runs", shots=(), **quick).run
    arrays |= fine_tune(root, run, places)
    return run, arrays | {"places": np.array([json.dumps(places)])}


if __name__ == "__main__":
    np.savez(sys.argv[2], **compute(Path(sys.argv[1]), sys.argv[3])[1])
