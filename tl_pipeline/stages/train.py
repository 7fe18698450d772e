"""Stage two: heads on cached features. No backbone runs and no input is opened."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_pipeline.config import make_heads_config
from tl_pipeline.digest import Json
from tl_pipeline.errors import ParityError, RequestError
from tl_pipeline.places import Place, require_local
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.runs.run import Run, find_run, run_identity
from tl_pipeline.spec import is_declared
from tl_pipeline.stages.cached_views import choose_views
from tl_pipeline.stages.joined import ALL, JOIN, expand_name, split_name
from tl_pipeline.stages.labels import Columns
from tl_pipeline.stages.matching import takes
from tl_pipeline.stages.provenance import package_version
from tl_pipeline.stages.relabel import relabel
from tl_pipeline.store.store import FeatureStore, open_store

if TYPE_CHECKING:
    from tl_pipeline.stages.sweep_jobs import SweepRunner


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
      task: `multiclass`, `binary`, `multilabel` or `regression`.
      chosen: `kind` and `settings`: the feature, the strength `l2` and its `C`, ...
      selection: On which rows heads were chosen: `method`, `folds`, `examples`, a
        `sentence`, and `corrected`, the score to expect of such a choice elsewhere.
      val: Each metric of the chosen head there: `value`, `low`, `high`.
      test: Likewise on test, at which the chosen head alone has looked.
      counts: Labeled examples by split.
      candidates: Each head's feature, settings and metrics there.
      learning_curve: For each `k` examples a class, `mean` and `spread` of accuracy.
      seeds: `n`, and for `val` and `test` the `mean` and `spread` over the seeds of the
        chosen setting; None where no seed has a part in it.
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
    task: str
    chosen: Mapping[str, Any]
    selection: Mapping[str, Any]
    val: Mapping[str, Any]
    test: Mapping[str, Any]
    counts: Mapping[str, int]
    candidates: tuple[Mapping[str, Any], ...]
    learning_curve: tuple[Mapping[str, Any], ...]
    seeds: Mapping[str, Any] | None
    comparison: tuple[Mapping[str, Any], ...]
    transfer: Mapping[str, Any] | None
    heads_trained: int
    seconds: float

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def train(
    store: str | Place,
    *,
    run_root: str | Path = "runs",
    dataset: str | None = None,
    snapshot: str | None = None,
    targets: str | Path | None = None,
    features: Sequence[str] | None = None,
    target: Sequence[str] = (),
    weight: str | None = None,
    slices: Sequence[str] = (),
    baselines: Sequence[Mapping[str, Any]] = (),
    shots: Sequence[int] = (5,),
    max_failures: float = 0.01,
    view_recipe: str | None = None,
    extraction: Mapping[str, Any] | None = None,
    runner: "SweepRunner | None" = None,
    progress: Progress | None = None,
    **heads: Any,
) -> TrainReport:
    """Trains heads on a store's features, chooses one, scores it once on test.

    Asking again for the same returns the run that exists.

    Args:
      store: The store's folder.
      run_root: The folder of runs.
      dataset: Which dataset of the store; needed where it has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.
      targets: A CSV file of `id,target`: a new snapshot of the same examples with
        these targets is made, and trained on.
      features: Which features, several joined by `+` to be concatenated, `all` for
        every one of the store; by default each that one of the kinds takes.
      target: Columns of the snapshot that are the targets, where they are several.
      weight: The column of sample weights.
      slices: Columns by whose values the head is scored apart.
      baselines: Each `{name, store, digest, snapshot, features}`, from `extract`.
      shots: Examples a class at which to compare with baselines, beside all.
      max_failures: Share of the snapshot's examples that may lack a row.
      view_recipe: By which recipe augmented views are trained on too, as the store
        has it; by default the one by which it last got some.
      extraction: What `extract` reported, for the run's report.
      runner: Whose processes fit heads; by default this one does.
      progress: What to tell as it goes on.
      **heads: Keys of `[heads]` in a pipeline.toml, such as `kinds=["linear"]`,
        `l2=[0.1, 1.0]` or `selection="cv"`; the others keep their defaults.

    Raises:
      ConfigError: A key of `heads` is unknown or unfit.
      NotFoundError: There is no such store, snapshot or feature.
      RequestError: There is no such column, or nothing to select among.
      DatasetError: There are not two classes to train on, or a split is empty.
      FeatureShapeError: A feature's rows are no vectors.
      TooManyFailuresError: More examples failed than `max_failures` allows.
      ParityError: The rows were never checked against live ones.
      StoreDamagedError: A file of the store is not the one that was committed.
      WorkersError: The runner has no process left to fit heads.
    """
    begin = time.perf_counter()
    root = require_local(run_root, what="runs")
    opened = open_store(store)
    examples = opened.snapshot(dataset, digest=snapshot)
    if targets is not None:
        examples = relabel(opened, examples, Path(targets))
    options = make_heads_config(heads)
    names = features or options.features or _suited(opened, options.kinds)
    if options.select_features and not any(
        ALL in split_name(name) or JOIN in name for name in names
    ):
        names = (*names, ALL)
    names = tuple(dict.fromkeys(expand_name(name, opened) for name in names))
    if options.select_features and not any(JOIN in name for name in names):
        raise RequestError(
            f"Asked for select_features on {', '.join(names)}: columns are selected "
            f"among those of several features, and {opened.path} holds one. Extract "
            "more of them, or leave select_features out."
        )
    columns = Columns(tuple(target), weight, tuple(slices))
    views = choose_views(opened, names, options.views, view_recipe)
    asked: dict[str, Json] = {
        "version": package_version(),
        "spec": opened.digest,
        "snapshot": examples.digest,
        "features": list(names),
        "heads": options.to_json(),
        "views": None if views is None else views._asdict(),
        "columns": dataclasses.asdict(columns),
        "shots": list(shots) if baselines else [],
        "baselines": [
            {key: b[key] for key in ("name", "digest", "snapshot", "features")}
            for b in baselines
        ],
    }
    found = find_run(root, examples.dataset, run_identity(asked))
    if found is not None:
        return _report(found, store, begin, reused=True)
    if not (is_declared(opened.spec) or opened.has_parity()):
        raise ParityError(
            f"Asked to train on {opened.path}: some of its rows were never compared "
            "with live ones, as an extraction does at its end. Run the same "
            "`tl-pipeline extract` again; it computes nothing that is there."
        )
    # Loaded only where something is trained: finding a run again must be instant.
    from tl_pipeline.stages.training import run_training

    progress = progress or NoProgress()
    progress.start("train", len(names) + len(baselines))
    try:
        run = run_training(
            opened,
            examples,
            root,
            asked=asked,
            features=names,
            heads=options,
            columns=columns,
            baselines=baselines,
            shots=shots,
            max_failures=max_failures,
            views=views,
            extraction=extraction,
            runner=runner,
            progress=progress,
        )
    finally:
        progress.finish()
    return _report(run, store, begin, reused=False)


def _report(run: Run, store: str | Place, begin: float, *, reused: bool) -> TrainReport:
    metrics = run.metrics
    return TrainReport(
        run=str(run.path),
        identity=run.identity,
        report=str(run.report),
        reused=reused,
        dataset=str(run.provenance["dataset"]),
        store=str(store),
        task=metrics["task"],
        chosen=metrics["chosen"],
        selection=metrics["selection"],
        val=metrics["val"],
        test=metrics["test"],
        counts=metrics["counts"],
        candidates=tuple(metrics["candidates"]),
        learning_curve=tuple(metrics["learning_curve"]),
        seeds=metrics["seeds"],
        comparison=tuple(metrics["comparison"]),
        transfer=metrics["transfer"],
        heads_trained=0 if reused else metrics["heads_trained"],
        seconds=time.perf_counter() - begin,
    )


def _suited(store: FeatureStore, kinds: Sequence[str]) -> list[str]:
    """Returns the features that a kind takes; all where none is taken."""
    shapes = {name: info.shape for name, info in store.manifest.features.items()}
    suited = [name for name in shapes if any(takes(k, name, shapes) for k in kinds)]
    return suited or list(shapes)
