"""What others call a strength of L2 regularization."""


def sklearn_c(l2: float, n: float) -> float:
    """Returns the `C` at which scikit-learn's `LogisticRegression` is the same head.

    Its objective is a sum over examples and has no strength on the penalty; ours is a
    mean: `C = 1 / (l2 * n)`.

    Args:
      l2: The factor of half the squared norm of the kernel.
      n: How many examples the head was fitted to; with sample weights, their sum.

    Example:
      >>> sklearn_c(0.5, 200)
      0.01
    """
    return 1.0 / (l2 * n)
