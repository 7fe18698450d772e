"""Fine-tuning: the backbone of a run trained on, and whether that was worth it."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.backbones.backbone import Backbone
from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.config import make_finetune_config
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.digest import Json, json_digest, short_digest
from tl_pipeline.errors import FailedError
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.finetuning.checkpoints import Checkpoints
from tl_pipeline.finetuning.training import fine_tune
from tl_pipeline.places import require_local
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.runs.run import Run, find_run, run_identity
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.finetune_comparison import (
    choose_way,
    find_headline,
    pair_predictions,
)
from tl_pipeline.stages.finetune_problem import (
    make_problem,
    plan_way,
)
from tl_pipeline.stages.finetune_run import write_tuned
from tl_pipeline.stages.finetune_start import (
    Start,
    load_network,
    load_source,
    load_start,
)
from tl_pipeline.stages.finetune_views import VIEWS, cache_rows, train_on_views
from tl_pipeline.stages.provenance import package_version
from tl_pipeline.stages.run_page import show_measured
from tl_pipeline.store.history import recorded_rate


@dataclasses.dataclass(frozen=True)
class FinetuneReport:
    """What fine-tuning found.

    Attributes:
      run: The run to use: a way's, where one is better beyond noise; else the first.
      store: The store of that run.
      dataset: The dataset's name.
      start: The run that it started from.
      better: Whether a way is better beyond noise.
      sentence: Advice.
      rows: The cached head's and each way's: `way`, `run`, `reused`, `metric`, `value`,
        `low`, `high` (on test), `against` (see `pair_predictions`; None of the head),
        `seconds` and `memory` (bytes; None where not known), `best_epoch`.
      seconds: Wall time.
    """

    run: str
    store: str
    dataset: str
    start: str
    better: bool
    sentence: str
    rows: tuple[Mapping[str, Any], ...]
    seconds: float

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def finetune(
    run: str | Path,
    *,
    data: str | Dataset | None = None,
    weights: str | None = None,
    run_root: str | Path | None = None,
    checkpoints: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> FinetuneReport:
    """Trains a run's backbone on below its head, each way asked for.

    The pages of the run, where it may be written, and of those that it makes show all
    ways together.

    Of each way there is a run then, its weights beside it. Asking again for the same
    returns the runs that exist; killed and asked again, it goes on where it was.

    Args:
      run: The run's folder, or a `.current.json`.
      data: The dataset with its pictures; by default where its store had them from.
      weights: The backbone's weights; by default from where the run had them.
      run_root: The folder of runs; by default the run's.
      checkpoints: The folder of checkpoints; by default one beside the runs, which is
        removed when the run is written.
      workers: Decoding threads; by default one a core.
      progress: What to tell as it goes on.
      **settings: Keys of `[finetune]` in a pipeline.toml.

    Raises:
      ConfigError: A setting is unfit, or a checkpoint is of another fine-tuning.
      NotFoundError: There is no such run, or its store is gone.
      RequestError: The run cannot be started from; the message says why.
      DatasetError: The dataset lacks examples of the run.
      SpecMismatchError: The weights are not the run's.
      TrainingError: The loss is not finite, memory is exhausted, or a checkpoint cannot
        be written; the last good one is kept.
    """
    begin = time.perf_counter()
    config = make_finetune_config(settings)
    start = load_start(run)
    root = require_local(run_root, what="runs") if run_root else start.run.path.parent
    work = _Work(
        start,
        root,
        data=data,
        weights=weights,
        checkpoints=Path(checkpoints) if checkpoints else None,
        workers=workers,
        progress=progress or NoProgress(),
    )
    found = [
        work.go_way(config.model_copy(update={"ways": (way,)})) for way in config.ways
    ]
    runs = [start.run, *(run for run, _ in found)]
    rows = [_describe_head(start), *(row for _, row in found)]
    best, sentence = choose_way(rows)
    chosen = runs[best or 0]
    report = FinetuneReport(
        run=str(chosen.path),
        store=str(chosen.provenance["store"]),
        dataset=start.examples.dataset,
        start=str(start.run.path),
        better=best is not None,
        sentence=sentence,
        rows=tuple(rows),
        seconds=time.perf_counter() - begin,
    )
    for one in runs:
        # A run of others may be read alone; what is found is said in any case.
        with contextlib.suppress(FailedError, OSError):
            show_measured(one, {"finetune": report.to_json()})
    return report


@dataclasses.dataclass
class _Work:
    """What all ways of one call share; loaded when the first one needs it."""

    start: Start
    root: Path
    data: str | Dataset | None
    weights: str | None
    checkpoints: Path | None
    workers: int | None
    progress: Progress
    _loaded: tuple[TrainableNetwork, Dataset, dict[bytes, list[Item]]] | None = None

    def go_way(self, config: FinetuneConfig) -> tuple[Run, dict[str, Any]]:
        """Returns the run of one way, and its row."""
        if config.ways == (VIEWS,):
            return self._train_on_views(config)
        start = self.start
        asked: dict[str, Json] = {
            "version": package_version(),
            "spec": start.store.digest,
            "snapshot": start.examples.digest,
            "features": [start.head.feature],
            "heads": start.run.asked["heads"],
            "columns": dataclasses.asdict(start.columns),
            "from": start.run.identity,
            "finetune": config.to_json(),
        }
        identity = run_identity(asked)
        found = find_run(self.root, start.examples.dataset, identity)
        if found is not None:
            return found, _describe_way(found, True)
        run = self._train(config, asked)
        return run, _describe_way(run, False)

    def _train_on_views(self, config: FinetuneConfig) -> tuple[Run, dict[str, Any]]:
        start = self.start
        _, dataset, _ = self._load()
        run, reused, n_rows = train_on_views(
            start,
            self._backbone(),
            dataset,
            config,
            run_root=self.root,
            workers=self.workers,
            progress=self.progress,
        )
        return run, {
            "way": VIEWS,
            "run": str(run.path),
            "reused": reused,
            **find_headline(run),
            "against": pair_predictions(start.run.predictions(), run.predictions()),
            "seconds": _extraction_seconds(start, n_rows),
            "memory": None,
            "best_epoch": None,
        }

    def _train(self, config: FinetuneConfig, asked: Mapping[str, Json]) -> Run:
        start = self.start
        network, dataset, items = self._load()
        plan = plan_way(start, network, config)
        if plan.cut is not None:
            cache_rows(
                [plan.cut],
                start,
                self._backbone(),
                dataset,
                views=plan.views,
                workers=self.workers,
            )
        problem = make_problem(
            plan,
            start,
            network,
            dataset=dataset,
            items=items,
            workers=self.workers,
        )
        digest = json_digest(asked)
        folder = self.checkpoints or self.root / f".checkpoints-{short_digest(digest)}"
        with Checkpoints(folder, identity=digest) as checkpoints:
            tuned = fine_tune(
                problem, plan.config, checkpoints=checkpoints, progress=self.progress
            )
        written = write_tuned(
            plan,
            start,
            network,
            tuned,
            dataset=dataset,
            run_root=self.root,
            asked=asked,
            workers=self.workers,
        )
        if self.checkpoints is None:
            shutil.rmtree(folder, ignore_errors=True)
        return written

    def _load(self) -> tuple[TrainableNetwork, Dataset, dict[bytes, list[Item]]]:
        if self._loaded is None:
            network = load_network(self.start, self.weights)
            self._loaded = (network, *load_source(self.start, self.data))
        return self._loaded

    def _backbone(self) -> Backbone:
        spec = self.start.run.spec
        return load_backbone(
            str(spec["backbone"]),
            weights=self.weights or self.start.weights,
            compute_dtype=str(spec["compute_dtype"]),
            settings=spec["settings"],
        )


def _describe_head(start: Start) -> dict[str, Any]:
    return {
        "way": "cached head",
        "run": str(start.run.path),
        "reused": True,
        **find_headline(start.run),
        "against": None,
        "seconds": _extraction_seconds(start, len(start.examples)),
        "memory": None,
        "best_epoch": None,
    }


def _extraction_seconds(start: Start, n_rows: int) -> float | None:
    """Returns what so many rows took, or would take, at the store's latest rate."""
    rate = recorded_rate(start.store.path)
    return n_rows / rate if rate else None


def _describe_way(run: Run, reused: bool) -> dict[str, Any]:
    found = run.metrics["finetune"]
    return {
        "way": found["way"],
        "run": str(run.path),
        "reused": reused,
        **find_headline(run),
        "against": found["against"],
        "seconds": found["seconds"],
        "memory": found["memory"],
        "best_epoch": found["best_epoch"],
    }
