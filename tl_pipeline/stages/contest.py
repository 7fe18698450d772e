"""A contest: heads of several kinds on the rows of one feature.

Its bouts are named by plain values, so that another process can open the same contest
and fit the heads of one bout.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import RoomError, TooManyFailuresError
from tl_pipeline.examples import Examples
from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.reporting.sentences import count, format_bytes
from tl_pipeline.stages.cached_views import CachedViews
from tl_pipeline.stages.choosing import Choosing, choose_rows
from tl_pipeline.stages.host_memory import find_host_free
from tl_pipeline.stages.joined import JOIN
from tl_pipeline.stages.labeled import (
    Labeled,
    check_trainable,
    load_frame,
    load_labeled,
)
from tl_pipeline.stages.labels import Labels
from tl_pipeline.stages.selecting import select_columns
from tl_pipeline.stages.settings import make_settings, make_steps
from tl_pipeline.stages.sweep import Candidate, sweep
from tl_pipeline.store.store import FeatureStore

# Copies of one head's answers that scoring makes at its most, by measurement.
_ANSWERS_BESIDE = 7


class Bout(NamedTuple):
    """Heads of one kind and all its settings, fitted together.

    Attributes:
      feature: A name, or several joined by `+`.
      kind: Of the heads.
      share: Which of the shares of columns they take, where columns are selected.
      n_views: How many augmented views they are trained on too.
    """

    feature: str
    kind: str
    share: int
    n_views: int


@dataclasses.dataclass(frozen=True, eq=False)
class Contest:
    """The rows of one feature, and what heads are to be fitted on them.

    Attributes:
      name: The feature.
      data: The labeled rows.
      choosing: Where heads on these are chosen.
      columns: Which columns of the stored rows `data` holds; None: all.
      by_share: For each share the columns of `data` that are kept, as `sweep` takes
        them; one None where none are selected.
      bouts: What is to be fitted.
      heads: How.
    """

    name: str
    data: Labeled
    choosing: Choosing
    columns: np.ndarray | None
    by_share: Sequence[Sequence[np.ndarray] | None]
    bouts: tuple[Bout, ...]
    heads: HeadsConfig
    _store: FeatureStore
    _examples: Examples
    _views: CachedViews | None

    def count_heads(self, bout: Bout) -> int:
        """Returns how many candidates a bout makes."""
        return len(make_settings(bout.kind, self.heads))

    def read_views(self) -> np.ndarray | None:
        """Returns the most views to train on, [V, N, ...] float32; None without."""
        if self._views is None or self.columns is not None:
            return None
        return self._views.read(self._store, self.data, self._examples)

    def fit(self, bout: Bout, views: np.ndarray | None) -> list[Candidate]:
        """Fits the heads of a bout and scores them where heads are chosen.

        Args:
          bout: One of `bouts`.
          views: From `read_views`.
        """
        return sweep(
            self.data,
            bout.kind,
            make_settings(bout.kind, self.heads),
            choosing=self.choosing,
            steps=make_steps(self.heads),
            class_weight=self.heads.class_weight,
            columns=self.by_share[bout.share],
            views=views[: bout.n_views] if views is not None and bout.n_views else None,
        )


def open_contest(
    store: FeatureStore,
    examples: Examples,
    name: str,
    *,
    labels: Labels,
    kinds: Sequence[str],
    heads: HeadsConfig,
    max_failures: float,
    views: CachedViews | None,
) -> Contest:
    """Reads the rows of a feature and decides where heads on them are chosen.

    Of features that are joined, where shares are asked for, the columns that matter
    most are selected, at each share.

    Args:
      store: Where the rows are.
      examples: The snapshot.
      name: The feature, or several joined by `+`.
      labels: The snapshot's targets.
      kinds: Of heads that take the feature.
      heads: What to train.
      max_failures: Share of the examples that may lack a row.
      views: Augmented views to train on too; not of columns that are selected.

    Raises:
      TooManyFailuresError: More examples lack one.
      DatasetError: There is nothing to train on, to choose on or to score on.
    """
    is_selected = bool(heads.select_features) and JOIN in name
    if is_selected:
        data = load_frame(store, name, examples, labels=labels)
    else:
        data = load_labeled(store, name, examples, labels=labels, positions=True)
    _check_failures(data.n_failed, examples, max_failures)
    check_trainable(data, dataset=examples.dataset, needs_val=False)
    choosing = choose_rows(data, method=heads.selection, n_folds=heads.n_folds)
    check_trainable(data, dataset=examples.dataset, needs_val=choosing.method == "val")
    columns, by_share = None, (None,)
    if is_selected:
        selected = select_columns(
            store,
            data,
            examples,
            choosing=choosing,
            shares=heads.select_features,
            class_weight=heads.class_weight,
        )
        data, columns, by_share = selected.data, selected.columns, selected.by_share
    counts = views.counts if views and not is_selected else (0,)
    bouts = itertools.product((name,), kinds, range(len(by_share)), counts)
    return Contest(
        name=name,
        data=data,
        choosing=choosing,
        columns=columns,
        by_share=by_share,
        bouts=tuple(itertools.starmap(Bout, bouts)),
        heads=heads,
        _store=store,
        _examples=examples,
        _views=views,
    )


def check_memory(data: Labeled, choosing: Choosing, n_heads: int) -> None:
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
