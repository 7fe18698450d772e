"""A user's own network made and looked at: its parameters, its features, its identity.

Its parameters are its floating `nnx.Variable`s, under their paths in `nnx.state`. All
else that it holds, tables and whole numbers, is as the factory makes it, and belongs to
its code.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.backbones.computation import digest_computation
from tl_pipeline.backbones.own import OwnBackbone, call_factory
from tl_pipeline.digest import Json, json_digest
from tl_pipeline.errors import BackboneError, shorten

# Two, so that a network which drops the axis of a batch of one is found out.
_TRACED_BATCH = 2


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A user's network, made.

    Attributes:
      name: `package.module:factory`.
      settings: All of the factory's, plain data.
      declared: What the factory returned, its network set to evaluation.
      source: The digest of what the network computes, whatever its parameters.
    """

    name: str
    settings: Mapping[str, Json]
    declared: OwnBackbone
    source: str

    @property
    def network(self) -> nnx.Module:
        """The Flax module."""
        return self.declared.network

    @property
    def architecture(self) -> Architecture:
        """What is known of it without its weights; it has no classifier apart."""
        return Architecture(
            name=self.name,
            settings=self.settings,
            preprocess=self.declared.preprocess,
            classes=None,
            make_network=lambda classes: self.network,
            key_rules={},
            checkpoints=(),
            how_to_get="Give a file as its weights, or random:SEED.",
            source=self.source,
        )

    def parameters(self) -> dict[str, np.ndarray]:
        """Returns its parameters as they are now, in float32, by dotted path."""
        return {
            name: np.asarray(variable.get_value(), np.float32)
            for name, variable in list_parameters(self.network).items()
        }


def make_own(
    name: str, *, seed: int = 0, settings: Mapping[str, Json] | None = None
) -> OwnNetwork:
    """Calls a user's factory and checks what it returns, tracing the network once.

    Args:
      name: `package.module:factory`.
      seed: Of the `nnx.Rngs` that the factory gets.
      settings: Its other arguments.

    Raises:
      BackboneError: The factory cannot be found or called, or its network has other
        features than it says.
    """
    key = jax.random.fold_in(jax.random.key(seed % 2**32), seed >> 32)
    declared, filled = call_factory(name, nnx.Rngs(key), settings=settings)
    network = declared.network
    if not isinstance(network, nnx.Module):
        raise BackboneError(
            f"Asked for backbone {name}: its network is a {type(network).__name__}; "
            "give a flax.nnx.Module."
        )
    network.eval()
    graph, state = nnx.split(network)
    try:
        hash(graph)
    except TypeError as error:
        raise BackboneError(
            f"Asked for backbone {name}: its network holds something that JAX cannot "
            f"compile with ({shorten(error)}). Keep modules in nnx.List or nnx.Dict, "
            "and plain values in tuples."
        ) from error
    size = declared.preprocess.input_shape
    images = jax.ShapeDtypeStruct((_TRACED_BATCH, *size), jnp.float32)
    names: list[str] = []

    def run(state: Any, images: jax.Array) -> list[jax.Array]:
        outputs = nnx.merge(graph, state)(images)  # pyright: ignore[reportCallIssue]
        if not isinstance(outputs, Mapping):
            raise TypeError(f"it returned a {type(outputs).__name__}, no dictionary")
        names[:] = outputs
        return list(outputs.values())

    try:
        outputs = jax.eval_shape(run, state, images)
        shapes = dict(zip(names, (output.shape for output in outputs), strict=True))
    except Exception as error:
        raise BackboneError(
            f"Asked for backbone {name}: its network cannot be called on "
            f"{list(images.shape)} float32: {shorten(error)}. It takes images of its "
            "preprocess's size, and returns a dictionary of features by name."
        ) from error
    _check_features(name, declared.features, shapes)
    kept = {
        ".".join(map(str, path)): np.asarray(leaf)
        for path, leaf in nnx.to_flat_state(nnx.state(network))
        if not _is_parameter(leaf) and not isinstance(leaf, nnx.RngState)
    }
    with jax.default_matmul_precision("highest"):
        computed = digest_computation(run, state, images)
    source = {"computed": computed, "kept": array_digest(kept), "features": names}
    return OwnNetwork(name, filled, declared, json_digest(source))


def list_parameters(network: nnx.Module) -> dict[str, nnx.Variable[Any]]:
    """Returns the parameters of a network, by their dotted path in `nnx.state`."""
    return {
        ".".join(map(str, path)): leaf
        for path, leaf in nnx.to_flat_state(nnx.state(network))
        if _is_parameter(leaf)
    }


def drop_values(network: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Frees the values of a network's parameters, in place, and returns their shapes.

    Those of a file take their place, so that both are never in memory together.
    """
    shapes = {}
    for name, variable in list_parameters(network).items():
        value = variable.get_value()
        shapes[name] = tuple(value.shape)
        variable.set_value(jax.ShapeDtypeStruct(value.shape, value.dtype))
    return shapes


def _is_parameter(leaf: Any) -> bool:
    return (
        isinstance(leaf, nnx.Variable)
        and not isinstance(leaf, nnx.RngState)
        and jnp.issubdtype(leaf.get_value().dtype, jnp.floating)
    )


def _check_features(
    name: str,
    declared: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
) -> None:
    """Raises unless the features are those that were declared."""
    wanted = {
        feature: (_TRACED_BATCH, *map(int, shape))
        for feature, shape in declared.items()
    }
    if not found or wanted != dict(found):
        raise BackboneError(
            f"Asked for backbone {name}: its factory declares the features "
            f"{_shown(wanted)}, and its network returns {_shown(found)}. Declare what "
            "it returns, each shape without the axis of the batch."
        )
    odd = [feature for feature in found if ":" in feature or not feature]
    if odd:
        raise BackboneError(
            f"Asked for backbone {name}: feature {odd[0]!r} has no name that can be "
            "asked for. Name it without a colon, which begins a pooling."
        )


def _shown(shapes: Mapping[str, tuple[int, ...]]) -> str:
    texts = [f"{name} {list(('B', *shape[1:]))}" for name, shape in shapes.items()]
    return ", ".join(texts).replace("'", "") or "none"
