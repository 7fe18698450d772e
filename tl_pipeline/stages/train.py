"""Stage two: heads on cached features. No backbone runs and no input is opened."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ParityError, TooManyFailuresError
from tl_pipeline.examples import Examples
from tl_pipeline.heads.grid import L2_GRID
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import Run, find_run, run_identity, write_run
from tl_pipeline.spec import is_declared
from tl_pipeline.stages.provenance import package_version
from tl_pipeline.stages.relabel import relabel
from tl_pipeline.store.history import read_history
from tl_pipeline.store.store import FeatureStore, open_store

if TYPE_CHECKING:
    from tl_pipeline.stages.sweep import Candidate


@dataclasses.dataclass(frozen=True)
class TrainReport:
    """What a training found, or found again.

    Attributes:
      run: The run's folder.
      identity: The run's identity.
      report: The page for people.
      reused: Whether the run was there already.
      dataset: The dataset's name.
      store: The store's folder.
      chosen: `kind` and `settings`: the feature, the strength `l2` and its `C`.
      val: Each metric of the chosen head on val: `value`, `low`, `high`.
      test: Likewise on test, at which the chosen head alone has looked.
      counts: Labeled examples by split.
      candidates: Each head's feature, settings and val metrics.
      comparison: Rows of the table of the head and its baselines.
      transfer: The verdict, plain data; None without baselines.
      heads_trained: Heads trained now; 0 where the run was there.
      seconds: Wall time.
    """

    run: str
    identity: str
    report: str
    reused: bool
    dataset: str
    store: str
    chosen: Mapping[str, Any]
    val: Mapping[str, Any]
    test: Mapping[str, Any]
    counts: Mapping[str, int]
    candidates: tuple[Mapping[str, Any], ...]
    comparison: tuple[Mapping[str, Any], ...]
    transfer: Mapping[str, Any] | None
    heads_trained: int
    seconds: float

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def train(
    store: str | Path,
    *,
    run_root: str | Path = "runs",
    dataset: str | None = None,
    snapshot: str | None = None,
    targets: str | Path | None = None,
    features: Sequence[str] | None = None,
    kinds: Sequence[str] = ("linear",),
    l2: Sequence[float] = (),
    n_seeds: int = 3,
    baselines: Sequence[Mapping[str, Any]] = (),
    shots: Sequence[int] = (5,),
    max_failures: float = 0.01,
    extraction: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TrainReport:
    """Trains heads on a store's features, chooses one on val, scores it once on test.

    Asking again for the same returns the run that exists.

    Args:
      store: The store's folder.
      run_root: The folder of runs.
      dataset: Which dataset of the store; needed where it has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.
      targets: A CSV file of `id,target`: a new snapshot of the same examples with
        these targets is made, and trained on.
      features: Which features; by default all that the store holds as vectors.
      kinds: Kinds of heads.
      l2: Strengths to choose from; by default a grid.
      n_seeds: Repetitions where something is random: few-shot subsets.
      baselines: Each `{name, store, digest, snapshot, features}`, from `extract`.
      shots: Examples a class at which to compare with baselines, beside all.
      max_failures: Share of the snapshot's examples that may lack a row.
      extraction: What `extract` reported, for the run's report.
      progress: What to tell as it goes on.

    Raises:
      NotFoundError: There is no such store, snapshot or feature.
      DatasetError: There are not two classes to train on, or a split is empty.
      FeatureShapeError: A feature's rows are no vectors.
      TooManyFailuresError: More examples failed than `max_failures` allows.
      ParityError: The rows were never checked against live ones.
      StoreDamagedError: A file of the store is not the one that was committed.
    """
    begin = time.perf_counter()
    opened = open_store(store)
    examples = opened.snapshot(dataset, digest=snapshot)
    if targets is not None:
        examples = relabel(opened, examples, Path(targets))
    names = tuple(features or _vectors(opened))
    strengths = tuple(map(float, l2)) or L2_GRID
    asked: dict[str, Json] = {
        "version": package_version(),
        "spec": opened.digest,
        "snapshot": examples.digest,
        "features": list(names),
        "heads": {"kinds": list(kinds), "l2": list(strengths), "n_seeds": n_seeds},
        "shots": list(shots) if baselines else [],
        "baselines": [
            {key: b[key] for key in ("name", "digest", "snapshot", "features")}
            for b in baselines
        ],
    }
    found = find_run(Path(run_root), examples.dataset, run_identity(asked))
    if found is not None:
        return _report(found, store, begin, reused=True)
    if not (is_declared(opened.spec) or opened.has_parity()):
        raise ParityError(
            f"Asked to train on {opened.path}: some of its rows were never compared "
            "with live ones, as an extraction does at its end. Run the same "
            "`tl-pipeline extract` again; it computes nothing that is there."
        )
    progress = progress or NoProgress()
    progress.start("train", len(names) + len(baselines))
    try:
        run = _train(
            opened,
            examples,
            Path(run_root),
            asked=asked,
            features=names,
            l2=strengths,
            n_seeds=n_seeds,
            baselines=baselines,
            shots=shots,
            max_failures=max_failures,
            extraction=extraction,
            progress=progress,
        )
    finally:
        progress.finish()
    return _report(run, store, begin, reused=False)


def _train(
    store: FeatureStore,
    examples: Examples,
    run_root: Path,
    *,
    asked: Mapping[str, Json],
    features: Sequence[str],
    l2: Sequence[float],
    n_seeds: int,
    baselines: Sequence[Mapping[str, Any]],
    shots: Sequence[int],
    max_failures: float,
    extraction: Mapping[str, Any] | None,
    progress: Progress,
) -> Run:
    # Loaded only where something is trained: finding a run again must be instant.
    from tl_pipeline.evaluation.metrics import confusion_matrix
    from tl_pipeline.evaluation.uncertainty import bootstrap_intervals
    from tl_pipeline.reporting.html import make_report
    from tl_pipeline.stages.comparison import compare_baselines
    from tl_pipeline.stages.labeled import check_trainable, load_labeled
    from tl_pipeline.stages.sweep import choose_candidate, sweep_linear

    by_feature = {}
    candidates: list[Candidate] = []
    for name in features:
        data = load_labeled(store, name, examples)
        _check_failures(data.n_failed, examples, max_failures)
        check_trainable(data, dataset=examples.dataset)
        by_feature[name] = data
        candidates += sweep_linear(data, l2)
        progress.advance(1)
    best = choose_candidate(candidates)
    head = candidates[best].head
    data = by_feature[head.feature]
    probabilities = head.predict(data.features)
    intervals = {}
    for split in ("val", "test"):
        rows = data.split(split).rows
        intervals[split] = bootstrap_intervals(
            data.targets[rows],
            probabilities[rows],
            rng=np.random.default_rng([0, len(rows)]),
        )
    test = data.split("test")
    comparison = None
    if baselines:
        comparison = compare_baselines(
            data,
            baselines,
            name=str(store.spec["backbone"]),
            l2=l2,
            shots=shots,
            n_seeds=n_seeds,
            unit="test images",
        )
        progress.advance(len(baselines))
    metrics: dict[str, Any] = {
        "chosen": {
            "kind": head.kind,
            "settings": {"feature": head.feature, **head.settings},
        },
        "val": _plain(intervals["val"]),
        "test": _plain(intervals["test"]),
        "classes": list(data.classes),
        "confusion": confusion_matrix(test.targets, probabilities[test.rows]).tolist(),
        "counts": {s: len(data.split(s).rows) for s in ("train", "val", "test")},
        "candidates": [
            {
                "kind": c.head.kind,
                "feature": c.head.feature,
                **c.head.settings,
                **c.val,
                "converged": c.converged,
                "chosen": i == best,
            }
            for i, c in enumerate(candidates)
        ],
        "comparison": list(comparison.rows) if comparison else [],
        "transfer": comparison.verdict.to_json() if comparison else None,
        "heads_trained": len(candidates)
        + (comparison.heads_trained if comparison else 0),
    }
    scored = np.flatnonzero(data.splits != "train")
    predictions = Predictions(
        ids=tuple(data.ids[i] for i in scored),
        content=data.content[scored],
        splits=tuple(data.splits[scored]),
        targets=data.targets[scored],
        probabilities=probabilities[scored],
        classes=data.classes,
    )
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
            mistakes=_surest_mistakes(predictions),
        ),
    )


def _report(run: Run, store: str | Path, begin: float, *, reused: bool) -> TrainReport:
    metrics = run.metrics
    return TrainReport(
        run=str(run.path),
        identity=run.identity,
        report=str(run.report),
        reused=reused,
        dataset=str(run.provenance["dataset"]),
        store=str(store),
        chosen=metrics["chosen"],
        val=metrics["val"],
        test=metrics["test"],
        counts=metrics["counts"],
        candidates=tuple(metrics["candidates"]),
        comparison=tuple(metrics["comparison"]),
        transfer=metrics["transfer"],
        heads_trained=0 if reused else metrics["heads_trained"],
        seconds=time.perf_counter() - begin,
    )


def _weights(store: FeatureStore) -> dict[str, Json]:
    """Returns where the backbone's weights were, by the latest extraction's word."""
    keys = ("weights", "weights_origin")
    for record in reversed(read_history(store.path)):
        if record.get("weights"):
            return {key: record[key] for key in keys}
    return dict.fromkeys(keys)


def _vectors(store: FeatureStore) -> list[str]:
    vectors = [
        name for name, info in store.manifest.features.items() if len(info.shape) == 1
    ]
    return vectors or list(store.manifest.features)


def _check_failures(n_failed: int, examples: Examples, max_failures: float) -> None:
    allowed = max(1, int(max_failures * len(examples)))
    if n_failed > allowed:
        raise TooManyFailuresError(
            f"Asked to train on {examples.dataset}: {n_failed} of its {len(examples)} "
            f"examples have no features, {allowed} may. `tl-pipeline store show` lists "
            "them; mend or exclude them, or raise max_failures."
        )


def _surest_mistakes(predictions: Predictions) -> list[dict[str, Any]]:
    """Lists the wrong test predictions, the most confident first."""
    guesses = predictions.probabilities.argmax(axis=1)
    sure = predictions.probabilities.max(axis=1)
    wrong = [
        i
        for i in np.argsort(-sure, kind="stable")
        if predictions.splits[i] == "test" and guesses[i] != predictions.targets[i]
    ]
    return [
        {
            "id": predictions.ids[i],
            "target": predictions.classes[predictions.targets[i]],
            "predicted": predictions.classes[guesses[i]],
            "probability": float(sure[i]),
        }
        for i in wrong
    ]


def _plain(intervals: Mapping[str, Any]) -> dict[str, Any]:
    return {name: interval._asdict() for name, interval in intervals.items()}
