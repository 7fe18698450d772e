"""A fitted head as it is saved and used: plain arrays, a description, no jax."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.links import apply_link
from tl_pipeline.heads.members import ENSEMBLE, PREPARATION, average_members
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.heads.preparation import Kept, Preparation, Steps, apply_preparation
from tl_pipeline.tasks import Task, decide

_KEYS = ("kind", "feature", "task", "classes", "settings", "preparation")


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One fitted head with all that is needed to use it on stored features.

    Attributes:
      kind: One of `outputs.KINDS`, or `ensemble`; see `members`.
      feature: The name of the feature it was trained on; several are joined by `+`.
      task: What it was asked for.
      settings: What it was trained with, as plain data: `l2`, `C`, and so on.
      preparation: What is done to rows first, fitted on the train split.
      arrays: What it learned, float32, by name; see `outputs`.
      temperature: What its logits are divided by, fitted where heads are chosen.
      thresholds: What makes its probabilities a yes, fitted there too; empty: half. See
        `tasks.decide`.
    """

    kind: str
    feature: str
    task: Task
    settings: Mapping[str, Json]
    preparation: Preparation
    arrays: Mapping[str, np.ndarray]
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == ENSEMBLE:
            return
        if self.kind not in KINDS:
            raise ConfigError(
                f"Asked for a head of kind {self.kind!r}; known are {', '.join(KINDS)} "
                f"and {ENSEMBLE}. A newer tl-pipeline may know it."
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
            PREPARATION + name: array for name, array in prepared.items()
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
            "thresholds": list(self.thresholds),
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
            name.removeprefix(PREPARATION): array
            for name, array in arrays.items()
            if name.startswith(PREPARATION)
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
                if not name.startswith(PREPARATION)
            },
            temperature=float(description.get("temperature", 1.0)),
            thresholds=tuple(map(float, description.get("thresholds", ()))),
        )

    def outputs(self, features: ArrayLike) -> np.ndarray:
        """Returns the [N, K] float64 logits, or numbers, of features as stored.

        Of a binary task [N, 1]: the logit of the second class. The temperature is not
        in them.

        Raises:
          FeatureShapeError: `features` are not the head's.
        """
        try:
            rows = apply_preparation(self.preparation, features)
            if self.kind == ENSEMBLE:
                return average_members(self.task, self.arrays, self.settings, rows)
            outputs, _ = KINDS[self.kind]
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

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Returns what follows from what `predict` gave; see `tasks.decide`."""
        return decide(self.task, outputs, self.thresholds)
