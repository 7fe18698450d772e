"""Strengths of L2 regularization: the ones tried, and what others call them."""

# Half-decades, because selection cannot tell closer ones apart on a usual validation
# split. The loss is a mean, so a strength means the same at any N. The weak end all but
# interpolates and is what a million rows can bear; the strong end leaves little but the
# class frequencies. In between lies the usual C = 0.01 .. 100 of a few hundred rows:
# 0.4 down to 4e-5 for N = 245.
L2_GRID = tuple(float(f"{10 ** (exponent / 2):.3g}") for exponent in range(-12, 5))


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
