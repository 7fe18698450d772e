"""Temperature and decision thresholds, fitted on the validation split."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.scored import Scored, check_scored
from tl_pipeline.tasks import Task

# Temperatures from 1e-3 to 1e3.
_BOUNDS = (1e-3, 1e3)
_TINY = np.finfo(np.float64).tiny
_MOST_SHARES, _LEAST_ROWS = 1 << 23, 1000


def fit_temperature(task: Task, targets: ArrayLike, outputs: ArrayLike) -> float:
    """Finds the temperature that minimizes the log loss: convex in its inverse.

    It moves no decision of the likeliest class, only how sure it is. Where no finite
    temperature is best, as where every validation example is right and surer is always
    better, the probabilities are left as they are: 1. Of more than eight million
    probabilities of classes an even share of the examples is looked at.

    Args:
      task: Not `regression`.
      targets: Of the validation split, as `Task` encodes them.
      outputs: The probabilities for them.

    Raises:
      DatasetError: There are no examples, the two do not fit each other, or the task
        has no probabilities.

    Reference:
      C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural
      Networks", ICML 2017, section 4.2.
    """
    # Imported here: it loads slowly, which a caller of the other modules need not wait
    # for.
    from scipy.optimize import brentq

    _check_shares(task)
    scored = check_scored(targets, outputs, task=task)
    logits, own, weights = _rows_of_logits(_share_of(scored))

    def slope(log_inverse: float) -> float:
        """The derivative of the log loss after the inverse temperature."""
        shares = _softmax(logits * np.exp(log_inverse))
        return float(weights @ ((shares * logits).sum(axis=1) - own))

    low, high = np.log(1 / _BOUNDS[1]), np.log(1 / _BOUNDS[0])
    if not slope(low) < 0 < slope(high):
        return 1.0
    found, _ = brentq(slope, low, high, xtol=1e-12, full_output=True)
    return float(np.exp(-found))


def apply_temperature(task: Task, outputs: ArrayLike, temperature: float) -> np.ndarray:
    """Divides the logits of probabilities by a temperature.

    Args:
      task: Not `regression`.
      outputs: [N, K] probabilities.
      temperature: Above 0; 1 leaves them, more makes them less sure.

    Returns:
      [N, K] float64 probabilities.

    Raises:
      DatasetError: The task has no probabilities.

    Example:
      >>> task = Task("binary", ("no", "yes"))
      >>> apply_temperature(task, [[0.9, 0.1]], 2.0).round(2).tolist()
      [[0.75, 0.25]]
    """
    _check_shares(task)
    shares = np.asarray(outputs, np.float64)
    if task.is_single_class:
        return _softmax(_log(shares) / temperature)
    sides = np.stack([_log(1 - shares), _log(shares)], axis=-1)
    return _softmax(sides.reshape(-1, 2) / temperature)[:, 1].reshape(shares.shape)


def fit_thresholds(
    task: Task,
    targets: ArrayLike,
    outputs: ArrayLike,
    *,
    maximize: Literal["f1", "balanced_accuracy"] = "f1",
) -> np.ndarray:
    """Finds what a probability must exceed to be a yes, for each label on its own.

    Every threshold between two neighboring probabilities is tried. Of those that are
    equally good the one nearest to 0.5 is taken; a label of which the split holds no
    yes or no no keeps 0.5.

    Args:
      task: `binary` or `multilabel`.
      targets: Of the validation split, as `Task` encodes them.
      outputs: The probabilities for them.
      maximize: What to make as large as possible on them.

    Returns:
      [1] float64 for `binary`, [K] for `multilabel`, as `score_all` takes them.

    Raises:
      DatasetError: There are no examples, the two do not fit each other, or the task
        is decided by no threshold.
    """
    if task.kind not in ("binary", "multilabel"):
        raise DatasetError(
            f"Asked for decision thresholds of a {task.kind} task, which is decided by "
            "none. Ask for them where a yes is predicted: binary or multilabel."
        )
    scored = check_scored(targets, outputs, task=task)
    if task.kind == "binary":
        truth, shares = scored.targets[:, None] * 1.0, scored.outputs[:, 1:]
    else:
        truth, shares = scored.targets, scored.outputs
    known = ~np.isnan(truth)
    return np.array(
        [
            _best_threshold(truth[rows, k] == 1, shares[rows, k], maximize)
            for k, rows in enumerate(known.T)
        ]
    )


def _best_threshold(positive: np.ndarray, shares: np.ndarray, maximize: str) -> float:
    if positive.all() or not positive.any():
        return 0.5
    order = np.argsort(-shares, kind="stable")
    ranked, hits = shares[order], positive[order]
    distinct = np.flatnonzero(ranked[1:] != ranked[:-1])
    cut = np.append(distinct, len(ranked) - 1)  # the last one that is a yes
    through = np.cumsum(hits)[cut]
    if maximize == "f1":
        values = 2 * through / (cut + 1 + hits.sum())
    else:
        passed = (~hits).sum() - (cut + 1 - through)
        values = (through / hits.sum() + passed / (~hits).sum()) / 2
    middles = np.append((ranked[distinct] + ranked[distinct + 1]) / 2, -1.0)
    # 0.5 itself where it parts the same examples as a middle.
    upper, lower = ranked[cut], np.append(ranked[distinct + 1], -1.0)
    middles = np.where((lower <= 0.5) & (upper > 0.5), 0.5, np.maximum(middles, -1.0))
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return float(middles[best[np.abs(middles[best] - 0.5).argmin()]])


def _rows_of_logits(scored: Scored) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns [M, C] logits, the true class's [M], and weights of the mean log loss."""
    if scored.task.is_single_class:
        logits = _log(scored.outputs)
        own = logits[np.arange(len(logits)), scored.targets]
        return logits, own, np.full(len(logits), 1 / len(logits))
    known = ~np.isnan(scored.targets)
    counts = known.sum(axis=0)
    rows, columns = np.nonzero(known)
    shares = scored.outputs[rows, columns]
    logits = np.stack([_log(1 - shares), _log(shares)], axis=-1)
    truth = scored.targets[rows, columns].astype(np.int64)
    weights = 1 / counts[columns] / (counts > 0).sum()
    return logits, logits[np.arange(len(logits)), truth], weights


def _share_of(scored: Scored) -> Scored:
    """Returns as many of the examples as one number needs, evenly spaced."""
    most = max(_LEAST_ROWS, _MOST_SHARES // scored.outputs.shape[1])
    if not scored.task.is_single_class or len(scored.outputs) <= most:
        return scored
    rows = np.linspace(0, len(scored.outputs) - 1, most).round().astype(np.int64)
    return Scored(scored.task, *(part[rows] for part in scored[1:]))


def _check_shares(task: Task) -> None:
    if task.kind == "regression":
        raise DatasetError(
            "Asked for a temperature of a regression task, which gives numbers and no "
            "probabilities. Ask for it where classes or labels are predicted."
        )


def _log(shares: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(shares, _TINY))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
