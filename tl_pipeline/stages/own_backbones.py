"""A user's own network with its weights: from its factory, a file, a hub or a seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.backbones.backbone import Backbone
from tl_pipeline.backbones.network import NetworkBackbone
from tl_pipeline.backbones.own_network import (
    OwnNetwork,
    drop_values,
    list_parameters,
    make_own,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import WeightsError
from tl_pipeline.stages.checkpoints import OWN_LAYOUT, Checkpoint
from tl_pipeline.weights.hub import fetch_weights
from tl_pipeline.weights.merge import KeyRule
from tl_pipeline.weights.reading import load_tensors
from tl_pipeline.weights.safetensors import write_safetensors
from tl_pipeline.weights.source import WeightsSource, parse_source


def load_own_backbone(
    name: str,
    *,
    weights: str | Path,
    compute_dtype: str = "float32",
    settings: Mapping[str, Json] | None = None,
) -> Backbone:
    """Loads a network of a user's own, `package.module:factory`.

    Args:
      name: Where its factory is.
      weights: As for `load_backbone`. A file names its tensors by their dotted paths in
        `nnx.state`, as `save_weights` does; `"pretrained"` are those that the factory
        returns, where it says that they are.
      compute_dtype: `"float32"` or `"bfloat16"`.
      settings: The factory's arguments after the first.

    Raises:
      BackboneError: The factory cannot be found or called, or its network has other
        features than it says.
      WeightsError: The weights cannot be read, or do not fit.
    """
    source = parse_source(str(weights))
    own = make_own(name, seed=source.seed or 0, settings=settings)
    if source.kind == "pretrained" and not own.declared.pretrained:
        raise WeightsError(
            f"Asked for {name} with pretrained weights: its factory does not say that "
            "it returns trained ones. Give a file (tl_pipeline.save_weights writes "
            "one), or random:SEED; or load them in the factory, and have it return "
            "OwnBackbone(..., pretrained=True)."
        )
    architecture = own.architecture
    if source.kind in ("pretrained", "random"):
        parameters = own.parameters()
        drop_values(own.network)
        origin: Mapping[str, Json] = {"kind": source.kind} | dict.fromkeys(_FACTS)
    else:
        checkpoint = open_own_checkpoint(own, source)
        parameters, origin = checkpoint.merge(), checkpoint.origin
    return NetworkBackbone(
        architecture,
        parameters,
        weights=source.text,
        origin=origin,
        compute_dtype=compute_dtype,
        network=own.network,
    )


def open_own_checkpoint(own: OwnNetwork, source: WeightsSource) -> Checkpoint:
    """Opens a file of weights for a user's network, whose own values are dropped.

    Raises:
      WeightsError: The file cannot be had or read.
    """
    shapes = drop_values(own.network)
    path, place = source.path, {}
    if source.hub is not None:
        found = fetch_weights(source.hub)
        path = found.path
        place = {"hub": source.hub.repository, "commit": found.commit}
    assert path is not None
    tensors = load_tensors(path)
    return Checkpoint(
        architecture=own.architecture,
        layout=OWN_LAYOUT,
        tensors=tensors,
        n_tensors=len(tensors.arrays),
        rules=[KeyRule(name, name) for name in shapes],
        shapes=shapes,
        origin={
            "kind": source.kind,
            "file": path.name,
            "sha256": tensors.sha256,
            **{key: tensors.metadata.get(key) for key in _FACTS},
            **place,
        },
    )


def save_weights(network: Any, path: str | Path) -> None:
    """Writes the parameters of a Flax network to a file that `load_backbone` takes.

    Args:
      network: A `flax.nnx.Module`.
      path: Of the `.safetensors` file; one that is there is replaced.
    """
    arrays = {
        name: variable.get_value()
        for name, variable in list_parameters(network).items()
    }
    write_safetensors(Path(path), arrays, metadata={})


_FACTS = ("source_dataset", "license")
