"""A network's parameters as named arrays: `blocks.0.expand.conv.kernel`."""

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx

from tl_pipeline.backbones.architecture import CLASSIFIER_PREFIX

_T = TypeVar("_T")
EMBEDDING_STD = 0.02  # with which BERT and GPT-2 begin


def parameter_shapes(network: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter and statistic, by dotted name."""
    return {
        _dotted(path): tuple(variable.get_value().shape)
        for path, variable in nnx.to_flat_state(nnx.state(network))
    }


def set_parameters(network: nnx.Module, parameters: Mapping[str, Any]) -> None:
    """Sets parameters of a network, which may be an abstract one, in place."""
    flat = nnx.to_flat_state(nnx.state(network))
    assert parameters.keys() <= {_dotted(path) for path, _ in flat}
    nnx.update(
        network,
        nnx.from_flat_state(
            [
                (path, variable.replace(parameters[_dotted(path)]))
                for path, variable in flat
                if _dotted(path) in parameters
            ]
        ),
    )


def get_parameters(state: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of an `nnx.State` on the host, by dotted name."""
    return {
        _dotted(path): np.asarray(variable.get_value())
        for path, variable in nnx.to_flat_state(state)
    }


def network_states(state: Any) -> dict[str, tuple[tuple[Any, ...], Any]]:
    """Returns each variable of an `nnx.State` and its path, by dotted name."""
    return {_dotted(p): (p, variable) for p, variable in nnx.to_flat_state(state)}


def random_parameters(
    shapes: Mapping[str, tuple[int, ...]], *, seed: int
) -> dict[str, np.ndarray]:
    """Returns an untrained network's parameters, the same ones on every machine.

    Kernels are He-normal and tables of embeddings normal, each from a stream of its
    own, seeded by seed and name, so that a parameter does not depend on which others
    there are; a BatchNorm is the identity, and biases are zero.

    Args:
      shapes: By dotted name, from `parameter_shapes`.
      seed: A whole number from 0, below 2**64.

    Reference:
      He et al. 2015, https://arxiv.org/abs/1502.01852
    """
    return {name: _draw(name, shape, seed) for name, shape in shapes.items()}


def split_classifier(
    parameters: Mapping[str, _T],
) -> tuple[dict[str, _T], dict[str, _T]]:
    """Splits parameters, or what is known of each, into trunk's and classifier's."""
    trunk = {n: a for n, a in parameters.items() if not n.startswith(CLASSIFIER_PREFIX)}
    return trunk, {n: a for n, a in parameters.items() if n not in trunk}


def make_abstract(make_network: Any, classes: int | None) -> nnx.Module:
    """Makes a network whose parameters have shapes but no values: nothing is computed.

    Args:
      make_network: From `Architecture.make_network`.
      classes: K, or None for no classifier.
    """
    return nnx.eval_shape(lambda: make_network(classes))


def cast_floats(tree: Any, dtype: str) -> Any:
    """Casts the floating arrays of a tree to a compute dtype."""

    def cast(array: Any) -> Any:
        floating = jax.numpy.issubdtype(array.dtype, jax.numpy.floating)
        return jax.numpy.asarray(array, dtype if floating else None)

    return jax.tree.map(cast, tree)


def _draw(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    leaf = name.rpartition(".")[2]
    if leaf in ("scale", "var"):
        return np.ones(shape, np.float32)
    if leaf not in ("kernel", "embedding"):
        return np.zeros(shape, np.float32)
    key = hashlib.sha256(name.encode()).digest()[:8]
    # The Mersenne Twister's streams are frozen by NumPy's policy; Generator's are not.
    words = [*np.frombuffer(key, ">u4").tolist(), seed % 2**32, seed >> 32]
    rng = np.random.RandomState(words)
    if leaf == "embedding":
        return (rng.standard_normal(shape) * EMBEDDING_STD).astype(np.float32)
    fan_in = int(np.prod(shape[:-1]))
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))
