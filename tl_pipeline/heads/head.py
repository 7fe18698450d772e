"""A fitted head as it is saved and used: plain arrays, a description, no jax."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.heads.preparation import Kept, Preparation, Steps, apply_preparation
from tl_pipeline.tasks import Task

_PREPARATION = "preparation."  # before the names of its arrays
_KEYS = ("kind", "feature", "task", "classes", "settings", "preparation")


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One fitted head with all that is needed to use it on stored features.

    Attributes:
      kind: One of `outputs.KINDS`.
      feature: The name of the feature it was trained on; several are joined by `+`.
      task: What it was asked for.
      settings: What it was trained with, as plain data: `l2`, `C`, and so on.
      preparation: What is done to rows first, fitted on the train split.
      arrays: What it learned, float32, by name; see `outputs`.
      temperature: What its logits are divided by, fitted where heads are chosen.
    """

    kind: str
    feature: str
    task: Task
    settings: Mapping[str, Json]
    preparation: Preparation
    arrays: Mapping[str, np.ndarray]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"Asked for a head of kind {self.kind!r}; known are {', '.join(KINDS)}."
                " A newer tl-pipeline may know it."
            )
        missing = [name for name in KINDS[self.kind][1] if name not in self.arrays]
        if missing:
            raise ConfigError(
                f"A saved head lacks {', '.join(missing)}. Train it again."
            )

    def keeping(self, kept: Kept | None, *, feature: str | None = None) -> "Head":
        """Returns the head as one that takes other columns, of the same meaning."""
        return dataclasses.replace(
            self,
            feature=feature or self.feature,
            preparation=dataclasses.replace(self.preparation, kept=kept),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K columns that `predict` returns."""
        return self.task.names

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays to save, by name."""
        prepared = self.preparation.to_arrays()
        return {**self.arrays} | {
            _PREPARATION + name: array for name, array in prepared.items()
        }

    def to_json(self) -> dict[str, Json]:
        """Returns everything but the arrays, as plain data."""
        return {
            "kind": self.kind,
            "feature": self.feature,
            "task": self.task.kind,
            "classes": list(self.task.names),
            "settings": dict(self.settings),
            "preparation": dataclasses.asdict(self.preparation.steps),
            "temperature": self.temperature,
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
          FeatureShapeError: The arrays do not fit each other.
        """
        missing = [key for key in _KEYS if key not in description]
        if missing:
            raise ConfigError(
                f"A saved head lacks {', '.join(missing)}. Train it again."
            )
        prepared = {
            name.removeprefix(_PREPARATION): array
            for name, array in arrays.items()
            if name.startswith(_PREPARATION)
        }
        steps = Steps(**description["preparation"])
        return cls(
            kind=str(description["kind"]),
            feature=str(description["feature"]),
            task=Task(description["task"], tuple(map(str, description["classes"]))),
            settings=dict(description["settings"]),
            preparation=Preparation.from_arrays(steps, prepared),
            arrays={
                name: array
                for name, array in arrays.items()
                if not name.startswith(_PREPARATION)
            },
            temperature=float(description.get("temperature", 1.0)),
        )

    def outputs(self, features: ArrayLike) -> np.ndarray:
        """Returns the [N, K] float64 logits, or numbers, of features as stored.

        Of a binary task [N, 1]: the logit of the second class. The temperature is not
        in them.

        Raises:
          FeatureShapeError: `features` are not the head's.
        """
        outputs, _ = KINDS[self.kind]
        try:
            rows = apply_preparation(self.preparation, features)
            return outputs(self.arrays, self.settings, rows)
        except (FeatureShapeError, ValueError) as error:
            raise FeatureShapeError(
                f"A head on {self.feature} was given rows of the shape "
                f"{list(np.shape(features))}: {error}"
            ) from error

    def predict(self, features: ArrayLike) -> np.ndarray:
        """Returns what the head says of N examples: [N, K] float64; see `Task`.

        Args:
          features: [N, D] floating, as stored; N may be 0.

        Raises:
          FeatureShapeError: `features` are not the head's.
        """
        return apply_link(self.task, self.outputs(features) / self.temperature)


def apply_link(task: Task, outputs: ArrayLike) -> np.ndarray:
    """Turns logits into probabilities; numbers stay what they are.

    Args:
      task: Its kind decides: softmax, one sigmoid, a sigmoid a label, or nothing.
      outputs: [..., K] floating, [..., 1] where the task is binary.

    Returns:
      [..., K] float64; both classes' probabilities where the task is binary.
    """
    outputs = np.asarray(outputs, np.float64)
    if task.kind == "regression":
        return outputs
    if task.kind == "multiclass":
        return softmax(outputs)
    if task.kind == "binary":
        return softmax(np.concatenate([np.zeros_like(outputs), outputs], axis=-1))
    # The larger of the two halves first: no overflow at either end.
    powers = np.exp(-np.abs(outputs))
    return np.where(outputs >= 0, 1, powers) / (1 + powers)


def softmax(logits: ArrayLike) -> np.ndarray:
    """Returns the float64 softmax over the last axis.

    Example:
      >>> softmax([[0.0, 0.0], [800.0, 0.0]]).tolist()
      [[0.5, 0.5], [1.0, 0.0]]
    """
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
