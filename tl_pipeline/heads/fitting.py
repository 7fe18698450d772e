"""Fitting heads of every kind by one contract: many settings and subsets a call."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError
from tl_pipeline.heads.centroid import fit_centroid
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.linear import fit_linear
from tl_pipeline.heads.linear_labels import fit_linear_labels
from tl_pipeline.heads.presets import PRESETS
from tl_pipeline.heads.ridge import fit_ridge, fit_ridge_classifier
from tl_pipeline.heads.settings import AttentionSettings, MlpSettings
from tl_pipeline.tasks import Task

if TYPE_CHECKING:
    from tl_pipeline.heads.mlp import MlpHeads

# As DINO's evaluation votes: by cosine, exp(cosine / 0.07).
KNN_DEFAULTS: Mapping[str, Json] = {
    "metric": "cosine",
    "weighting": "similarity",
    "temperature": 0.07,
}


class Fitted(NamedTuple):
    """One fitted head, yet without the preparation of its rows.

    Attributes:
      kind: Its kind in `outputs.KINDS`.
      settings: What it was fitted with, as plain data.
      arrays: What it learned.
      converged: Whether the search came to its end.
    """

    kind: str
    settings: Mapping[str, Json]
    arrays: Mapping[str, np.ndarray]
    converged: bool


class Fitter(Protocol):
    """What fits the heads of one kind."""

    def __call__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        *,
        task: Task,
        settings: Sequence[Mapping[str, Any]],
        weight: np.ndarray,
    ) -> list[Fitted]:
        """Fits M heads that share their rows.

        Args:
          features: [N, R] float32, prepared.
          targets: N targets, as the task encodes them.
          task: What is asked.
          settings: M settings.
          weight: [M, N] float64 sample weights, a row a head; 0 leaves an example out.
        """
        ...


class DrawingFitter(Protocol):
    """A fitter whose heads draw a view of each row whenever they see it."""

    def __call__(
        self,
        features: np.ndarray,
        targets: np.ndarray,
        *,
        task: Task,
        settings: Sequence[Mapping[str, Any]],
        weight: np.ndarray,
        views: np.ndarray | None,
    ) -> list[Fitted]:
        """Fits M heads; `views` are [V, N, ...] float32, all else is as in `Fitter`."""
        ...


def fit_heads(
    kind: str,
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
    views: np.ndarray | None = None,
) -> list[Fitted]:
    """Fits heads of one kind; see `Fitter`.

    Args:
      kind: One of `FIT_KINDS`.
      features: As in `Fitter`; so are the others.
      targets: N targets.
      task: What is asked.
      settings: M settings.
      weight: [M, N] float64.
      views: [V, N, ...] float32, other views of the rows, prepared like them. Heads
        that are trained step by step draw one of a row in each epoch, or the plain one;
        to all others they are rows too, each counting 1 / (V + 1) of its example.

    Raises:
      ConfigError: There is no such kind.
    """
    given = {"task": task, "settings": settings}
    if kind in DRAWERS:
        draw = DRAWERS[kind]
        return draw(features, targets, weight=weight, views=views, **given)
    if kind not in FITTERS:
        raise ConfigError(
            f"Asked for heads of kind {kind!r}; known are {', '.join(FIT_KINDS)}."
        )
    if views is not None:
        n = 1 + len(views)
        features = np.concatenate([features, *views])
        targets = np.tile(targets, (n, *[1] * (np.ndim(targets) - 1)))
        weight = np.tile(weight / n, (1, n))
    return FITTERS[kind](features, targets, weight=weight, **given)


def _fit_linear(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
) -> list[Fitted]:
    if task.kind == "regression":  # least squares with L2
        return _fit_ridge(
            features, targets, task=task, settings=settings, weight=weight
        )
    l2 = [float(setting["l2"]) for setting in settings]
    smoothing, *others = {setting.get("label_smoothing", 0.0) for setting in settings}
    if others:
        raise ConfigError(
            f"Asked for linear heads of the label smoothings {[smoothing, *others]} at "
            "once. Fit those of each apart."
        )
    given = {"l2": l2, "sample_weight": weight, "label_smoothing": smoothing}
    if task.kind == "multilabel":
        fitted = fit_linear_labels(features, targets, **given)
    else:
        fitted = fit_linear(features, targets, n_classes=task.n_outputs, **given)
    heads = []
    for i, strength in enumerate(l2):
        kernel, bias = fitted.kernel[i], fitted.bias[i]
        if task.kind == "binary":  # one logit: that of the second class
            kernel, bias = np.diff(kernel, axis=1), np.diff(bias)
        about: dict[str, Json] = {"l2": strength}
        if smoothing:
            about["label_smoothing"] = smoothing
        if task.is_single_class:  # labels may be missing: each would have its own C
            about["C"] = sklearn_c(strength, float(weight[i].sum()))
        arrays = {"kernel": kernel, "bias": bias}
        heads.append(Fitted("linear", about, arrays, bool(fitted.converged[i])))
    return heads


def _fit_ridge(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
) -> list[Fitted]:
    l2 = [float(setting["l2"]) for setting in settings]
    if task.kind == "regression":
        fitted = fit_ridge(features, targets, l2=l2, sample_weight=weight)
    else:
        fitted = fit_ridge_classifier(
            features,
            targets,
            kind=task.kind,
            n_classes=task.n_outputs,
            l2=l2,
            sample_weight=weight,
        )
    return [
        Fitted("ridge", {"l2": strength}, {"kernel": kernel, "bias": bias}, True)
        for strength, kernel, bias in zip(l2, fitted.kernel, fitted.bias, strict=True)
    ]


def _fit_knn(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
) -> list[Fitted]:
    heads = []
    for setting, row in zip(settings, weight, strict=True):
        kept = row > 0
        arrays = {"rows": features[kept], "targets": targets[kept]}
        if len(np.unique(row[kept])) > 1:
            arrays["weights"] = row[kept]
        k = min(int(setting["k"]), int(kept.sum()))
        about = {**KNN_DEFAULTS, "k": k, "task": task.kind, "n_outputs": task.n_outputs}
        heads.append(Fitted("knn", about, arrays, True))
    return heads


def _fit_centroid(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
) -> list[Fitted]:
    del settings  # there is nothing to set
    found = fit_centroid(features, targets, task, weight=weight)
    return [
        Fitted(
            "centroid",
            {"task": task.kind, "scale": float(scale)},
            {"centroid": centroid, "bias": bias},
            True,
        )
        for centroid, bias, scale in zip(*found, strict=True)
    ]


def _fit_mlp(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
    views: np.ndarray | None,
) -> list[Fitted]:
    # Loaded where asked for: Optax takes longer than many a sweep of linear heads.
    from tl_pipeline.heads.mlp import fit_mlp

    wanted = [MlpSettings(**_as_given(setting)) for setting in settings]
    given = {"settings": wanted, "sample_weight": weight, "views": views}
    return _fitted("mlp", fit_mlp(features, targets, task, **given))


def _fit_attention(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    task: Task,
    settings: Sequence[Mapping[str, Any]],
    weight: np.ndarray,
    views: np.ndarray | None,
) -> list[Fitted]:
    from tl_pipeline.heads.attention import fit_attention

    wanted = [AttentionSettings(**_as_given(setting)) for setting in settings]
    given = {"settings": wanted, "sample_weight": weight, "views": views}
    return _fitted("attention", fit_attention(features, targets, task, **given))


def _as_given(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {**setting, "hidden": tuple(setting.get("hidden", ()))}


def _fitted(kind: str, heads: "MlpHeads") -> list[Fitted]:
    return [
        Fitted(
            kind,
            heads.settings_of(i),
            # A failed head stays in its place, where it is scored and not chosen.
            {name: np.nan_to_num(array) for name, array in arrays.items()},
            not heads.failed[i],
        )
        for i, arrays in enumerate(heads.arrays)
    ]


FITTERS: Mapping[str, Fitter] = {
    "linear": _fit_linear,
    "ridge": _fit_ridge,
    "knn": _fit_knn,
    "centroid": _fit_centroid,
}
DRAWERS: Mapping[str, DrawingFitter] = {
    "mlp": _fit_mlp,
    "attention": _fit_attention,
    # A preset is a head of dense layers with settings that are known.
    **dict.fromkeys(PRESETS, _fit_mlp),
}
FIT_KINDS = (*FITTERS, *DRAWERS)
