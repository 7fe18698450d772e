"""A Flax network with its weights: inputs of any kind in, named features out.

The compiled function takes the weights as arguments, so that two sets of weights of
one architecture share a compilation, and each batch shape is compiled once.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.backbones.backbone import Forward
from tl_pipeline.backbones.computation import count_flops
from tl_pipeline.backbones.features import resolve_features
from tl_pipeline.backbones.intake import find_intake
from tl_pipeline.backbones.layers import fold_batch_norms
from tl_pipeline.backbones.parameters import (
    cast_floats,
    make_abstract,
    parameter_shapes,
    set_parameters,
    split_classifier,
)
from tl_pipeline.backbones.standardized import standardize_kernels
from tl_pipeline.devices import Placement, share_batch
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import Preprocess
from tl_pipeline.spec import Feature


class NetworkBackbone:
    """An architecture with weights; see `Backbone` for the attributes."""

    needs_accelerator = True
    matmul_precision = "highest"

    def __init__(
        self,
        architecture: Architecture,
        parameters: Mapping[str, np.ndarray],
        *,
        weights: str,
        origin: Mapping[str, Json],
        compute_dtype: str = "float32",
        network: nnx.Module | None = None,
    ):
        """Takes merged float32 parameters by dotted name.

        Args:
          architecture: What they belong to.
          parameters: All of the trunk's; the classifier's, or none of them.
          weights: The source string.
          origin: Where they come from, as in `Backbone.weights_origin`.
          compute_dtype: `"float32"` or `"bfloat16"`.
          network: What the parameters are put into; by default it is made.
        """
        # A network of others may name anything so.
        trunk, classifier = (
            (parameters, {})
            if architecture.classes is None
            else split_classifier(parameters)
        )
        self.name = architecture.name
        self.settings = architecture.settings
        self.source = architecture.source
        self.preprocess: Preprocess = architecture.preprocess
        self.weights = weights
        self.weights_digest = array_digest(trunk)
        self.classifier_digest = array_digest(classifier) if classifier else None
        self.weights_origin = origin
        self.compute_dtype = compute_dtype
        classes = len(classifier["classifier.bias"]) if classifier else None
        if network is None:
            network = make_abstract(architecture.make_network, classes)
        self._shapes = _output_shapes(network, self.preprocess)
        set_parameters(network, parameters)
        fold_batch_norms(network)
        standardize_kernels(network)
        graph, state = nnx.split(network)
        self._graph = Structure(graph)
        self._state = cast_floats(state, compute_dtype)
        self._placed: dict[Placement, Any] = {}

    def feature_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns each output's shape for one example, in order, unpooled."""
        return dict(self._shapes)

    def make_forward(self, features: Sequence[str]) -> Forward:
        """Returns the compiled function of these features, on inputs [B, ...].

        It returns before the device is done: fetch a batch after dispatching the next.
        All local devices share a batch whose rows can be dealt out evenly; see
        `share_batch`.

        Raises:
          BackboneError: A feature is unknown, or its pooling does not apply.
        """
        wanted = self._resolve(features)

        def forward(inputs: np.ndarray) -> dict[str, jax.Array]:
            placement = share_batch(len(inputs))
            computed = compute_features(
                self._graph,
                self._weights_on(placement),
                placement.split(inputs),
                features=wanted,
                preprocess=self.preprocess,
                compute_dtype=self.compute_dtype,
                precision=self.matmul_precision,
            )
            # JAX sorts a dictionary's keys; ours stay in the order asked for.
            return {feature.name: computed[feature.name] for feature in wanted}

        return forward

    def measure_memory(self, features: Sequence[str], batch_size: int) -> int | None:
        """Returns the bytes of each device's memory that a batch takes, with weights.

        By the compiler's own account, which not every platform gives: None there.
        """
        wanted = self._resolve(features)
        placement = share_batch(batch_size)
        inputs = jax.ShapeDtypeStruct(
            (batch_size, *self.preprocess.input_shape),
            self.preprocess.dtype,
            sharding=placement.sharding(),
        )
        compiled = compute_features.lower(
            self._graph,
            self._weights_on(placement),
            inputs,
            features=wanted,
            preprocess=self.preprocess,
            compute_dtype=self.compute_dtype,
            precision=self.matmul_precision,
        ).compile()
        found = compiled.memory_analysis()
        if found is None:
            return None
        return (
            found.argument_size_in_bytes
            + found.output_size_in_bytes
            + found.temp_size_in_bytes
        )

    def _resolve(self, features: Sequence[str]) -> tuple[Feature, ...]:
        poolings = self.preprocess.poolings
        return tuple(
            resolve_features(
                features, self._shapes, backbone=self.name, poolings=poolings
            )
        )

    def _weights_on(self, placement: Placement) -> Any:
        """Returns the weights, whole on each device; they are copied there once."""
        if len(placement.devices) == 1:
            return self._state
        if placement not in self._placed:
            self._placed[placement] = placement.copy(self._state)
        return self._placed[placement]


