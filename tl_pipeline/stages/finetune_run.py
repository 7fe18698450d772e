"""What a fine-tuning leaves: weights, a store of their features, and a run on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.digest import Json, short_digest
from tl_pipeline.evaluation.metrics import score
from tl_pipeline.files import make_folder
from tl_pipeline.finetuning.head import save_head
from tl_pipeline.finetuning.training import Tuned
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.preparation import Preparation, Steps
from tl_pipeline.runs.run import Run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.checkpoints import write_checkpoint
from tl_pipeline.stages.choosing import Choosing
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune_comparison import pair_predictions
from tl_pipeline.stages.finetune_problem import Plan, begin_parameters
from tl_pipeline.stages.finetune_start import Start, find_units
from tl_pipeline.stages.labeled import Labeled, load_labeled
from tl_pipeline.stages.labels import make_labels, read_slices
from tl_pipeline.stages.scorecard import score_chosen
from tl_pipeline.stages.sweep import Candidate
from tl_pipeline.stages.training import (
    estimate_choice,
    make_predictions,
    write_training,
)
from tl_pipeline.store.store import open_store

WEIGHTS = "weights"  # the folder beside the runs


def save_weights(
    plan: Plan, start: Start, network: TrainableNetwork, tuned: Tuned, run_root: Path
) -> Path:
    """Writes the trunk under this package's names; its digest is in the file's name."""
    arrays = begin_parameters(plan, network)
    arrays |= {name: x for name, x in tuned.trained.items() if name in arrays}
    name = network.architecture.name
    folder = run_root.absolute() / WEIGHTS
    make_folder(folder)
    path = folder / f"{name}-{short_digest(array_digest(arrays))}.safetensors"
    origin = start.run.provenance["weights_origin"] or {}
    (way,) = plan.config.ways
    known = [] if way == "scratch" else [origin.get("source_dataset") or "unknown data"]
    metadata = {
        "architecture": name,
        "source_dataset": ", then ".join([*known, start.examples.dataset]),
        "made_by": f"tl-pipeline finetune, from run {start.run.identity}",
    }
    if origin.get("license") and known:
        metadata["license"] = str(origin["license"])
    write_checkpoint(path, network.architecture, arrays, metadata=metadata)
    return path


def write_tuned(
    plan: Plan,
    start: Start,
    network: TrainableNetwork,
    tuned: Tuned,
    *,
    dataset: Dataset,
    run_root: Path,
    asked: Mapping[str, Json],
    workers: int | None = None,
) -> Run:
    """Saves what was trained and writes the run of its head.

    The features of the new weights are extracted into a store of their own, so that
    the run is like any other: `predict`, `compare` and the gate take it.

    Args:
      plan: What was trained.
      start: Where it started.
      network: The network that it started with.
      tuned: What was found.
      dataset: What has the bytes of the examples.
      run_root: The folder of runs.
      asked: What the run's identity is the digest of.
      workers: Decoding threads; by default one a core.
    """
    spec, task = start.run.spec, start.data.task
    backbone = load_backbone(
        str(spec["backbone"]),
        weights=save_weights(plan, start, network, tuned, run_root),
        compute_dtype=str(spec["compute_dtype"]),
        settings=spec["settings"],
    )
    extracted = extract(
        dataset,
        backbone,
        features=plan.features,
        store_root=start.store.path.parent,
        store_dtype=str(spec["store_dtype"]),
        batch_size=start.store.batch_size,
        examples=start.examples,
        workers=workers,
    )
    store = open_store(extracted.store)
    labels = make_labels(
        start.examples,
        task=task.kind,
        targets=start.columns.target,
        weight=start.columns.weight,
    )
    data = load_labeled(store, start.head.feature, start.examples, labels=labels)
    (way,) = plan.config.ways
    head = Head(
        kind="linear",
        feature=start.head.feature,
        task=task,
        settings={"fine_tuned": way},
        preparation=Preparation(Steps(standardize=False), None),
        arrays=save_head(
            tuned.trained, binary=task.kind == "binary", units=find_units(start.data)
        ),
    )
    said = head.predict(data.features)
    val = data.split("val").rows
    choosing = Choosing(
        "val",
        val,
        np.zeros(0, np.int64),
        0,
        f"the best of {len(tuned.epochs) - 1} epochs, number {tuned.best_epoch}",
    )
    candidate = Candidate(
        head, score(data.targets[val], said[val], task=task), said[val], True
    )
    place = {id: row for row, id in enumerate(start.examples.ids)}
    slices = {
        name: [column[place[id]] for id in data.ids]
        for name, column in read_slices(start.examples, start.columns.slices).items()
    }
    kept: Any = start.run.asked["heads"]
    scorecard = score_chosen(
        candidate,
        data,
        choosing,
        outputs=said,
        slices=slices,
        calibrate=bool(kept["calibrate"]),
        decide_by=kept["decide_by"],
    )
    head = scorecard.head
    predictions = make_predictions(data, head, scorecard.outputs)
    metrics: dict[str, Any] = {
        "task": task.kind,
        "task_reason": start.reason,
        "chosen": {
            "kind": head.kind,
            "settings": {"feature": head.feature, **head.settings},
        },
        "selection": choosing.describe()
        | {"corrected": estimate_choice(data, choosing, [candidate])},
        **scorecard.figures,
        "seeds": None,
        "classes": list(data.classes),
        "counts": _count(data),
        "candidates": [
            {
                "kind": head.kind,
                "feature": head.feature,
                **head.settings,
                **candidate.scores,
                "converged": True,
                "chosen": True,
            }
        ],
        "learning_curve": [],
        "comparison": [],
        "transfer": None,
        "heads_trained": 1,
        "finetune": {
            "from": str(start.run.path),
            "way": way,
            "blocks": list(plan.partition.blocks),
            "cut": plan.cut,
            "parameters": sum(x.size for x in tuned.trained.values()),
            "steps": tuned.steps,
            "seconds": tuned.seconds,
            "memory": tuned.memory,
            "best_epoch": tuned.best_epoch,
            "epochs": [dict(epoch) for epoch in tuned.epochs],
            "against": pair_predictions(start.run.predictions(), predictions),
        },
    }
    return write_training(
        store,
        start.examples,
        run_root,
        asked=asked,
        data=data,
        head=head,
        outputs=scorecard.outputs,
        metrics=metrics,
        extraction=extracted.to_json(),
    )


def _count(data: Labeled) -> dict[str, int]:
    return {s: len(data.split(s).rows) for s in ("train", "val", "test")}
