"""One training: heads of every kind and feature asked for, one chosen, scored once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.merits import find_losses, find_merits
from tl_pipeline.evaluation.selection_bias import corrected_score
from tl_pipeline.examples import Examples
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.members import ENSEMBLE
from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.preprocess import find_taken
from tl_pipeline.progress import Progress
from tl_pipeline.reporting.html import make_report
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import Run, write_run
from tl_pipeline.stages.cached_views import CachedViews
from tl_pipeline.stages.choosing import Choosing
from tl_pipeline.stages.comparison import compare_baselines
from tl_pipeline.stages.ensembling import enter_ensemble
from tl_pipeline.stages.entering import enter_candidates
from tl_pipeline.stages.labeled import Labeled
from tl_pipeline.stages.labels import Columns, make_labels, read_slices
from tl_pipeline.stages.run_page import surest_mistakes
from tl_pipeline.stages.scorecard import score_chosen
from tl_pipeline.stages.seeds import spread_over_seeds
from tl_pipeline.stages.sweep import (
    Candidate,
    choose_candidate,
    few_shot_outputs,
)
from tl_pipeline.stages.sweep_jobs import SweepRunner
from tl_pipeline.store.history import read_history
from tl_pipeline.store.store import FeatureStore


def run_training(
    store: FeatureStore,
    examples: Examples,
    run_root: Path,
    *,
    asked: Mapping[str, Json],
    features: Sequence[str],
    heads: HeadsConfig,
    columns: Columns,
    baselines: Sequence[Mapping[str, Any]],
    shots: Sequence[int],
    max_failures: float,
    views: CachedViews | None,
    extraction: Mapping[str, Any] | None,
    runner: SweepRunner | None,
    progress: Progress,
) -> Run:
    """Trains, chooses, scores and writes the run; see `train`."""
    labels = make_labels(
        examples, task=heads.task, targets=columns.target, weight=columns.weight
    )
    entrants, n_trained = enter_candidates(
        store,
        examples,
        features,
        labels=labels,
        columns=columns,
        heads=heads,
        max_failures=max_failures,
        views=views,
        runner=runner,
        progress=progress,
    )
    if heads.ensemble:
        ensemble = enter_ensemble(store, entrants, most=heads.ensemble)
        entrants += [ensemble] if ensemble else []
    candidates = [entrant.candidate for entrant in entrants]
    best = choose_candidate(candidates)
    entrant = entrants[best]
    data, choosing = entrant.data, entrant.choosing
    place = {id: row for row, id in enumerate(examples.ids)}
    slices = {
        name: [column[place[id]] for id in data.ids]
        for name, column in read_slices(examples, columns.slices).items()
    }
    scorecard = score_chosen(
        candidates[best],
        data,
        choosing,
        outputs=entrant.outputs(),
        slices=slices,
        calibrate=heads.calibrate,
        decide_by=heads.decide_by,
    )
    head = entrant.located(scorecard.head)
    comparison = None
    if baselines:
        comparison = compare_baselines(
            entrant.vectors(),
            baselines,
            name=str(store.spec["backbone"]),
            targets=columns.target,
            l2=heads.strengths,
            shots=shots,
            n_seeds=heads.n_seeds,
            unit=f"test {find_taken(store.spec)}",
            selection=heads.selection,
            n_folds=heads.n_folds,
        )
        n_trained += comparison.heads_trained
        progress.advance(len(baselines))
    curve = _learning_curve(entrant.vectors(), choosing, heads)
    n_trained += len(curve) * heads.n_seeds * len(heads.strengths)
    metrics: dict[str, Any] = {
        "task": data.task.kind,
        "task_reason": labels.reason,
        "chosen": {
            "kind": head.kind,
            "settings": {"feature": head.feature, **_describe(head)},
        },
        "selection": choosing.describe()
        | {"corrected": estimate_choice(data, choosing, candidates)},
        **scorecard.figures,
        "seeds": spread_over_seeds(entrants, best),
        "classes": list(data.classes),
        "counts": {s: len(data.split(s).rows) for s in ("train", "val", "test")},
        "candidates": [
            {
                "kind": c.head.kind,
                "feature": c.head.feature,
                **_describe(c.head),
                **c.scores,
                "converged": c.converged,
                "chosen": i == best,
            }
            for i, c in enumerate(candidates)
        ],
        "learning_curve": curve,
        "comparison": list(comparison.rows) if comparison else [],
        "transfer": comparison.verdict.to_json() if comparison else None,
        "heads_trained": n_trained,
    }
    return write_training(
        store,
        examples,
        run_root,
        asked=asked,
        data=data,
        head=head,
        outputs=scorecard.outputs,
        metrics=metrics,
        extraction=extraction,
    )


def make_predictions(data: Labeled, head: Head, outputs: np.ndarray) -> Predictions:
    """Returns what a head says of the labeled examples that are not train.

    Args:
      data: N labeled rows.
      head: The head.
      outputs: [N, K] what it says of them.
    """
    scored = np.flatnonzero(data.splits != "train")
    return Predictions(
        ids=tuple(data.ids[i] for i in scored),
        content=data.content[scored],
        splits=tuple(data.splits[scored]),
        targets=data.targets[scored],
        outputs=outputs[scored],
        task=data.task,
        thresholds=head.thresholds,
    )


def write_training(
    store: FeatureStore,
    examples: Examples,
    run_root: Path,
    *,
    asked: Mapping[str, Json],
    data: Labeled,
    head: Head,
    outputs: np.ndarray,
    metrics: Mapping[str, Any],
    extraction: Mapping[str, Any] | None,
) -> Run:
    """Writes the run of a chosen head with its predictions and its report.

    Args:
      store: Whose rows the head takes.
      examples: The snapshot.
      run_root: The folder of runs.
      asked: What the run's identity is the digest of.
      data: The labeled rows.
      head: The head.
      outputs: [N, K] what it says of them.
      metrics: Every figure.
      extraction: What the extraction reported; None where it is not known.
    """
    predictions = make_predictions(data, head, outputs)
    provenance: dict[str, Any] = {
        "dataset": examples.dataset,
        "store": str(store.path),
        "batch_size": store.batch_size,
        **_weights(store),
        "extraction": extraction,
        "versions": store.versions(store.manifest.shards[-1].name),
    }
    about_head = head.to_json() | {
        "spec": store.spec,
        "spec_digest": store.digest,
        "snapshot": examples.digest,
        "dataset": examples.dataset,
    }
    return write_run(
        run_root,
        examples.dataset,
        asked=asked,
        provenance=provenance,
        head=about_head,
        head_arrays=head.to_arrays(),
        metrics=metrics,
        predictions=predictions,
        report=make_report(
            asked=asked,
            provenance=provenance,
            spec=store.spec,
            metrics=metrics,
            mistakes=surest_mistakes(predictions),
        ),
    )


def _describe(head: Head) -> dict[str, Json]:
    """Returns a head's settings, and how many columns it keeps of how many."""
    if head.kind == ENSEMBLE:
        members: Any = head.settings["members"]
        return {"members": [_name_member(one) for one in members]}
    kept = head.preparation.kept
    if kept is None:
        return dict(head.settings)
    return {**head.settings, "columns": len(kept.columns), "columns_of": kept.width}


