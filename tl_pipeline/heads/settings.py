"""What a gradient-trained head is trained with. Importing this loads no jax."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError

Activation = Literal["relu", "gelu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)

_RATES = ("dropout_inputs", "dropout_hidden", "label_smoothing")
_SIZES = ("batch_size", "epochs", "patience")


@dataclasses.dataclass(frozen=True)
class MlpSettings:
    """One head: dense layers, and how they are trained.

    Heads that differ in strengths alone (`learning_rate`, `weight_decay`, the dropouts,
    `label_smoothing`, `patience`, `seed`) are trained in one program.

    Attributes:
      hidden: Units of each hidden layer; empty for a linear head.
      activation: After each hidden layer; `gelu` is the form with tanh.
      learning_rate: What the schedule's factor is multiplied with.
      weight_decay: Of kernels, not of biases; decoupled where the optimizer has that,
        and else the factor of half the squared norm in the objective.
      dropout_inputs: Share of the features that a step leaves out.
      dropout_hidden: Share of hidden units likewise.
      label_smoothing: Share of a target that is spread over all classes; of a label,
        over yes and no.
      optimizer: Of Optax, by name.
      optimizer_arguments: Its arguments but for learning rate and weight decay.
      schedule: Of Optax, by name; it gives a factor of the learning rate.
      schedule_arguments: Its arguments. Its first or peak value is 1 and its length
        that of the training unless given.
      batch_size: Rows in a minibatch, which all heads of a program share.
      epochs: At most.
      patience: Epochs without a better validation loss after which a head is done; its
        best epoch is kept. None: all epochs on all rows, and the last is kept.
      seed: Of the first parameters and of dropout.
    """

    hidden: tuple[int, ...] = (128,)
    activation: Activation = "relu"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    dropout_inputs: float = 0.0
    dropout_hidden: float = 0.0
    label_smoothing: float = 0.0
    optimizer: str = "adamw"
    optimizer_arguments: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    schedule: str = "constant_schedule"
    schedule_arguments: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    batch_size: int = 256
    epochs: int = 100
    patience: int | None = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ConfigError(
                f"Asked for the activation {self.activation!r}; known are "
                f"{', '.join(ACTIVATIONS)}."
            )
        wrong = [name for name in _RATES if not 0 <= getattr(self, name) < 1]
        if wrong:
            raise ConfigError(
                f"Asked for a head with {self._named(wrong)}: give shares from 0 to "
                "below 1."
            )
        wrong = [name for name in _SIZES if (getattr(self, name) or 1) < 1]
        wrong += [name for name in ("batch_size", "epochs") if not getattr(self, name)]
        wrong += ["hidden"] if min(self.hidden, default=1) < 1 else []
        if wrong:
            raise ConfigError(
                f"Asked for a head with {self._named(wrong)}: give whole numbers of 1 "
                "or more."
            )
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise ConfigError(
                "Asked for a head with "
                f"{self._named(['learning_rate', 'weight_decay'])}: the first must be "
                "above 0 and the second at least 0."
            )

    def _named(self, names: list[str]) -> str:
        return ", ".join(f"{name} = {getattr(self, name)}" for name in names)

    def to_json(self) -> dict[str, Json]:
        """Returns the settings as plain data, what `Head.settings` holds."""
        plain: dict[str, Json] = dataclasses.asdict(self)
        return plain | {"hidden": list(self.hidden)}


@dataclasses.dataclass(frozen=True)
class AttentionSettings(MlpSettings):
    """One head that weighs tokens by learned queries; then dense layers, as above.

    Attributes:
      queries: Q; each pools the tokens in its own way, and the Q results are joined.
    """

    hidden: tuple[int, ...] = ()
    queries: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries < 1:
            raise ConfigError(
                f"Asked for attention with queries = {self.queries}: give 1 or more."
            )
