"""What a confusion matrix tells: metrics of each class, and who is taken for whom.

It comes sparse: `[target, prediction, count]` of every pair that occurs, [C, 3].
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.reporting.markup import Html, make_element


def class_metrics(
    confusion: ArrayLike, classes: Sequence[str]
) -> list[dict[str, object]]:
    """Computes precision, recall and F1 of each class, in the order of the classes.

    Args:
      confusion: [C, 3] counts of pairs.
      classes: K names.

    Returns:
      A row a class. A ratio without examples is None: nothing can be said.

    Example:
      >>> pairs = [[0, 0, 3], [0, 1, 1], [1, 1, 4]]
      >>> row = class_metrics(pairs, ["ants", "bees"])[0]
      >>> row["precision"], row["recall"]
      (1.0, 0.75)
    """
    target, guess, n = _columns(confusion)
    k = len(classes)
    targets, guesses = np.bincount(target, n, k), np.bincount(guess, n, k)
    hits = np.bincount(target, n * (target == guess), k)
    return [
        {
            "class": name,
            "examples": int(n),
            "precision": _ratio(hit, guessed),
            "recall": _ratio(hit, n),
            "F1": _ratio(2 * hit, n + guessed),
        }
        for name, hit, n, guessed in zip(classes, hits, targets, guesses, strict=True)
    ]


def confused_pairs(
    confusion: ArrayLike, classes: Sequence[str], *, most: int
) -> list[dict[str, object]]:
    """Lists the pairs of classes most often taken for each other, in that direction.

    Args:
      confusion: [C, 3] counts of pairs.
      classes: K names.
      most: How many pairs to list at most.

    Returns:
      `target`, `predicted`, `examples` and `share` of the target's examples, the
      commonest first.
    """
    target, guess, n = _columns(confusion)
    targets = np.bincount(target, n, len(classes))
    wrong = np.flatnonzero(target != guess)
    order = wrong[np.lexsort((guess[wrong], target[wrong], -n[wrong]))]
    return [
        {
            "target": classes[int(target[i])],
            "predicted": classes[int(guess[i])],
            "examples": int(n[i]),
            "share": float(n[i] / targets[target[i]]),
        }
        for i in order[:most]
    ]


def draw_confusion(confusion: ArrayLike, classes: Sequence[str]) -> Html:
    """Draws the matrix as a table whose cells are shaded by their share of the row.

    Args:
      confusion: [C, 3] counts of pairs.
      classes: K names, not more than a page is wide.
    """
    target, guess, n = _columns(confusion)
    counts = np.zeros((len(classes), len(classes)), np.int64)
    counts[target, guess] = n
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Upright names above narrow columns, unless all are as short as a count.
    upright = max(map(len, classes)) > 4
    head = [
        make_element(
            "th",
            make_element("span", name),
            scope="col",
            class_="upright" if upright else None,
        )
        for name in classes
    ]
    lines = [make_element("tr", make_element("td"), *head)]
    for i, name in enumerate(classes):
        cells = [
            make_element(
                "td",
                int(count) if count else Html("·"),
                class_="hit" if i == j else "miss",
                style=f"--share:{shares[i, j]:.3f}",
                title=f"{name} → {classes[j]}: {count}",
            )
            for j, count in enumerate(counts[i])
        ]
        lines.append(make_element("tr", make_element("th", name, scope="row"), *cells))
    table = make_element("table", *lines, class_="confusion")
    return make_element("div", table, class_="wide")


def _columns(confusion: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target, guess, n = np.asarray(confusion, np.int64).reshape(-1, 3).T
    return target, guess, n


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