def _name_member(member: Mapping[str, Any]) -> str:
    settings = member["settings"]
    strength = f", L2 {settings['l2']:.3g}" if "l2" in settings else ""
    return f"{member['count']} × {member['kind']} on {member['feature']}{strength}"


def estimate_choice(
    data: Labeled, choosing: Choosing, candidates: Sequence[Candidate]
) -> dict[str, float]:
    """Estimates what the choice would score on examples that had no part in it."""
    # Features that failed for different examples are scored on different rows.
    same = [c for c in candidates if len(c.outputs) == len(choosing.rows)]
    targets = data.targets[choosing.rows]
    outputs = [c.outputs for c in same]
    losses = np.stack([find_losses(data.task, targets, one) for one in outputs])
    merits = np.stack([find_merits(data.task, targets, one) for one in outputs])
    rng = np.random.default_rng([1, len(targets)])
    return corrected_score(losses, merits, rng=rng)._asdict()


def _learning_curve(
    data: Labeled, choosing: Choosing, heads: HeadsConfig
) -> list[dict[str, Json]]:
    """Scores linear heads on k examples a class, for each k."""
    if not data.task.is_single_class:
        return []
    test = data.split("test")
    curve = []
    for k in heads.learning_curve:
        outputs = few_shot_outputs(
            data, k=k, n_seeds=heads.n_seeds, l2=heads.strengths, choosing=choosing
        )
        right = find_merits(data.task, test.targets, outputs).mean(axis=1)
        curve.append(
            {
                "k": k,
                "mean": float(right.mean()),
                "spread": round(float(right.std()), 12),
            }
        )
    return curve


def _weights(store: FeatureStore) -> dict[str, Json]:
    """Returns where the backbone's weights were, by the latest extraction's word."""
    keys = ("weights", "weights_origin")
    for record in reversed(read_history(store.path)):
        if record.get("weights"):
            return {key: record[key] for key in keys}
    return dict.fromkeys(keys)
