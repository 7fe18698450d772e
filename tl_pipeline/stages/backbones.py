"""Where weights meet backbones: a name and a source string become a backbone."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tl_pipeline.arrays import COMPUTE_DTYPES
from tl_pipeline.backbones.architecture import CLASSIFIER_PREFIX, Architecture
from tl_pipeline.backbones.backbone import Backbone as Backbone
from tl_pipeline.backbones.own import is_own
from tl_pipeline.backbones.published import checkpoint_preprocess, find_checkpoint
from tl_pipeline.backbones.registry import (
    is_weightless,
    make_architecture,
    make_weightless,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError, WeightsError, shorten
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

_FORMATS_OF_ONE_LAYOUT = ("keras-h5", "keras-weights-h5", "google-npz")
OWN_LAYOUT = "tl-pipeline"  # parameters under this package's names


def load_backbone(
    name: str,
    *,
    weights: str | Path = PRETRAINED,
    compute_dtype: str = "float32",
    settings: Mapping[str, Json] | None = None,
) -> Backbone:
    """Loads a frozen network with its weights.

    Args:
      name: A name from `list_backbones`, or `package.module:factory`, a function of
        your own that returns an `OwnBackbone`.
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
    if is_own(name):
        from tl_pipeline.stages.own_backbones import load_own_backbone

        return load_own_backbone(
            name, weights=weights, compute_dtype=compute_dtype, settings=settings
        )
    if is_weightless(name):
        backbone = make_weightless(name, settings=settings)
        if str(weights) not in (PRETRAINED, backbone.weights):
            raise WeightsError(
                f"Asked for {name} with weights {str(weights)!r}: it has none to load. "
                "Leave the weights out."
            )
        return backbone
    architecture = make_architecture(name, settings=settings)
    source = parse_source(str(weights))
    # Only now, after what can be told without JAX: it takes two seconds to load.
    from tl_pipeline.backbones.network import NetworkBackbone, network_shapes
    from tl_pipeline.backbones.parameters import random_parameters

    if source.seed is not None:
        return NetworkBackbone(
            architecture,
            random_parameters(network_shapes(architecture, None), seed=source.seed),
            weights=source.text,
            origin={"kind": "random", "source_dataset": None, "license": None},
            compute_dtype=compute_dtype,
        )
    file, place = _find_file(architecture, source)
    loaded = load_tensors(file)
    view, layout, rules = _choose_layout(architecture, loaded)
    tensors = apply_view(loaded, view)
    published = find_checkpoint(
        architecture.checkpoints, file=file.name, hub=str(place.get("hub") or "")
    )
    usual = architecture.preprocesses.get(layout, architecture.preprocess)
    wanted = checkpoint_preprocess(published, usual) if published else usual
    preprocess = read_preprocess(file, wanted)
    architecture = dataclasses.replace(architecture, preprocess=preprocess)
    classes = _count_classes(tensors, rules)
    parameters = merge_tensors(
        tensors,
        rules=rules,
        shapes=network_shapes(architecture, classes or architecture.classes),
        optional=CLASSIFIER_PREFIX,
        what=architecture.what,
    )
    return NetworkBackbone(
        architecture,
        parameters,
        weights=source.text,
        origin={
            **_describe_origin(source, tensors, view, published),
            **place,
            "preprocess": _say_whose(layout, published, preprocess is wanted),
        },
        compute_dtype=compute_dtype,
    )


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
    source: WeightsSource,
    tensors: Tensors,
    view: View,
    published: Mapping[str, Json] | None,
) -> dict[str, Json]:
    """Says where weights come from, by the file's own word or its published name."""
    facts = {
        key: tensors.metadata.get(key, (published or {}).get(key))
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


def _say_whose(
    layout: str,
    published: Mapping[str, Json] | None,
    nothing_beside: bool,
) -> str:
    """Says by whose word images are prepared as they are."""
    if not nothing_beside:
        return "said beside the file"
    if published:
        return f"published with {published['name']}"
    if layout == OWN_LAYOUT:
        return "the network's own"
    return f"usual for files of {layout}: nothing says how these weights want it"
