"""A network whose parameters are an argument: what fine-tuning differentiates.

BatchNorm is not folded, so that its scale and offset stay parameters of their own; its
statistics are arguments like the others, and never change in a forward pass.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tl_pipeline.backbones.architecture import CLASSIFIER_OUTPUTS, Architecture
from tl_pipeline.backbones.features import resolve_features
from tl_pipeline.backbones.intake import find_intake
from tl_pipeline.backbones.parameters import (
    make_abstract,
    network_states,
    split_classifier,
)
from tl_pipeline.backbones.recordings import flatten_windows, join_windows
from tl_pipeline.backbones.subnetwork import (
    Traced,
    find_blocks,
    find_needed,
    run_part,
    trace_network,
)
from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import ImagePreprocess

# Parameters by dotted name, inputs [B, ...] -> float32 features, pooled, in order.
Apply = Callable[[Mapping[str, jax.Array], jax.Array], list[jax.Array]]


class TrainableNetwork:
    """An architecture's trunk and its parameters, apart.

    Attributes:
      architecture: The architecture.
      parameters: float32 by dotted name, statistics too, BatchNorm not folded.
      statistics: Names of those that are BatchNorm's statistics.
    """

    def __init__(
        self, architecture: Architecture, parameters: Mapping[str, np.ndarray]
    ):
        """Takes merged float32 parameters by dotted name; a classifier is left out."""
        self.architecture = architecture
        self.parameters, _ = split_classifier(parameters)
        network = make_abstract(architecture.make_network, None)
        self._graph, state = nnx.split(network)
        self._states = network_states(state)
        assert self._states.keys() == self.parameters.keys()
        self.statistics = frozenset(
            name
            for name, (_, variable) in self._states.items()
            if isinstance(variable, nnx.BatchStat)
        )

    def blocks(self, features: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Returns the parameters that features take, by block, in the network's order.

        Raises:
          BackboneError: A feature is unknown.
        """
        traced = self._traced
        return find_blocks(traced, self._ends(traced, features))

    def check_cut(self, cut: str, features: Sequence[str]) -> None:
        """Raises unless features take nothing of the network but through a cut.

        Raises:
          BackboneError: They do, or there is no such output.
        """
        traced = self._traced
        if cut not in traced.outputs:
            raise BackboneError(
                f"Asked to cut {self.architecture.name} at {cut!r}: its outputs are "
                f"{', '.join(traced.outputs)}."
            )
        needed = find_needed(traced, self._ends(traced, features), start=cut)
        if needed.takes_input and not self.is_masked:
            raise BackboneError(
                f"Asked to cut {self.architecture.name} at {cut}: {', '.join(features)}"
                f" takes what does not pass through {cut}. Cut at an earlier output."
            )

    def prepare(self, inputs: jax.Array) -> jax.Array:
        """Returns the network's input of what the host prepared.

        Of pixels from 0 to 255 [B, H, W, C] float32; token ids [B, T] are that already,
        and windows [B, W, ...] stay, until it is known which of them there are.
        """
        preprocess = self.architecture.preprocess
        if self.is_masked:
            return inputs
        return find_intake(preprocess).take(inputs, preprocess, "float32")

    @property
    def is_masked(self) -> bool:
        """Whether all that follows an input takes of it which tokens, or frames, are.

        So it is of texts and recordings.
        """
        return not isinstance(self.architecture.preprocess, ImagePreprocess)

    def make_apply(
        self, features: Sequence[str], *, cut: str | None = None, remat: bool = False
    ) -> Apply:
        """Makes the function from parameters and inputs to features.

        It computes in the dtype of the parameters. Inputs are images [B, H, W, C],
        token ids [B, T], or the windows of recordings [B, W, ...], NaN where there is
        nothing of them. Behind a cut they are the values there; of texts these and the
        token ids [B, T], of recordings of one window these and which frames, or
        samples, of the window there are, [B, T] bool.

        Args:
          features: Feature names.
          cut: An output: the inputs are then its values, and nothing before it runs.
          remat: Whether gradients compute each block anew instead of keeping what is
            inside it.
        """
        shapes = self.feature_shapes()
        wanted = tuple(
            resolve_features(
                features,
                shapes,
                backbone=self.architecture.name,
                poolings=self.architecture.preprocess.poolings,
            )
        )
        outputs = tuple(dict.fromkeys(feature.output for feature in wanted))

        preprocess = self.architecture.preprocess
        intake = find_intake(preprocess)

        def apply(parameters: Mapping[str, jax.Array], inputs: Any) -> list[jax.Array]:
            dtype = next(iter(parameters.values())).dtype
            value, prepared, beside = inputs, inputs, None
            if not self.is_masked:
                shape = len(inputs), *preprocess.input_shape
                batch = jax.ShapeDtypeStruct(shape, dtype)
            else:
                if cut is not None:
                    value, prepared = inputs
                beside = intake.take(prepared, preprocess, dtype.name)
                batch = jax.ShapeDtypeStruct(beside.shape, beside.dtype)
                value = beside if cut is None else value
            abstract = {
                name: jax.ShapeDtypeStruct(array.shape, dtype)
                for name, array in self.parameters.items()
            }
            traced = trace_network(self._run, abstract, batch)
            run = _run_by_blocks if remat else run_part
            found = run(
                traced, parameters, value, ends=outputs, start=cut, beside=beside
            )
            values = dict(zip(outputs, found, strict=True))
            return [
                intake.pool(
                    values[feature.output].astype(jnp.float32),
                    feature.pooling,
                    prepared,
                    preprocess,
                )
                for feature in wanted
            ]

        def apply_windows(
            parameters: Mapping[str, jax.Array], inputs: Any
        ) -> list[jax.Array]:
            if cut is not None:
                rows, there = inputs
                there = there.reshape(*there.shape, *(1 for _ in shapes_of_frame))
                windows = jnp.broadcast_to(
                    jnp.where(there, 0.0, jnp.nan), (*there.shape[:2], *shapes_of_frame)
                )
                return apply(parameters, (rows, windows))
            windows, sizes = flatten_windows(inputs)
            return [
                join_windows(rows, sizes, feature.pooling)
                for rows, feature in zip(
                    apply(parameters, windows), wanted, strict=True
                )
            ]

        shapes_of_frame = preprocess.input_shape[1:]
        return apply_windows if preprocess.windowed else apply

    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns each output's shape for one example, in order, unpooled."""
        traced = self._traced
        return {name: traced.place(name).aval.shape[1:] for name in traced.outputs}

    def _run(self, parameters: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        state = nnx.from_flat_state(
            [
                (path, variable.replace(parameters[name]))
                for name, (path, variable) in self._states.items()
            ]
        )
        network: Any = nnx.merge(self._graph, state)
        return network(inputs)

    @functools.cached_property
    def _traced(self) -> Traced:
        preprocess = self.architecture.preprocess
        shape = (1, *preprocess.input_shape)
        parameters = {
            name: jax.ShapeDtypeStruct(array.shape, jnp.float32)
            for name, array in self.parameters.items()
        }
        dtype = jnp.dtype(find_intake(preprocess).dtype)
        return trace_network(self._run, parameters, jax.ShapeDtypeStruct(shape, dtype))

    def _ends(self, traced: Traced, features: Sequence[str]) -> list[str]:
        known = {name: traced.place(name).aval.shape[1:] for name in traced.outputs}
        tops = [name for name in features if name.split(":")[0] in CLASSIFIER_OUTPUTS]
        if tops:
            raise BackboneError(
                f"Asked to fine-tune {self.architecture.name} below {', '.join(tops)}: "
                "a published classifier is no part of what is trained. Start from a "
                f"head on another feature, of {', '.join(known)}."
            )
        resolved = resolve_features(
            features,
            known,
            backbone=self.architecture.name,
            poolings=self.architecture.preprocess.poolings,
        )
        return list(dict.fromkeys(feature.output for feature in resolved))


def _run_by_blocks(
    traced: Traced,
    parameters: Mapping[str, jax.Array],
    inputs: jax.Array,
    *,
    ends: Sequence[str],
    start: str | None,
    beside: jax.Array | None,
) -> list[jax.Array]:
    """Runs from output to output wherever all that follows passes through one."""
    value = inputs
    order = traced.outputs
    last = min(order.index(end) for end in ends)
    for block in find_blocks(traced, ends):
        begun = -1 if start is None else order.index(start)
        if not begun < order.index(block) < last:
            continue
        if find_needed(traced, ends, start=block).takes_input and beside is None:
            continue
        value = _run_again_later(traced, parameters, value, (block,), start, beside)[0]
        start = block
    return _run_again_later(traced, parameters, value, tuple(ends), start, beside)


def _run_again_later(
    traced: Traced,
    parameters: Mapping[str, jax.Array],
    value: jax.Array,
    ends: tuple[str, ...],
    start: str | None,
    beside: jax.Array | None,
) -> list[jax.Array]:
    names = find_needed(traced, ends, start=start).parameters

    def run(parameters: Any, value: jax.Array) -> list[jax.Array]:
        return run_part(
            traced, parameters, value, ends=ends, start=start, beside=beside
        )

    return jax.checkpoint(run)({name: parameters[name] for name in names}, value)
