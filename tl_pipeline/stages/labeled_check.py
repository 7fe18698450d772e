"""What labeled pictures say of a checkpoint: its own classifier's score, and heads'."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.data.contents import digest_items, make_examples
from tl_pipeline.data.dataset import Item
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.imagenet import CLASSES, find_classes, say_unknown
from tl_pipeline.examples import Examples
from tl_pipeline.heads.linear import fit_linear, predict_logits
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.progress import Progress
from tl_pipeline.stages.backbones import Backbone
from tl_pipeline.stages.inputs import Inputs, Wanted
from tl_pipeline.stages.lanes import Batches

TEST_SIZE = 0.5  # share, where the data has no split of its own
L2 = 0.1  # of all heads alike: they are compared with each other
_BATCH = 32


def measure_on_data(
    exact: Backbone,
    rough: Backbone,
    data: str | Path,
    *,
    workers: int | None,
    progress: Progress,
) -> tuple[dict[str, Any], list[str]]:
    """Scores a backbone's classifier, and linear heads, on labeled pictures.

    Args:
      exact: Computing in float32.
      rough: The same in bfloat16.
      data: A labeled dataset.
      workers: Decoding threads; by default one a core.
      progress: What to tell as it goes on.

    Returns:
      `examples`, `failed`, `classes` (of the data); `top1`, `top5`, in percent, and
      `top1_bfloat16`, where there is a classifier of ImageNet and its labels; `head`:
      `feature`, `train`, `test` (examples), and the accuracy on test, in percent, of a
      linear head on rows in `float32`, stored as `float16`, and computed in
      `bfloat16`. And sentences on what could not be measured.

    Raises:
      DatasetError: Nothing can be read, or some labels are not ImageNet's.
    """
    dataset = load_dataset(data)
    contents = digest_items(dataset, None, workers=workers)
    if not contents.items:
        raise DatasetError(
            f"Asked to check a backbone on {data}: none of its {len(dataset)} examples "
            "can be read. Check the files and their permissions."
        )
    examples = make_examples(dataset, contents, val_size=0.0, test_size=TEST_SIZE)
    classifier = exact.feature_shapes().get("logits") == (CLASSES,)
    labels = [target for target in examples.targets if target is not None]
    outputs_of = find_classes(labels) if classifier else {}
    feature = _choose_feature(exact)
    items: dict[bytes, list[Item]] = {}
    for item, row in zip(contents.items, contents.content, strict=True):
        items.setdefault(row.tobytes(), []).append(item)
    wanted = ["logits"] if classifier else []
    rows, computed = _compute(
        (exact, rough),
        [feature, *wanted],
        Inputs(dataset, items),
        items,
        workers,
        progress,
    )
    kept = [
        (i, rows[key])
        for i, key in enumerate(row.tobytes() for row in examples.content)
        if key in rows and examples.targets[i] is not None
    ]
    found: dict[str, Any] = {
        "examples": len(kept),
        "failed": len(dataset) - len(kept),
        "classes": len(set(labels)),
        "top1": None,
        "top5": None,
        "top1_bfloat16": None,
        "head": None,
    }
    notes = []
    if not classifier:
        notes.append("top-1 is not measured: these weights classify no ImageNet.")
    elif not outputs_of:
        notes.append(say_unknown(labels))
    elif kept:
        targets = np.array([outputs_of[str(examples.targets[i])] for i, _ in kept])
        logits, half = (part["logits"][[row for _, row in kept]] for part in computed)
        found["top1"] = _top(logits, targets, 1)
        found["top5"] = _top(logits, targets, 5)
        found["top1_bfloat16"] = _top(half, targets, 1)
    full, half = (part[feature][[row for _, row in kept]] for part in computed)
    found["head"], problem = _fit_heads(examples, [i for i, _ in kept], full, half)
    if found["head"]:
        found["head"]["feature"] = feature
    return found, notes + problem


def _choose_feature(backbone: Backbone) -> str:
    """Returns the feature that heads are made on: a vector."""
    shapes = backbone.feature_shapes()
    name = "pool" if "pool" in shapes else list(shapes)[-1]
    pooling = "avg" if "avg" in backbone.preprocess.poolings else "mean"
    return name if len(shapes[name]) == 1 else f"{name}:{pooling}"


def _compute(
    backbones: tuple[Backbone, ...],
    features: list[str],
    inputs: Inputs,
    contents: Mapping[bytes, Any],
    workers: int | None,
    progress: Progress,
) -> tuple[dict[bytes, int], list[dict[str, np.ndarray]]]:
    """Returns the row of each content that could be decoded, and all rows."""
    preprocess = backbones[0].preprocess
    batches = [
        Batches(
            backbone.make_forward(features),
            batch_size=_BATCH,
            windowed=preprocess.windowed,
        )
        for backbone in backbones
    ]
    rows: dict[bytes, int] = {}
    progress.start("check", len(contents))
    try:
        wanted = [Wanted(content, (preprocess,)) for content in contents]
        for content, outcomes in inputs.stream(wanted, workers=workers):
            outcome = outcomes[preprocess]
            if isinstance(outcome, np.ndarray):
                rows[content] = len(rows)
                for one in batches:
                    one.push(outcome)
            progress.advance(1)
    finally:
        progress.finish()
    return rows, [one.finish() for one in batches]


def _top(logits: np.ndarray, targets: np.ndarray, k: int) -> float:
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return 100 * float((best == targets[:, None]).any(axis=1).mean())


def _fit_heads(
    examples: Examples, kept: list[int], full: np.ndarray, half: np.ndarray
) -> tuple[dict[str, Any] | None, list[str]]:
    """Returns the scores of linear heads, or a sentence why there are none."""
    names = sorted({str(examples.targets[i]) for i in kept})
    targets = np.array([names.index(str(examples.targets[i])) for i in kept])
    test = np.array([examples.splits[i] == "test" for i in kept], bool)
    if not test.any() or len(set(targets[~test])) < 2:
        return None, [
            "no head is compared: that takes two classes in train, and test examples."
        ]
    with np.errstate(over="ignore"):
        stored = full.astype(np.float16).astype(np.float32)
    kinds = {"float32": full, "float16": stored, "bfloat16": half}
    found: dict[str, Any] = {"train": int((~test).sum()), "test": int(test.sum())}
    for kind, rows in kinds.items():
        if not np.isfinite(rows).all():
            found[kind] = None
            continue
        standardizer = fit_standardizer(rows[~test])
        train, held = (apply_standardizer(standardizer, rows[m]) for m in (~test, test))
        heads = fit_linear(train, targets[~test], n_classes=len(names), l2=[L2])
        guesses = predict_logits(heads, held)[0].argmax(axis=1)
        found[kind] = 100 * float((guesses == targets[test]).mean())
    return found, []
