"""Where weights meet backbones: a name and a source string become a backbone."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tl_pipeline.arrays import COMPUTE_DTYPES
from tl_pipeline.backbones.architecture import CLASSIFIER_PREFIX, Architecture
from tl_pipeline.backbones.backbone import Backbone as Backbone
from tl_pipeline.backbones.registry import (
    is_weightless,
    make_architecture,
    make_weightless,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError, WeightsError, shorten
from tl_pipeline.spec import ImagePreprocess
from tl_pipeline.weights.hub import fetch_weights
from tl_pipeline.weights.merge import KeyRule, merge_tensors, named_tensors
from tl_pipeline.weights.preprocessing import read_preprocess
from tl_pipeline.weights.reading import load_tensors
from tl_pipeline.weights.source import (
    PRETRAINED,
    HubName,
    WeightsSource,
    parse_source,
)
from tl_pipeline.weights.tensors import Tensors
from tl_pipeline.weights.unwrap import View, apply_view, list_views

if TYPE_CHECKING:
    from tl_pipeline.backbones.trainable import TrainableNetwork

_FORMATS_OF_ONE_LAYOUT = ("keras-h5", "keras-weights-h5", "google-npz")
OWN_LAYOUT = "tl-pipeline"  # parameters under this package's names
PREPROCESS = "preprocess"  # in a file's metadata: how its images are prepared


class Parameters(NamedTuple):
    """The weights of a network, as they were read.

    Attributes:
      architecture: What they belong to, with the preprocessing that goes with them.
      arrays: float32 by dotted name, BatchNorm not folded.
      weights: The source string.
      origin: Where they come from, as in `Backbone.weights_origin`.
    """

    architecture: Architecture
    arrays: Mapping[str, np.ndarray]
    weights: str
    origin: Mapping[str, Json]


def load_backbone(
    name: str,
    *,
    weights: str | Path = PRETRAINED,
    compute_dtype: str = "float32",
    settings: Mapping[str, Json] | None = None,
) -> Backbone:
    """Loads a frozen network with its weights.

    Args:
      name: A name from `list_backbones`.
      weights: A path to a file that `load_tensors` reads, `"pretrained"`,
        `"hf:OWNER/NAME[@REVISION][:FILE]"`, or `"random:SEED"`.
      compute_dtype: `"float32"`, or `"bfloat16"`, faster on accelerators.
      settings: The architecture's settings, plain data; defaults fill the rest.

    Raises:
      BackboneError: An unknown backbone, setting or compute dtype.
      WeightsError: The weights cannot be read or do not fit; all mismatches are listed.

    Example:
      >>> load_backbone("pixels").feature_shapes()
      {'pool': (3072,)}
    """
    if compute_dtype not in COMPUTE_DTYPES:
        raise BackboneError(
            f"Asked for {name} with compute dtype {compute_dtype!r}; known are "
            f"{', '.join(COMPUTE_DTYPES)}."
        )
    if is_weightless(name):
        backbone = make_weightless(name, settings=settings)
        if str(weights) not in (PRETRAINED, backbone.weights):
            raise WeightsError(
                f"Asked for {name} with weights {str(weights)!r}: it has none to load. "
                "Leave the weights out."
            )
        return backbone
    loaded = load_parameters(name, weights=weights, settings=settings)
    # Only now, after what can be told without JAX: it takes two seconds to load.
    from tl_pipeline.backbones.network import NetworkBackbone

    return NetworkBackbone(
        loaded.architecture,
        loaded.arrays,
        weights=loaded.weights,
        origin=loaded.origin,
        compute_dtype=compute_dtype,
    )


def load_trainable(
    name: str,
    *,
    weights: str | Path = PRETRAINED,
    settings: Mapping[str, Json] | None = None,
) -> "TrainableNetwork":
    """Loads a network whose parameters can be trained; arguments as `load_backbone`.

    Raises:
      BackboneError: An unknown backbone or setting, or one without parameters.
      WeightsError: The weights cannot be read or do not fit; all mismatches are listed.
    """
    if is_weightless(name):
        raise BackboneError(
            f"Asked to train {name}: it has no parameters. Name another backbone."
        )
    loaded = load_parameters(name, weights=weights, settings=settings)
    from tl_pipeline.backbones.trainable import TrainableNetwork

    return TrainableNetwork(loaded.architecture, loaded.arrays)


def load_parameters(
    name: str, *, weights: str | Path, settings: Mapping[str, Json] | None
) -> Parameters:
    """Reads the weights of a network; arguments and errors as `load_backbone`."""
    architecture = make_architecture(name, settings=settings)
    source = parse_source(str(weights))
    from tl_pipeline.backbones.network import network_shapes
    from tl_pipeline.backbones.parameters import random_parameters

    if source.seed is not None:
        return Parameters(
            architecture,
            random_parameters(network_shapes(architecture, None), seed=source.seed),
            source.text,
            {"kind": "random", "source_dataset": None, "license": None},
        )
    file, place = _find_file(architecture, source)
    loaded = load_tensors(file)
    view, layout, rules = _choose_layout(architecture, loaded)
    tensors = apply_view(loaded, view)
    usual = architecture.preprocesses.get(layout, architecture.preprocess)
    if layout == OWN_LAYOUT:
        usual = _own_preprocess(loaded.metadata.get(PREPROCESS), usual)
    preprocess = read_preprocess(file, usual)
    architecture = dataclasses.replace(architecture, preprocess=preprocess)
    classes = _count_classes(tensors, rules)
    parameters = merge_tensors(
        tensors,
        rules=rules,
        shapes=network_shapes(architecture, classes or architecture.classes),
        optional=CLASSIFIER_PREFIX,
        what=architecture.what,
    )
    origin = _describe_origin(architecture, source, tensors, view) | place
    return Parameters(architecture, parameters, source.text, origin)


def _own_preprocess(text: str | None, usual: ImagePreprocess) -> ImagePreprocess:
    """Returns the preprocessing that a file of ours names; the size stays as asked."""
    if text is None:
        return usual
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json.loads(text).items()
        if key != "kind"
    }
    if values["size"] != usual.size:
        values |= {"size": usual.size, "resize_size": usual.resize_size}
    return ImagePreprocess(**values)


def _find_file(
    architecture: Architecture, source: WeightsSource
) -> tuple[Path, dict[str, Json]]:
    """Returns the file, and where on a hub it is from."""
    if source.path is not None:
        return source.path, {}
    name = source.hub
    if name is None and architecture.bundled is not None:
        return architecture.bundled, {}
    name = name or _find_on_hub(architecture)
    if name is None:
        raise WeightsError(
            f"Asked for {architecture.name} with pretrained weights: none come with "
            f"this package, and none are on a hub. {architecture.how_to_get}"
        )
    found = fetch_weights(name)
    return found.path, {"hub": name.repository, "commit": found.commit}


def _find_on_hub(architecture: Architecture) -> HubName | None:
    """Returns the first of the published weights that a hub has."""
    for checkpoint in architecture.checkpoints:
        if repository := checkpoint.get("hub"):
            return HubName(str(repository), file=str(checkpoint.get("file") or ""))
    return None


def _choose_layout(
    architecture: Architecture, tensors: Tensors
) -> tuple[View, str, list[KeyRule]]:
    """Returns the view and layout that name most tensors, and the layout's rules."""
    from tl_pipeline.backbones.network import network_shapes

    own = network_shapes(architecture, architecture.classes)
    layouts = {
        OWN_LAYOUT: [KeyRule(name, name) for name in own],
        **{
            layout: [KeyRule(*rule) for rule in rules]
            for layout, rules in architecture.key_rules.items()
        },
    }

    def fit(choice: tuple[View, str]) -> tuple[int, bool]:
        view, layout = choice
        named: set[str] = set()
        for rule in layouts[layout]:
            named |= named_tensors(rule, view.sources.keys())
        # Of a file that fits none, the mismatches with its like are listed.
        return len(named), layout == tensors.format

    views = list_views(tensors.arrays)
    view, best = max(((v, layout) for v in views for layout in layouts), key=fit)
    # A PyTorch file may be of any layout: all its names are listed as they differ.
    if fit((view, best)) == (0, False) and tensors.format in _FORMATS_OF_ONE_LAYOUT:
        raise WeightsError(
            f"Weights {tensors.path} ({tensors.format}) are in no layout from which "
            f"{architecture.name} is loaded: it takes {', '.join(layouts)}, and none "
            f"of these names {shorten(', '.join(sorted(tensors.arrays)) or 'nothing')}."
        )
    return view, best, layouts[best]


