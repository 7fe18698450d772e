"""What a confusion matrix tells: metrics of each class, and who is taken for whom."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.reporting.markup import Html, make_element


def class_metrics(
    confusion: ArrayLike, classes: Sequence[str]
) -> list[dict[str, object]]:
    """Computes precision, recall and F1 of each class, in the order of the classes.

    Args:
      confusion: [K, K] counts; a row is a target, a column a prediction.
      classes: K names.

    Returns:
      A row a class. A ratio without examples is None: nothing can be said.

    Example:
      >>> row = class_metrics([[3, 1], [0, 4]], ["ants", "bees"])[0]
      >>> row["precision"], row["recall"]
      (1.0, 0.75)
    """
    counts = np.asarray(confusion)
    hits, targets, guesses = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
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
      confusion: [K, K] counts; a row is a target, a column a prediction.
      classes: K names.
      most: How many pairs to list at most.

    Returns:
      `target`, `predicted`, `examples` and `share` of the target's examples, the
      commonest first.
    """
    counts = np.asarray(confusion)
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    targets = counts.sum(axis=1)
    return [
        {
            "target": classes[i],
            "predicted": classes[j],
            "examples": int(wrong[i, j]),
            "share": float(wrong[i, j] / targets[i]),
        }
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]


def draw_confusion(confusion: ArrayLike, classes: Sequence[str]) -> Html:
    """Draws the matrix as a table whose cells are shaded by their share of the row.

    Args:
      confusion: [K, K] counts; a row is a target, a column a prediction.
      classes: K names, not more than a page is wide.
    """
    counts = np.asarray(confusion)
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


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
