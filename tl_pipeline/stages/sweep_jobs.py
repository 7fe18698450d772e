"""Sweeps as data that another process can do: heads of one kind on one feature.

Whoever does one needs the store's folder under the same path; the rows are read there.
"""

import dataclasses
import functools
import threading
from collections.abc import Generator, Iterator
from typing import Protocol

from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.stages.cached_views import CachedViews
from tl_pipeline.stages.contest import Bout, Contest, open_contest
from tl_pipeline.stages.labels import Columns, make_labels
from tl_pipeline.stages.sweep import Candidate
from tl_pipeline.store.store import open_store

_opening = threading.Lock()


@dataclasses.dataclass(frozen=True)
class SweepJob:
    """Heads of one kind on one feature of a snapshot.

    Attributes:
      store: The store, named from any working directory.
      dataset: Of the snapshot.
      snapshot: Its digest.
      columns: Of the snapshot, that the targets are from.
      heads: How heads are made.
      max_failures: Share of the examples that may lack a row.
      views: Augmented views that there are.
      bout: Which heads.
    """

    store: str
    dataset: str
    snapshot: str
    columns: Columns
    heads: HeadsConfig
    max_failures: float
    views: CachedViews | None
    bout: Bout

    @property
    def label(self) -> str:
        """What it is called."""
        return f"{self.bout.kind} on {self.bout.feature}"


class SweepRunner(Protocol):
    """Processes that do sweeps."""

    def run(self, jobs: Iterator[SweepJob]) -> Generator[tuple[int, list[Candidate]]]:
        """Yields each job's number, counted from 0, and its heads, in any order.

        A job whose process dies is done by another one; closing what this returns ends
        what still goes on.

        Args:
          jobs: What to do; see `do_sweep`.
        """
        ...


def do_sweep(job: SweepJob) -> list[Candidate]:
    """Fits the heads of a job and scores them where heads are chosen.

    Raises:
      NotFoundError: There is no such store or snapshot here.
      StoreDamagedError: A file of the store is not the one that was committed.
    """
    with _opening:
        contest = _open(
            job.store,
            job.dataset,
            job.snapshot,
            job.columns,
            job.heads.model_dump_json(),
            job.max_failures,
            job.views,
            job.bout.feature,
        )
    return contest.fit(job.bout, contest.read_views() if job.bout.n_views else None)


@functools.lru_cache(maxsize=1)  # jobs of one feature come one after another
def _open(
    path: str,
    dataset: str,
    snapshot: str,
    columns: Columns,
    heads: str,
    max_failures: float,
    views: CachedViews | None,
    feature: str,
) -> Contest:
    store = open_store(path)
    examples = store.snapshot(dataset, digest=snapshot)
    options = HeadsConfig.model_validate_json(heads)
    return open_contest(
        store,
        examples,
        feature,
        labels=make_labels(
            examples, task=options.task, targets=columns.target, weight=columns.weight
        ),
        kinds=(),
        heads=options,
        max_failures=max_failures,
        views=views,
    )