class Structure:
    """What `nnx.split` gives beside the weights, hashed once.

    Every call of a compiled function asks for the hash of what it is compiled for, and
    to walk through a network takes milliseconds.
    """

    def __init__(self, graph: Any):
        """Takes the structure."""
        self.graph = graph
        self._hash = hash(graph)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Structure) and self.graph == other.graph
        )


@functools.partial(
    jax.jit,
    static_argnames=("graph", "features", "preprocess", "compute_dtype", "precision"),
)
def compute_features(
    graph: "Structure",
    state: Any,
    inputs: jax.Array,
    *,
    features: tuple[Feature, ...],
    preprocess: Preprocess,
    compute_dtype: str,
    precision: str,
) -> dict[str, jax.Array]:
    """Takes inputs in, runs the network, pools; outputs not asked for cost nothing.

    Args:
      graph: The network's structure.
      state: Its weights.
      inputs: [B, ...] of the preprocessing's dtype.
      features: What to return.
      preprocess: What made the inputs.
      compute_dtype: Of the network; what is before and after it is in float32.
      precision: Of matrix products.

    Returns:
      float32 by canonical feature name.
    """
    intake = find_intake(preprocess)
    with jax.default_matmul_precision(precision):
        network = nnx.merge(graph.graph, state)
        outputs = network(intake.take(inputs, preprocess, compute_dtype))
    wide = {f.output: outputs[f.output].astype(jnp.float32) for f in features}
    return {
        f.name: intake.pool(wide[f.output], f.pooling, inputs, preprocess)
        for f in features
    }


def network_shapes(
    architecture: Architecture, classes: int | None
) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter of an architecture, by dotted name."""
    return parameter_shapes(make_abstract(architecture.make_network, classes))


class Outline(NamedTuple):
    """What is known of an architecture with its published classifier, weights apart.

    Attributes:
      features: Each output's shape for one example, in order.
      parameters: How many numbers the trunk holds; BatchNorm's statistics count, for
        they are part of what a checkpoint brings.
      classifier_parameters: Likewise the classifier.
      flops: The work of one example; a multiply-add is 2. See `count_flops`.
    """

    features: dict[str, tuple[int, ...]]
    parameters: int
    classifier_parameters: int
    flops: int


def outline_network(architecture: Architecture) -> Outline:
    """Traces an architecture once; no weights are made, nothing is run."""
    network = make_abstract(architecture.make_network, architecture.classes)
    sizes = {
        name: math.prod(shape) for name, shape in parameter_shapes(network).items()
    }
    trunk, _ = (sizes, {}) if architecture.classes is None else split_classifier(sizes)
    jaxpr, features = _trace(network, architecture.preprocess)
    return Outline(
        features=features,
        parameters=sum(trunk.values()),
        classifier_parameters=sum(sizes.values()) - sum(trunk.values()),
        flops=count_flops(jaxpr),
    )


def _output_shapes(
    network: nnx.Module, preprocess: Preprocess
) -> dict[str, tuple[int, ...]]:
    return _trace(network, preprocess)[1]


def _trace(
    network: nnx.Module, preprocess: Preprocess
) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Returns the program of one example, and the shapes of its outputs."""
    graph, state = nnx.split(network)
    dtype = find_intake(preprocess).dtype
    inputs = jax.ShapeDtypeStruct((1, *preprocess.input_shape), dtype)
    # As pairs: a dictionary comes back with its keys sorted, and the order matters.
    names: list[str] = []

    def run(state: Any, inputs: jax.Array) -> list[jax.Array]:
        outputs = nnx.merge(graph, state)(inputs)  # pyright: ignore[reportCallIssue]
        names[:] = outputs
        return list(outputs.values())

    jaxpr, shapes = jax.make_jaxpr(run, return_shape=True)(state, inputs)
    return jaxpr, {name: x.shape[1:] for name, x in zip(names, shapes, strict=True)}
