"""A fitted head as it is saved and used: plain arrays, a description, no jax."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.standardize import Standardizer, apply_standardizer

KINDS = ("linear",)


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One fitted head with all that is needed to use it on stored features.

    Attributes:
      kind: One of `KINDS`.
      feature: The name of the feature it was trained on.
      classes: K class names, in the order of the probabilities.
      settings: What it was trained with, as plain data: `l2`, `C`, and so on.
      standardizer: The map fitted on the train split.
      kernel: [D, K] float32, on standardized features.
      bias: [K] float32.
    """

    kind: str
    feature: str
    classes: tuple[str, ...]
    settings: Mapping[str, Json]
    standardizer: Standardizer
    kernel: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"Asked for a head of kind {self.kind!r}; known are {', '.join(KINDS)}."
                " A newer tl-pipeline may know it."
            )
        width, n_classes = len(self.standardizer.mean), len(self.classes)
        shapes = {name: array.shape for name, array in self.to_arrays().items()}
        wanted = {
            "kernel": (width, n_classes),
            "bias": (n_classes,),
            "mean": (width,),
            "scale": (width,),
        }
        differing = [name for name in wanted if shapes[name] != wanted[name]]
        if differing:
            found = ", ".join(
                f"{name} {list(shapes[name])} instead of {list(wanted[name])}"
                for name in differing
            )
            raise FeatureShapeError(
                f"A head of {n_classes} classes on {width} features has other shapes: "
                f"{found}. Its arrays and its description are not of one run."
            )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays to save, float32, by name."""
        return {
            "kernel": self.kernel,
            "bias": self.bias,
            "mean": self.standardizer.mean,
            "scale": self.standardizer.scale,
        }

    def to_json(self) -> dict[str, Json]:
        """Returns everything but the arrays, as plain data."""
        return {
            "kind": self.kind,
            "feature": self.feature,
            "classes": list(self.classes),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_arrays(
        cls, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> "Head":
        """Makes the head that `to_json` and `to_arrays` described.

        Args:
          description: The keys of `to_json`; others are left alone.
          arrays: The arrays of `to_arrays`.

        Raises:
          ConfigError: The kind is not known, or a key or an array is missing.
          FeatureShapeError: The arrays do not fit each other or the classes.
        """
        keys = {"kind", "feature", "classes", "settings"} - description.keys()
        names = {"kernel", "bias", "mean", "scale"} - arrays.keys()
        if keys or names:
            raise ConfigError(
                f"A saved head lacks {', '.join(sorted(keys | names))}. Train it again."
            )
        return cls(
            kind=str(description["kind"]),
            feature=str(description["feature"]),
            classes=tuple(map(str, description["classes"])),
            settings=dict(description["settings"]),
            standardizer=Standardizer(arrays["mean"], arrays["scale"]),
            kernel=arrays["kernel"],
            bias=arrays["bias"],
        )

    def predict_logits(self, features: ArrayLike) -> np.ndarray:
        """Returns the [N, K] float64 logits of [N, D] features as they are stored.

        Summed in float64, so that an example's logits do not change with its batch by
        more than 1e-15, relatively.

        Raises:
          FeatureShapeError: `features` is not [N, D] with the D of the head.
        """
        features = np.asarray(features)
        width = len(self.kernel)
        if features.ndim != 2 or features.shape[1] != width:
            raise FeatureShapeError(
                f"The head takes rows of {width} features ({self.feature}), got the "
                f"shape {list(features.shape)}. Pass the feature it was trained on."
            )
        standardized = apply_standardizer(self.standardizer, features)
        kernel = self.kernel.astype(np.float64)
        return standardized.astype(np.float64) @ kernel + self.bias

    def predict_proba(self, features: ArrayLike) -> np.ndarray:
        """Returns the probability of each class: [N, K] float64 rows that add up to 1.

        Args:
          features: [N, D] floating, not yet standardized; N may be 0.

        Raises:
          FeatureShapeError: `features` is not [N, D] with the D of the head.
        """
        return softmax(self.predict_logits(features))


def softmax(logits: ArrayLike) -> np.ndarray:
    """Returns the float64 softmax over the last axis.

    Example:
      >>> softmax([[0.0, 0.0], [800.0, 0.0]]).tolist()
      [[0.5, 0.5], [1.0, 0.0]]
    """
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
