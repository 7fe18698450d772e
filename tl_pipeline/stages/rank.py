"""Ranks features of stores for a task by how well they would transfer to it.

Only labeled train examples are looked at, the same ones in every store, so that test
stays unseen for whatever is trained later.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
from scipy.stats import kendalltau

from tl_pipeline.digest import Json
from tl_pipeline.errors import DatasetError, RequestError
from tl_pipeline.evaluation.transferability import (
    cluster_agreement,
    description_bits,
    h_score,
    leep,
    logme,
    nce,
    neighbor_accuracy,
)
from tl_pipeline.examples import Examples
from tl_pipeline.heads.linear import fit_linear, predict_logits
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.places import Place
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.stages.vectors import iterate_vectors
from tl_pipeline.store.index import KeyIndex
from tl_pipeline.store.store import FeatureStore, open_store

MOST_ROWS = 2000
N_HALVES = 10
LOGITS = "logits"
# Shares of the labels that a head has seen when it sends the next ones.
_BLOCKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
_L2 = (1e-3, 1e-2, 1e-1, 1.0)  # of the heads that send labels
# Measures whose order over the features is compared; the first one is the ranking's.
_COMPARED = ("logme", "h_score", "knn", "nmi", "bits")
_FEWER_IS_BETTER = ("bits",)


def rank_stores(
    stores: Sequence[str | Place],
    *,
    dataset: str | None = None,
    features: Sequence[str] | None = None,
    most_rows: int = MOST_ROWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Json]:
    """Ranks the features of some stores for a dataset's labels, by LogME.

    Args:
      stores: The stores' folders; the dataset's latest snapshot in the first one says
        which examples and labels.
      dataset: Which dataset; needed where the first store has several.
      features: Which features; by default all of each store. Those that are no vectors
        are averaged over positions.
      most_rows: Train examples drawn where there are more, the same for all.
      seed: Of the drawing, of the halves and of k-means.
      progress: Told of every feature.

    Returns:
      Plain data: `dataset`, `examples`, `classes`, `ranking` (each `store`,
      `backbone`, `feature`, `dimensions`, the measures `logme`, `h_score`, `knn`,
      `nmi`, `bits`, and `leep` and `nce` where the store has logits), the best first,
      and `trust`: `first_in` of `halves`, `agreement` (the mean Kendall tau between
      LogME and the other measures; None for one feature) and a `sentence`.

    Raises:
      DatasetError: Fewer than 20 labeled train examples are in all stores, or all of
        them are of one class.
      NotFoundError: There is no such store, dataset or feature.
      RequestError: No store is named.
    """
    if not stores:
        raise RequestError("Asked to rank no store: name at least one.")
    opened = [open_store(path) for path in stores]
    examples = _common_examples(opened, dataset, most_rows, seed)
    index = {name: i for i, name in enumerate(examples.classes)}
    targets = np.array([index[str(target)] for target in examples.targets])
    wanted = [
        (store, name)
        for store in opened
        for name in features or sorted(store.manifest.features)
    ]
    rng = np.random.default_rng([seed, 2])
    halves = [rng.permutation(len(targets))[::2] for _ in range(N_HALVES)]
    progress = progress or NoProgress()
    progress.start("features measured", len(wanted))
    ranking: list[dict[str, Any]] = []
    by_half = []
    try:
        for store, name in wanted:
            rows = _read(store, name, examples)
            measures = _measure(rows, targets, len(index), seed)
            if LOGITS in store.manifest.features:
                shares = softmax(_read(store, LOGITS, examples), axis=1)
                measures |= {"leep": leep(shares, targets), "nce": nce(shares, targets)}
            ranking.append(
                {
                    "store": str(store.path),
                    "backbone": store.spec["backbone"],
                    "feature": name,
                    "dimensions": rows.shape[1],
                    **measures,
                }
            )
            by_half.append(
                [logme(rows[h], targets[h], n_classes=len(index)) for h in halves]
            )
            progress.advance(1)
    finally:
        progress.finish()
    order = sorted(range(len(ranking)), key=lambda i: -ranking[i]["logme"])
    return {
        "dataset": examples.dataset,
        "examples": len(examples),
        "classes": len(index),
        "ranking": [ranking[i] for i in order],
        "trust": _judge(ranking, np.array(by_half), order),
    }


def _common_examples(
    stores: Sequence[FeatureStore], dataset: str | None, most_rows: int, seed: int
) -> Examples:
    """Returns labeled train examples that have a row of every feature everywhere."""
    examples = stores[0].snapshot(dataset)
    kept = np.array(
        [
            target is not None and split == "train"
            for target, split in zip(examples.targets, examples.splits, strict=True)
        ]
    )
    for store in stores:
        names = list(store.manifest.features)
        lacking = store.plan(examples.content, names, retry_failed=True)
        for group in lacking:
            kept &= KeyIndex(group.content).find(examples.content) < 0
    rows = np.flatnonzero(kept)
    if len(rows) > most_rows:
        rng = np.random.default_rng([seed, 1])
        rows = rng.choice(rows, most_rows, replace=False)
    found = examples.take(rows)
    if len(found) < 20 or len(found.classes) < 2:
        raise DatasetError(
            f"Asked to rank stores for {examples.dataset}: {len(found)} labeled train "
            f"examples of {len(found.classes)} classes have rows in all of them, and "
            "it takes 20 of 2 classes. Extract the same dataset into each."
        )
    return found


def _read(store: FeatureStore, name: str, examples: Examples) -> np.ndarray:
    """Reads [N, D] float32 vectors, in the order of the examples."""
    place = {id: row for row, id in enumerate(examples.ids)}
    found: list[np.ndarray] = []
    places: list[int] = []
    for rows in iterate_vectors(store, name, examples):
        found.append(rows.features)
        places += [place[id] for id in rows.ids]
    return np.concatenate(found)[np.argsort(places)]


def _measure(
    rows: np.ndarray, targets: np.ndarray, n_classes: int, seed: int
) -> dict[str, float]:
    return {
        "logme": logme(rows, targets, n_classes=n_classes),
        "h_score": h_score(rows, targets),
        "knn": neighbor_accuracy(rows, targets),
        "nmi": cluster_agreement(rows, targets, n_classes=n_classes, seed=seed),
        "bits": _count_bits(rows, targets, n_classes, seed),
    }


def _count_bits(
    rows: np.ndarray, targets: np.ndarray, n_classes: int, seed: int
) -> float:
    """Sends the labels block by block, each by a head trained on those before."""
    order = np.random.default_rng([seed, 3]).permutation(len(rows))
    rows, targets = rows[order], targets[order]
    # A head needs two classes to tell apart.
    least = int((targets != targets[0]).argmax()) + 1
    stops = [max(least, int(share * len(rows))) for share in _BLOCKS]
    # One program for all blocks: what comes later has no weight.
    weights = np.stack([np.arange(len(rows)) < stop for stop in stops[:-1]])
    # Features of examples are known to both sides; only labels are sent.
    inputs = apply_standardizer(fit_standardizer(rows), rows)
    fitted = fit_linear(
        inputs,
        targets,
        n_classes=n_classes,
        l2=np.repeat(_L2, len(weights)).tolist(),
        sample_weight=np.tile(weights, (len(_L2), 1)).astype(np.float32),
    )
    shares = []
    for i, (start, stop) in enumerate(itertools.pairwise(stops)):
        logits = predict_logits(fitted, inputs[start:stop])[i :: len(weights)]
        # As if one more label had been seen, of any class: a head that saw no example
        # of a class would call it impossible.
        sure = softmax(logits, axis=2)
        shares.append((start * sure + 1 / n_classes) / (start + 1))
    return description_bits(
        targets,
        np.concatenate(shares, axis=1),
        n_first=stops[0],
        n_classes=n_classes,
    )


def _judge(
    ranking: Sequence[dict[str, Any]], by_half: np.ndarray, order: Sequence[int]
) -> dict[str, Json]:
    """Says how far the ranking would stand on other examples and other measures."""
    best = ranking[order[0]]
    name = f"{best['backbone']} {best['feature']}"
    if len(ranking) == 1:
        sentence = f"{name} is alone: there is nothing to rank it against."
        return {
            "first_in": N_HALVES,
            "halves": N_HALVES,
            "agreement": None,
            "sentence": sentence,
        }
    first_in = int((by_half.argmax(axis=0) == order[0]).sum())
    logme_order = [row["logme"] for row in ranking]
    taus = []
    for measure in _COMPARED[1:]:
        sign = -1 if measure in _FEWER_IS_BETTER else 1
        values = [sign * row[measure] for row in ranking]
        tau = float(np.asarray(kendalltau(logme_order, values))[0])
        taus.append(0.0 if np.isnan(tau) else tau)
    agreement = float(np.mean(taus))
    if first_in == N_HALVES and agreement >= 0.5:
        advice = "Start there."
    elif first_in == N_HALVES:
        advice = "The measures disagree: train heads on the first few."
    else:
        advice = "Too close to call: train heads on the first few."
    return {
        "first_in": first_in,
        "halves": N_HALVES,
        "agreement": agreement,
        "sentence": f"{name} comes first in {first_in} of {N_HALVES} random halves; "
        f"LogME and the other measures agree to a Kendall tau of {agreement:.2f}. "
        f"{advice}",
    }
