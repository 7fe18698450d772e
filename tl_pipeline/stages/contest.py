"""Who competes in a training: heads of every kind on every feature asked for."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import RoomError, TooManyFailuresError
from tl_pipeline.examples import Examples
from tl_pipeline.heads.head import Head
from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.progress import Progress
from tl_pipeline.reporting.sentences import count, format_bytes
from tl_pipeline.stages.cached_views import CachedViews
from tl_pipeline.stages.choosing import Choosing, choose_rows
from tl_pipeline.stages.host_memory import find_host_free
from tl_pipeline.stages.joined import JOIN, locate_columns, widths_of
from tl_pipeline.stages.labeled import (
    Labeled,
    check_trainable,
    load_frame,
    load_labeled,
)
from tl_pipeline.stages.labels import Labels
from tl_pipeline.stages.matching import match_kinds
from tl_pipeline.stages.selecting import Selected, select_columns
from tl_pipeline.stages.settings import make_settings, make_steps
from tl_pipeline.stages.sweep import Candidate, sweep
from tl_pipeline.store.store import FeatureStore

# Copies of one head's answers that scoring makes at its most, by measurement.
_ANSWERS_BESIDE = 7


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
    heads: HeadsConfig,
    max_failures: float,
    views: CachedViews | None,
    progress: Progress,
) -> Entered:
    """Trains heads of every kind and setting on every feature.

    Of features that are joined, where shares are asked for, on the columns that matter
    most, at each share.

    Args:
      store: Where the rows are.
      examples: The snapshot.
      features: Names, several of them joined by `+`.
      labels: The snapshot's targets.
      heads: What to train.
      max_failures: Share of the examples that may lack a row.
      views: Augmented views to train on too; not of columns that are selected.
      progress: Told of every feature.

    Raises:
      TooManyFailuresError: More examples lack one.
      RoomError: What all heads say does not fit in memory.
      DatasetError: There is nothing to train on, to choose on or to score on.
      FeatureShapeError: A feature suits no kind of head, or a kind no feature.
    """
    entrants: list[Entrant] = []
    n_trained = 0
    shapes = {name: f.shape for name, f in store.manifest.features.items()}
    kinds_of = match_kinds(heads.kinds, features, shapes)
    for name in features:
        is_selected = bool(heads.select_features) and JOIN in name
        if is_selected:
            data = load_frame(store, name, examples, labels=labels)
        else:
            data = load_labeled(store, name, examples, labels=labels, positions=True)
        _check_failures(data.n_failed, examples, max_failures)
        check_trainable(data, dataset=examples.dataset, needs_val=False)
        choosing = choose_rows(data, method=heads.selection, n_folds=heads.n_folds)
        check_trainable(
            data, dataset=examples.dataset, needs_val=choosing.method == "val"
        )
        selected: Selected | None = None
        by_share: tuple[tuple[np.ndarray, ...] | None, ...] = (None,)
        if is_selected:
            selected = select_columns(
                store,
                data,
                examples,
                choosing=choosing,
                shares=heads.select_features,
                class_weight=heads.class_weight,
            )
            data, by_share = selected.data, selected.by_share
        n_settings = sum(len(make_settings(k, heads)) for k in kinds_of[name])
        counts = views.counts if views and not is_selected else (0,)
        n_settings *= len(by_share) * len(counts)
        _check_memory(data, choosing, len(entrants) + n_settings)
        augmented = None
        if views and any(counts):
            augmented = views.read(store, data, examples)
        for kind in kinds_of[name]:
            settings = make_settings(kind, heads)
            for columns, n_views in itertools.product(by_share, counts):
                found = sweep(
                    data,
                    kind,
                    settings,
                    choosing=choosing,
                    steps=make_steps(heads),
                    class_weight=heads.class_weight,
                    columns=columns,
                    views=augmented[:n_views]
                    if augmented is not None and n_views
                    else None,
                )
                entrants += [
                    Entrant(one, data, choosing)
                    if selected is None
                    else Entrant(
                        one,
                        data,
                        choosing,
                        selected.columns,
                        tuple(widths_of(name, store)),
                    )
                    for one in found
                ]
                n_trained += len(settings) * (1 + choosing.n_folds)
        progress.advance(1)
    return Entered(entrants, n_trained)


def _check_memory(data: Labeled, choosing: Choosing, n_heads: int) -> None:
    """Raises where it is plain that the answers of all heads do not fit."""
    one = 8 * len(choosing.rows) * data.task.n_outputs
    wanted, free = one * (n_heads + _ANSWERS_BESIDE), find_host_free()
    if free is not None and wanted > free:
        raise RoomError(
            f"Asked for {count(n_heads, 'head')} of {data.task.n_outputs:,} outputs, "
            f"chosen on {len(choosing.rows):,} examples: what they say of these takes "
            f"about {format_bytes(wanted)} of memory, {format_bytes(free)} can be had. "
            "Ask for fewer heads, as by one L2 strength, or choose on val (selection = "
            '"val") and keep it small.'
        )


def _check_failures(n_failed: int, examples: Examples, max_failures: float) -> None:
    allowed = max(1, int(max_failures * len(examples)))
    if n_failed > allowed:
        raise TooManyFailuresError(
            f"Asked to train on {examples.dataset}: {n_failed} of its {len(examples)} "
            f"examples have no features, {allowed} may. `tl-pipeline store show` lists "
            "them; mend or exclude them, or raise max_failures."
        )