def _count_classes(tensors: Tensors, rules: list[KeyRule]) -> int | None:
    """Returns K of the file's classifier, which the file alone knows."""
    for rule in rules:
        if rule.target == f"{CLASSIFIER_PREFIX}bias":
            for source in named_tensors(rule, tensors.arrays):
                return tensors.arrays[source].size
    return None


def _describe_origin(
    architecture: Architecture, source: WeightsSource, tensors: Tensors, view: View
) -> dict[str, Json]:
    """Says where weights come from, by the file's own word or its published name."""
    name = source.hub
    if source.kind == "pretrained" and architecture.bundled is None:
        name = _find_on_hub(architecture)
    # All repositories of a hub call their files alike: there the repository tells.
    published = next(
        (
            checkpoint
            for checkpoint in architecture.checkpoints
            if checkpoint.get("hub") == (name and name.repository)
            and (name or checkpoint["file"] == tensors.path.name)
        ),
        {},
    )
    facts = {
        key: tensors.metadata.get(key, published.get(key))
        for key in ("source_dataset", "license")
    }
    return {
        "kind": source.kind,
        "file": tensors.path.name,
        "sha256": tensors.sha256,
        **facts,
        **({"unwrapped": view.prefix} if view.prefix else {}),
        **({"left_out": view.n_left_out} if view.n_left_out else {}),
    }
