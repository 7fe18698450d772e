"""Features as points of a plane, to be looked at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError, DatasetError

METHODS = ("pca", "tsne")
# Components that t-SNE starts from, as its authors did with images.
_TSNE_COMPONENTS = 50


class Projection(NamedTuple):
    """Points of a plane.

    Attributes:
      points: [N, 2] float64.
      axes: What the two axes are called.
    """

    points: np.ndarray
    axes: tuple[str, str]


def project(features: ArrayLike, *, method: str, seed: int) -> Projection:
    """Projects rows to a plane; the same rows and seed give the same points.

    Args:
      features: [N, D] floating, N at least 3.
      method: `"pca"`, in which distances mean something, or `"tsne"`, in which only
        neighborhoods do.
      seed: Where the methods begin.

    Raises:
      ConfigError: There is no such method.
      DatasetError: There are fewer than three rows.

    Reference:
      L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features = np.asarray(features, np.float32)
    n, width = features.shape
    if method not in METHODS:
        raise ConfigError(
            f"Asked for the projection {method!r}; known are {', '.join(METHODS)}."
        )
    if n < 3:
        raise DatasetError(
            f"Asked to draw {n} rows: a plane takes at least 3. Extract more examples, "
            "or name a dataset that has them."
        )
    most = 2 if method == "pca" else _TSNE_COMPONENTS
    n_components = min(most, n, width)
    centered = features - features.mean(axis=0, dtype=np.float64)
    if not centered.any():  # nothing to divide by
        return Projection(np.zeros((n, 2)), ("all rows are equal", ""))
    solver = "full" if min(n, width) <= 500 else "randomized"
    pca = PCA(n_components, svd_solver=solver, random_state=seed)
    points = np.asarray(pca.fit_transform(centered), np.float64)
    if method == "pca":
        shares = [f"{100 * share:.1f} %" for share in pca.explained_variance_ratio_]
        points = np.pad(points, ((0, 0), (0, 2 - n_components)))
        names = [f"component {i + 1}, {s} of variance" for i, s in enumerate(shares)]
        return Projection(points, (names[0], names[1] if len(names) > 1 else ""))
    tsne = TSNE(
        perplexity=min(30.0, (n - 1) / 3),
        init="pca" if n_components >= 2 else "random",
        learning_rate="auto",
        random_state=seed,
    )
    return Projection(np.asarray(tsne.fit_transform(points), np.float64), ("", ""))
