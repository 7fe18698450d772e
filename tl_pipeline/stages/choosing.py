"""On which rows heads are chosen: val, or train by cross-validation."""

import dataclasses
from typing import Literal

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.folds import assign_folds
from tl_pipeline.stages.labeled import Labeled

# On fewer labeled validation examples one example is two points of accuracy or more,
# and train, taken fold by fold, knows better.
LEAST_VAL = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Choosing:
    """On which rows of some labeled examples heads are chosen.

    Attributes:
      method: `val`, or `cv`: each train example by a head that never saw it.
      rows: [N] positions of the examples that heads are scored on.
      folds: [N] the fold that holds each out; empty where `method` is `val`.
      n_folds: How many folds; 0 where `method` is `val`.
      reason: Why so, a clause; "" where it is as usual.
    """

    method: Literal["val", "cv"]
    rows: np.ndarray
    folds: np.ndarray
    n_folds: int
    reason: str

    def describe(self) -> dict[str, Json]:
        """Returns how heads were chosen, as plain data, with a sentence."""
        where = f"{len(self.rows):,} validation examples"
        if self.method == "cv":
            where = (
                f"{len(self.rows):,} train examples, cross-validated in {self.n_folds} "
                "folds"
            )
        return {
            "method": self.method,
            "folds": self.n_folds,
            "examples": len(self.rows),
            "sentence": f"chosen on {where}" + (self.reason and f": {self.reason}"),
        }


def choose_rows(
    data: Labeled, *, method: Literal["auto", "val", "cv"] = "auto", n_folds: int = 5
) -> Choosing:
    """Decides where heads are chosen.

    Args:
      data: The labeled rows.
      method: `auto`: on val where it has enough examples of all classes, else by
        cross-validation inside train.
      n_folds: How many folds; fewer where there are not so many examples or groups.
    """
    val = data.split("val")
    reason = "as asked"
    if method == "auto":
        method, reason = "val", ""
        if len(val.rows) < LEAST_VAL:
            n = len(val.rows)
            method = "cv"
            reason = "there is no validation example"
            if n:
                reason = f"validation has {n} examples, fewer than {LEAST_VAL}"
        elif data.task.is_single_class:
            train = data.split("train")
            missing = np.setdiff1d(train.targets, val.targets)
            if len(missing):
                method = "cv"
                name = data.classes[int(missing[0])]
                reason = f"validation has no example of {name}"
    if method == "val":
        return Choosing("val", val.rows, np.zeros(0, np.int64), 0, reason)
    train = data.split("train")
    folds = fold_rows(data, train.rows, n_folds=n_folds)
    return Choosing("cv", train.rows, folds, int(folds.max()) + 1, reason)


def fold_rows(data: Labeled, rows: np.ndarray, *, n_folds: int) -> np.ndarray:
    """Returns the fold of each of some rows: [N], stratified, groups and twins whole.

    Args:
      data: The labeled rows.
      rows: [N] positions of some of them.
      n_folds: How many; fewer where there are not so many examples or groups.
    """
    groups = [data.groups[row] for row in rows]
    units = {
        data.content[row].tobytes() if group is None else group
        for row, group in zip(rows, groups, strict=True)
    }
    n_folds = max(2, min(n_folds, len(units)))
    strata = data.targets[rows]
    if data.task.kind == "multilabel":  # by combination
        known = np.nan_to_num(strata, nan=-1)
        strata = np.unique(known, axis=0, return_inverse=True)[1].ravel()
    elif data.task.kind == "regression":
        strata = np.zeros(len(rows), np.int64)
    return assign_folds(strata, data.content[rows], n_folds=n_folds, groups=groups)
