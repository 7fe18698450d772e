"""Features as points of a plane, to be looked at."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError, DatasetError

METHODS = ("pca", "tsne", "umap")
# Components that t-SNE starts from, as its authors did with images; UMAP too.
_NEIGHBORHOOD_COMPONENTS = 50


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
      method: `"pca"`, in which distances mean something, or `"tsne"` or `"umap"`, in
        which only neighborhoods do.
      seed: Where the methods begin.

    Raises:
      ConfigError: There is no such method, or its package is not installed.
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
    if method == "umap":
        _load_umap()  # before any work
    if n < 3:
        raise DatasetError(
            f"Asked to draw {n} rows: a plane takes at least 3. Extract more examples, "
            "or name a dataset that has them."
        )
    most = 2 if method == "pca" else _NEIGHBORHOOD_COMPONENTS
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
    if method == "umap":
        return Projection(_run_umap(points, seed=seed), ("", ""))
    tsne = TSNE(
        perplexity=min(30.0, (n - 1) / 3),
        init="pca" if n_components >= 2 else "random",
        learning_rate="auto",
        random_state=seed,
    )
    return Projection(np.asarray(tsne.fit_transform(points), np.float64), ("", ""))


def _load_umap() -> Any:
    try:
        with warnings.catch_warnings():
            # It says that it would be faster with TensorFlow, which is not wanted.
            warnings.simplefilter("ignore")
            import umap  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "Asked for the projection 'umap': the package umap-learn is not installed "
            f"({error}). Install it with `pip install 'tl-pipeline[umap]'`, or ask for "
            "pca or tsne."
        ) from error
    return umap


def _run_umap(points: np.ndarray, *, seed: int) -> np.ndarray:
    umap = _load_umap()
    n = len(points)
    reducer = umap.UMAP(
        n_neighbors=min(15, n - 1),
        # The spectral start needs more points than dimensions, by a few.
        init="spectral" if n > 20 else "random",
        random_state=seed,
        n_jobs=1,  # with more threads, the same seed gives other points
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's and its own remarks on small inputs
        return np.asarray(reducer.fit_transform(points), np.float64)
