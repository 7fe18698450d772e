"""Augmented views that a store holds beside plain rows, for heads to train on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import RequestError
from tl_pipeline.examples import Examples
from tl_pipeline.spec import PLAIN_RECIPE, View
from tl_pipeline.stages.joined import join_rows, split_name
from tl_pipeline.stages.labeled import Labeled
from tl_pipeline.store.store import FeatureStore


class CachedViews(NamedTuple):
    """Which of a store's views heads are trained on.

    Attributes:
      recipe: What the views are made by, as the store has it.
      counts: How many views to train on, to choose from; 0: plain rows alone.
    """

    recipe: str
    counts: tuple[int, ...]

    def read(
        self, store: FeatureStore, data: Labeled, examples: Examples
    ) -> np.ndarray:
        """Reads the views of the training rows of a feature, or of several joined.

        Where a view gave no row, as one that overflows, the plain row stands for it.

        Args:
          store: Where they are.
          data: The labeled rows.
          examples: The snapshot.

        Returns:
          [V, N, ...] float32 of the N train rows, in their order.

        Raises:
          StoreError: Some were never computed.
        """
        train = data.split("train")
        place = {id: row for row, id in enumerate(examples.ids)}
        part = examples.take(np.array([place[data.ids[row]] for row in train.rows]))
        order = {data.ids[row]: i for i, row in enumerate(train.rows.tolist())}
        found = np.repeat(train.features[None], max(self.counts), axis=0)
        for number in range(1, len(found) + 1):
            view = View(self.recipe, number)
            names = split_name(data.feature)
            parts = [store.read(name, snapshot=part, view=view) for name in names]
            ids = set(parts[0].ids).intersection(*(rows.ids for rows in parts[1:]))
            kept = [np.array([id in ids for id in rows.ids]) for rows in parts]
            rows = join_rows(
                [one.features[k] for one, k in zip(parts, kept, strict=True)]
            )
            where = [order[id] for id in parts[0].ids if id in ids]
            found[number - 1, where] = rows
        return found


def choose_views(
    store: FeatureStore,
    features: Sequence[str],
    asked: Sequence[int],
    recipe: str | None,
) -> CachedViews | None:
    """Decides which views heads are trained on; None: on plain rows alone.

    Args:
      store: Where they are.
      features: The features of which there must be views, some joined by `+`.
      asked: How many, to choose from; empty: none, and all that were cached last.
      recipe: By which recipe; by default the one by which there were views last.

    Raises:
      RequestError: The store has fewer.
    """
    names = {name for feature in features for name in split_name(feature)}
    most: dict[str, dict[str, int]] = {}
    for shard in store.manifest.shards:
        if shard.recipe != PLAIN_RECIPE and names & set(shard.features):
            views = most.pop(shard.recipe, dict.fromkeys(names, 0))
            for name in names & set(shard.features):
                views[name] = max(views[name], shard.view)
            most[shard.recipe] = views  # as the last one
    if recipe is None and most:
        recipe = list(most)[-1]
    there = min(most.get(recipe or "", {"": 0}).values())
    counts = tuple(dict.fromkeys(asked)) or ((0, there) if there else (0,))
    if max(counts) > there:
        raise RequestError(
            f"Asked to train on {max(counts)} augmented views of each example: "
            f"{store.path} has {there}"
            + (f" by the recipe {recipe}" if recipe else "")
            + ". Extract with --views first, or ask for fewer."
        )
    return CachedViews(recipe or "", counts) if any(counts) else None
