"""How far scores are to be stretched for their softmax to be believed."""

import numpy as np

# Scores that tell all examples apart ask for no end of it: the largest difference
# between two scores of an example becomes at most this, in nats.
MOST_NATS = 30.0
_STEPS = 60
_CHUNK = 1 << 24  # scores at once
# One number is fitted: more rows than a thousand hardly move it.
_MOST_SCORES = 1 << 23
_LEAST_ROWS = 1000


def rows_to_scale(n: int, n_classes: int) -> np.ndarray:
    """Returns which of N rows are enough to fit a scale to: evenly spaced, or all."""
    most = max(_LEAST_ROWS, _MOST_SCORES // n_classes)
    if n <= most:
        return np.arange(n)
    return np.linspace(0, n - 1, most).round().astype(np.int64)


def fit_scale(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Finds the scale, one over the temperature, at which the log loss is least.

    The log loss of `softmax(scale * scores)` is convex in the scale: a search for the
    zero of its slope, by Newton's steps inside a bracket, finds the one optimum. Pass
    scores of examples that the head was not fitted to. Of more than eight million
    scores an even share of the examples is looked at.

    Args:
      scores: [N, K] floating, the higher the likelier.
      targets: [N] integer class indices.
      weights: [N], at least 0, not all 0.

    Returns:
      The scale, above 0, and the weighted mean log loss at it, in nats.

    Reference:
      Guo et al., On Calibration of Modern Neural Networks, ICML 2017: temperature
      scaling. https://arxiv.org/abs/1706.04599
    """
    used = np.flatnonzero(weights > 0)
    used = used[rows_to_scale(len(used), scores.shape[1])]
    if len(used) < len(scores):
        scores, targets, weights = scores[used], targets[used], weights[used]
    weights = weights / weights.sum()
    range_of_rows = scores.max(axis=1) - scores.min(axis=1)
    largest = float(range_of_rows.max())
    if not largest > 0:
        return 1.0, float(np.log(scores.shape[1]))
    low, high = 1e-6 / largest, MOST_NATS / largest
    scale = min(max(1.0 / float(scores.std()), low), high)
    for _ in range(_STEPS):
        _, slope, curvature = _log_loss(scale, scores, targets, weights)
        if slope > 0:
            high = scale
        else:
            low = scale
        step = scale - slope / curvature if curvature > 0 else np.inf
        # A step that leaves the bracket is replaced by its geometric middle.
        step = step if low < step < high else float(np.sqrt(low * high))
        done = abs(step - scale) <= 1e-9 * scale
        scale = float(step)
        if done:
            break
    return scale, _log_loss(scale, scores, targets, weights)[0]


def _log_loss(
    scale: float, scores: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> tuple[float, float, float]:
    """Returns the loss and its first and second derivative by the scale."""
    found = np.zeros(3)
    rows = max(1, _CHUNK // scores.shape[1])
    for start in range(0, len(scores), rows):
        part = slice(start, start + rows)
        # Relative to the target's score: the slope is no difference of large numbers.
        own = np.take_along_axis(scores[part], targets[part, None], axis=1)
        z = scores[part].astype(np.float64) - own
        most = z.max(axis=1, keepdims=True)
        powers = np.exp(scale * (z - most))
        total = powers.sum(axis=1)
        powers /= total[:, None]
        mean = np.einsum("nk,nk->n", powers, z)
        square = np.einsum("nk,nk,nk->n", powers, z, z)
        loss = scale * most[:, 0] + np.log(total)
        found += np.stack([loss, mean, square - mean**2]) @ weights[part]
    return float(found[0]), float(found[1]), float(found[2])
