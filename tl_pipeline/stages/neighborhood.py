"""The neighborhood of an example: what the backbone finds most like it."""

import difflib
from collections.abc import Iterator

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, NotFoundError, StoreError
from tl_pipeline.evaluation.likeness import nearest_rows
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place
from tl_pipeline.stages.vectors import choose_feature, iterate_vectors, load_vectors
from tl_pipeline.store.store import open_store

_SUGGESTED = 3
# Comparing spellings takes a second for so many ids.
_MOST_SPELLINGS = 20_000


def find_neighbors(
    store: str | Place,
    id: str,
    *,
    k: int = 10,
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
) -> dict[str, Json]:
    """Finds the examples of highest cosine with one example.

    All rows are looked at, some shards at a time.

    Args:
      store: The store's folder.
      id: The example's id.
      k: How many to find.
      feature: By which feature; by default the only one, or `pool`.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.

    Returns:
      Plain data: the example, and its `neighbors`, the nearest first: `id`, `target`,
      `split` and `similarity`, the cosine.

    Raises:
      ConfigError: `k` is below 1.
      NotFoundError: The store, snapshot, feature or id is not there; of ids, those
        that are spelled alike are suggested.
      StoreError: The example failed and has no row.
    """
    if k < 1:
        raise ConfigError(f"Asked for {k} neighbors: ask for one at least.")
    opened = open_store(store)
    examples = opened.snapshot(dataset, snapshot)
    name = choose_feature(opened, feature)
    place = _find_id(examples, id)
    one = examples.take([place])
    if opened.read(name, snapshot=one).failed:
        raise StoreError(
            f"Asked for the neighbors of {id}: it has no {name}, as it failed. See why "
            "with `tl-pipeline store show`."
        )
    query = load_vectors(opened, name, one, most_rows=1, seed=0).rows
    ids: list[str] = []

    def blocks() -> Iterator[np.ndarray]:
        for rows in iterate_vectors(opened, name, examples):
            ids.extend(rows.ids)
            yield rows.features

    # One more than asked for, as the example itself may be among them.
    found, similarity = nearest_rows(query.features[0], blocks(), k=k + 1)
    row_of = {other: row for row, other in enumerate(examples.ids)}
    neighbors: list[Json] = [
        {
            "id": ids[row],
            "target": examples.targets[row_of[ids[row]]],
            "split": examples.splits[row_of[ids[row]]],
            "similarity": float(cosine),
        }
        for row, cosine in zip(found, similarity, strict=True)
        if ids[row] != id
    ]
    return {
        "store": str(opened.path),
        "dataset": examples.dataset,
        "snapshot": examples.digest,
        "feature": name,
        "rows": len(ids),
        "id": id,
        "target": examples.targets[place],
        "split": examples.splits[place],
        "neighbors": neighbors[:k],
    }


def _find_id(examples: Examples, id: str) -> int:
    try:
        return examples.ids.index(id)
    except ValueError:
        pass
    close = [other for other in examples.ids if id and id.lower() in other.lower()]
    if not close:
        some = examples.ids[:_MOST_SPELLINGS]
        close = difflib.get_close_matches(id, some, n=_SUGGESTED)
    hint = (
        f"Did you mean {' or '.join(close[:_SUGGESTED])}?"
        if close
        else f"Ids look like {examples.ids[0]}."
        if examples.ids
        else "Extract some examples first."
    )
    raise NotFoundError(
        f"Asked for the neighbors of {id}, which is none of the {len(examples):,} ids "
        f"of dataset {examples.dataset}. {hint}"
    )
