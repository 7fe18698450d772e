"""Who competes in a training: heads of every kind on every feature asked for."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.examples import Examples
from tl_pipeline.heads.head import Head
from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.places import absolute
from tl_pipeline.progress import Progress
from tl_pipeline.stages.cached_views import CachedViews
from tl_pipeline.stages.choosing import Choosing
from tl_pipeline.stages.contest import Bout, Contest, check_memory, open_contest
from tl_pipeline.stages.joined import locate_columns, widths_of
from tl_pipeline.stages.labeled import Labeled
from tl_pipeline.stages.labels import Columns, Labels
from tl_pipeline.stages.matching import match_kinds
from tl_pipeline.stages.sweep import Candidate
from tl_pipeline.stages.sweep_jobs import SweepJob, SweepRunner
from tl_pipeline.store.store import FeatureStore


class Entrant(NamedTuple):
    """A candidate with what it was trained on.

    Attributes:
      candidate: The head, which takes rows as they are in `data`.
      data: The labeled rows.
      choosing: Where heads on these are chosen.
      columns: Which columns of the stored rows `data` holds; None: all.
      widths: Columns of each feature that is joined in the stored rows.
      members: Of an ensemble: what it averages, and what each counts. `data` is then
        that of the first, and the head takes stored rows.
    """

    candidate: Candidate
    data: Labeled
    choosing: Choosing
    columns: np.ndarray | None = None
    widths: tuple[int, ...] = ()
    members: tuple[tuple["Entrant", int], ...] = ()

    def outputs(self) -> np.ndarray:
        """Returns what the head says of all labeled examples: [N, K] float64."""
        if not self.members:
            return self.candidate.head.predict(self.data.features)
        n = sum(count for _, count in self.members)
        said = [count / n * one.outputs() for one, count in self.members]
        return np.sum(said, axis=0)

    def located(self, head: Head) -> Head:
        """Returns the candidate's head, or one made of it, as one on stored rows."""
        if self.columns is None:
            return head
        return locate_columns(head, columns=self.columns, widths=self.widths)

    def vectors(self) -> Labeled:
        """Returns what the head looks at as vectors, for other heads to take.

        Of a grid or tokens, the averages.
        """
        data, kept = self.data, self.candidate.head.preparation.kept
        if kept is not None:
            return data.of_columns(kept.columns)
        return data.vectors()


class Entered(NamedTuple):
    """All entrants, and how many heads that took, those of folds among them."""

    entrants: list[Entrant]
    n_trained: int


def enter_candidates(
    store: FeatureStore,
    examples: Examples,
    features: Sequence[str],
    *,
    labels: Labels,
    columns: Columns,
    heads: HeadsConfig,
    max_failures: float,
    views: CachedViews | None,
    runner: SweepRunner | None,
    progress: Progress,
) -> Entered:
    """Trains heads of every kind and setting on every feature.

    Args:
      store: Where the rows are.
      examples: The snapshot.
      features: Names, several of them joined by `+`.
      labels: The snapshot's targets.
      columns: Which of its columns they are from.
      heads: What to train.
      max_failures: Share of the examples that may lack a row.
      views: Augmented views to train on too; not of columns that are selected.
      runner: Whose processes fit heads, each those of one kind on one feature; by
        default this one does.
      progress: Told of every feature.

    Raises:
      TooManyFailuresError: More examples lack one.
      RoomError: What all heads say does not fit in memory.
      DatasetError: There is nothing to train on, to choose on or to score on.
      FeatureShapeError: A feature suits no kind of head, or a kind no feature.
      WorkersError: There is no process left to fit them.
    """
    shapes = {name: f.shape for name, f in store.manifest.features.items()}
    kinds_of = match_kinds(heads.kinds, features, shapes)
    contests: list[Contest] = []
    n_heads = 0
    for name in features:
        contest = open_contest(
            store,
            examples,
            name,
            labels=labels,
            kinds=kinds_of[name],
            heads=heads,
            max_failures=max_failures,
            views=views,
        )
        n_heads += sum(map(contest.count_heads, contest.bouts))
        check_memory(contest.data, contest.choosing, n_heads)
        contests.append(contest)
    if runner is None:
        fitted = _fit_here(contests, progress)
    else:
        jobs = [
            SweepJob(
                store=absolute(store.path),
                dataset=examples.dataset,
                snapshot=examples.digest,
                columns=columns,
                heads=heads,
                max_failures=max_failures,
                views=views,
                bout=bout,
            )
            for contest in contests
            for bout in contest.bouts
        ]
        fitted = _fit_elsewhere(contests, jobs, runner, progress)
    entrants: list[Entrant] = []
    n_trained = 0
    for contest in contests:
        for bout in contest.bouts:
            entrants += [_enter(store, contest, one) for one in fitted[bout]]
            n_trained += contest.count_heads(bout) * (1 + contest.choosing.n_folds)
    return Entered(entrants, n_trained)


def _fit_here(
    contests: Sequence[Contest], progress: Progress
) -> dict[Bout, list[Candidate]]:
    fitted: dict[Bout, list[Candidate]] = {}
    for contest in contests:
        needs_views = any(bout.n_views for bout in contest.bouts)
        views = contest.read_views() if needs_views else None
        for bout in contest.bouts:
            fitted[bout] = contest.fit(bout, views)
        progress.advance(1)
    return fitted


def _fit_elsewhere(
    contests: Sequence[Contest],
    jobs: Sequence[SweepJob],
    runner: SweepRunner,
    progress: Progress,
) -> dict[Bout, list[Candidate]]:
    fitted: dict[Bout, list[Candidate]] = {}
    left = {contest.name: len(contest.bouts) for contest in contests}
    with contextlib.closing(runner.run(iter(jobs))) as outcomes:
        for number, candidates in outcomes:
            bout = jobs[number].bout
            fitted[bout] = candidates
            left[bout.feature] -= 1
            if not left[bout.feature]:
                progress.advance(1)
    return fitted


def _enter(store: FeatureStore, contest: Contest, candidate: Candidate) -> Entrant:
    data, choosing = contest.data, contest.choosing
    if contest.columns is None:
        return Entrant(candidate, data, choosing)
    widths = tuple(widths_of(contest.name, store))
    return Entrant(candidate, data, choosing, contest.columns, widths)
