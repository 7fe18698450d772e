"""What is done to rows of features before a head: fitted on the train split alone."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.standardize import (
    Standardizer,
    apply_standardizer,
    fit_standardizer,
)

Projection = Literal["none", "pca", "whiten"]

# A principal axis whose variance is below this share of the largest is rounding; to
# whiten it would blow that up.
LEAST_VARIANCE = 1e-7


@dataclasses.dataclass(frozen=True)
class Steps:
    """Which steps a preparation has, in their order.

    Attributes:
      unit_length: Whether each row is divided by its Euclidean norm.
      standardize: Whether each feature gets mean 0 and variance 1 over train.
      projection: `pca`: the principal axes; `whiten`: likewise, each at variance 1.
      n_components: Axes kept; below 1, the share of the variance that they explain; 0:
        all that are more than rounding.
    """

    unit_length: bool = False
    standardize: bool = True
    projection: Projection = "none"
    n_components: float = 0

    def __post_init__(self) -> None:
        if self.n_components < 0 or (self.n_components >= 1 and self.n_components % 1):
            raise ConfigError(
                f"Asked for {self.n_components} principal components: give a whole "
                "number, a share of the variance below 1, or 0 for all."
            )


class Kept(NamedTuple):
    """Which columns of a row are looked at."""

    columns: np.ndarray  # [D] int32, ascending, below the width
    width: int  # of the whole row


@dataclasses.dataclass(frozen=True, eq=False)
class Preparation:
    """A fitted preparation of rows of D features into rows of R.

    Attributes:
      steps: What it does to the columns kept.
      standardizer: The affine map of each feature; None where it does none.
      center: [D] float32, the mean of what is projected; None without a projection.
      basis: [D, R] float32, the axes, scaled where it whitens; likewise.
      kept: The columns that it takes, before all else; None: every column. D is then
        how many these are.
    """

    steps: Steps
    standardizer: Standardizer | None
    center: np.ndarray | None = None
    basis: np.ndarray | None = None
    kept: Kept | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays to save, float32, by name."""
        arrays = {}
        if self.standardizer is not None:
            arrays |= {"mean": self.standardizer.mean, "scale": self.standardizer.scale}
        if self.center is not None and self.basis is not None:
            arrays |= {"center": self.center, "basis": self.basis}
        if self.kept is not None:
            width = np.array([self.kept.width], np.int32)
            arrays |= {"columns": self.kept.columns, "width": width}
        return arrays

    @classmethod
    def from_arrays(
        cls, steps: Steps, arrays: Mapping[str, np.ndarray]
    ) -> "Preparation":
        """Makes the preparation whose steps and arrays were saved.

        Raises:
          ConfigError: An array is missing.
          FeatureShapeError: They do not fit each other.
        """
        wanted = ["mean", "scale"] if steps.standardize else []
        wanted += ["center", "basis"] if steps.projection != "none" else []
        if "columns" in arrays and "width" not in arrays:
            wanted.append("width")
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise ConfigError(
                f"A saved head lacks {', '.join(missing)}. Train it again."
            )
        width = len(arrays[wanted[0]]) if wanted else 0
        differing = [
            f"{name} {list(arrays[name].shape)}"
            for name in wanted
            if len(arrays[name]) != width or arrays[name].ndim != 1 + (name == "basis")
        ]
        if differing:
            raise FeatureShapeError(
                f"A head on {width} features has other shapes: {', '.join(differing)}. "
                "Its arrays and its description are not of one run."
            )
        kept = None
        if "columns" in arrays:
            kept = Kept(arrays["columns"], int(arrays["width"][0]))
            inside = kept.columns.size and 0 <= kept.columns.min()
            inside = inside and kept.columns.max() < kept.width
            if not inside or (wanted and len(kept.columns) != width):
                raise FeatureShapeError(
                    f"A head on {width} features keeps {len(kept.columns)} columns of "
                    f"{kept.width}, or others than these. "
                    "Its arrays and its description are not of one run."
                )
        return cls(
            steps,
            Standardizer(arrays["mean"], arrays["scale"])
            if steps.standardize
            else None,
            arrays["center"] if steps.projection != "none" else None,
            arrays["basis"] if steps.projection != "none" else None,
            kept,
        )


