"""The layers of a gradient-trained head, for one head; `vmap` makes it many.

Kernels are [out, in] and activations [units, batch] while they are trained: of M heads
the first layer is then one product, [M * out, in] by the [in, batch] that they share,
and no array is ever transposed. They are saved as [in, out].
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Parameters = Mapping[str, jax.Array]

# First queries are short: attention begins near the average over the tokens.
_QUERY_LENGTH = 0.1


class Layers(NamedTuple):
    """What a head is made of; hashable.

    Attributes:
      width: D, the features of a row, or of a token where there are queries.
      queries: Q, or 0 where rows are not tokens.
      hidden: Units of each hidden layer.
      activation: `relu` or `gelu`.
      n_outputs: K.
      drops_inputs: Whether any head has dropout on inputs.
      drops_hidden: Likewise on hidden units.
    """

    width: int
    queries: int
    hidden: tuple[int, ...]
    activation: str
    n_outputs: int
    drops_inputs: bool
    drops_hidden: bool

    @property
    def widths(self) -> tuple[int, ...]:
        """From the inputs of the first dense layer to the outputs of the last."""
        return (self.width * max(1, self.queries), *self.hidden, self.n_outputs)


def first_parameters(layers: Layers, seed: jax.Array) -> Parameters:
    """Draws the parameters of one head from its own seed."""
    key = jax.random.key(seed)
    drawn: dict[str, jax.Array] = {}
    widths = layers.widths
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        normal = jax.random.normal(jax.random.fold_in(key, i), (outputs, inputs))
        # Half of what a rectifier lets through, all of what the last layer gives.
        gain = 1 if i + 1 == len(widths) - 1 else 2
        drawn[f"kernel_{i}"] = normal * (gain / inputs) ** 0.5
        drawn[f"bias_{i}"] = jnp.zeros(outputs)
    if layers.queries:
        normal = jax.random.normal(
            jax.random.fold_in(key, len(widths)), (layers.queries, layers.width)
        )
        drawn["query"] = _QUERY_LENGTH * normal
    return drawn


def decays(parameters: Parameters) -> dict[str, bool]:
    """Returns which parameters weight decay is for: the kernels."""
    return {name: name.startswith("kernel") for name in parameters}


def outputs_of(
    layers: Layers,
    parameters: Parameters,
    rows: jax.Array,
    *,
    dropout: tuple[jax.Array, jax.Array] | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Returns the outputs [K, B] of one head.

    Args:
      layers: What it is made of.
      parameters: As `first_parameters`.
      rows: [B, D], or [B, T, D] where there are queries.
      dropout: The shares of inputs and of hidden units left out; None outside training.
      key: Of what is left out.
    """

    def dropped(units: jax.Array, site: int) -> jax.Array:
        if dropout is None or key is None:
            return units
        share = dropout[min(site, 1)]
        # Half the random numbers of `bernoulli`, which take longer than the layers.
        bits = jax.random.bits(jax.random.fold_in(key, site), units.shape, jnp.uint16)
        kept = bits >= jnp.round(share * 65536).astype(jnp.uint16)
        return jnp.where(kept, units / (1 - share), 0)

    if layers.queries:
        if layers.drops_inputs:
            rows = dropped(rows, 0)
        units = _pooled(parameters["query"], rows)
    elif layers.drops_inputs:
        units = dropped(rows.T, 0)
    else:
        units = rows.T
    last = len(layers.widths) - 2
    for i in range(last + 1):
        bias = parameters[f"bias_{i}"]
        units = parameters[f"kernel_{i}"] @ units + bias[:, None]
        if i < last:
            activate = jax.nn.relu if layers.activation == "relu" else jax.nn.gelu
            units = activate(units)
            if layers.drops_hidden:
                units = dropped(units, i + 1)
    return units


def _pooled(query: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns [Q * D, B]: tokens [B, T, D] averaged by each query's attention."""
    scores = jnp.einsum("qd,btd->qbt", query, tokens) / tokens.shape[-1] ** 0.5
    shares = jax.nn.softmax(scores, axis=-1)
    pooled = jnp.einsum("qbt,btd->qdb", shares, tokens)
    return pooled.reshape(-1, tokens.shape[0])


def saved_arrays(parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns one head's parameters as they are saved: kernels [in, out]."""
    return {
        name: np.ascontiguousarray(array.T if name.startswith("kernel") else array)
        for name, array in parameters.items()
    }