def fit_preparation(
    features: ArrayLike, steps: Steps, *, columns: np.ndarray | None = None
) -> Preparation:
    """Fits the steps that learn from data.

    Args:
      features: [N, D] or [N, ..., D] floating, of the train split alone.
      steps: What to do.
      columns: Of the features, which to keep, ascending; by default all.

    Raises:
      FeatureShapeError: There is no row, or no axis of features.
    """
    rows = _as_rows(features)
    kept = None
    if columns is not None:
        kept = Kept(columns.astype(np.int32), rows.shape[1])
        rows = rows[:, columns]
    if steps.unit_length:
        rows = _unit_length(rows)
    standardizer = None
    if steps.standardize:
        standardizer = fit_standardizer(rows)
        rows = apply_standardizer(standardizer, rows)
    if steps.projection == "none":
        return Preparation(steps, standardizer, kept=kept)
    center, basis = _principal_axes(rows, steps)
    return Preparation(steps, standardizer, center, basis, kept)


def apply_preparation(preparation: Preparation, features: ArrayLike) -> np.ndarray:
    """Prepares rows by what was fitted before.

    Args:
      preparation: From `fit_preparation`, over the same D features.
      features: [N, D] or [N, ..., D] floating; N may be 0.

    Returns:
      [N, R] or [N, ..., R] float32.

    Raises:
      FeatureShapeError: The last axis is not the D of the preparation.
    """
    features = np.asarray(features)
    rows = _as_rows(features)
    if preparation.kept is not None:
        columns, width = preparation.kept
        if rows.shape[1] != width:
            raise FeatureShapeError(
                f"Asked for {len(columns)} of {width} columns, got the shape "
                f"{list(features.shape)}. Pass the features that the head was trained "
                "on."
            )
        rows = rows[:, columns]
    if preparation.steps.unit_length:
        rows = _unit_length(rows)
    if preparation.standardizer is not None:
        rows = apply_standardizer(preparation.standardizer, rows)
    if preparation.center is not None and preparation.basis is not None:
        if rows.shape[1] != len(preparation.center):
            raise FeatureShapeError(
                f"Asked to project rows of {len(preparation.center)} features, got the "
                f"shape {list(features.shape)}. Pass the features that the head was "
                "trained on."
            )
        rows = (rows - preparation.center) @ preparation.basis
    rows = np.asarray(rows, np.float32)
    return rows.reshape(*features.shape[:-1], rows.shape[-1])


def _as_rows(features: ArrayLike) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim < 2:
        raise FeatureShapeError(
            f"Expected features of shape [N, D], got {list(features.shape)}."
        )
    return features.reshape(-1, features.shape[-1])


def _unit_length(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    # A row of zeros stays one.
    return rows / np.where(norms > 0, norms, 1).astype(np.float32)[:, None]


def _principal_axes(rows: np.ndarray, steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [D] and the axes [D, R], the widest first."""
    exact = rows.astype(np.float64)
    center = exact.mean(axis=0)
    exact -= center
    n, width = exact.shape
    if n < width:  # all variance lies in the space of the rows
        variance, vectors = np.linalg.eigh(exact @ exact.T / n)
        axes = exact.T @ vectors
        axes /= np.maximum(np.linalg.norm(axes, axis=0), np.finfo(np.float64).tiny)
    else:
        variance, axes = np.linalg.eigh(exact.T @ exact / n)
    variance, axes = variance[::-1], axes[:, ::-1]
    kept = max(1, int((variance > LEAST_VARIANCE * variance[0]).sum()))
    if 0 < steps.n_components < 1:
        explained = np.cumsum(variance[:kept]) / max(variance[:kept].sum(), 1e-300)
        kept = min(kept, int(np.searchsorted(explained, steps.n_components)) + 1)
    elif steps.n_components:
        kept = min(kept, int(steps.n_components))
    axes, variance = axes[:, :kept], variance[:kept]
    # The sign of an axis is arbitrary; let its largest entry be positive.
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(kept)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    if steps.projection == "whiten":
        axes = axes / np.sqrt(np.where(variance > 0, variance, 1))
    return center.astype(np.float32), np.ascontiguousarray(axes, np.float32)
