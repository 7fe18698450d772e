"""Where weights meet backbones: a name and a source string become a backbone."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tl_pipeline.arrays import COMPUTE_DTYPES
from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.backbones.backbone import Backbone as Backbone
from tl_pipeline.backbones.own import is_own
from tl_pipeline.backbones.registry import (
    is_weightless,
    is_word_vectors,
    make_architecture,
    make_weightless,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError, RequestError, WeightsError
from tl_pipeline.preprocess import ImagePreprocess, Preprocess
from tl_pipeline.stages.checkpoints import open_checkpoint
from tl_pipeline.weights.source import PRETRAINED, parse_source

if TYPE_CHECKING:
    from tl_pipeline.backbones.trainable import TrainableNetwork


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
    preprocess: Preprocess | None = None,
) -> Backbone:
    """Loads a frozen network with its weights.

    Args:
      name: A name from `list_backbones`, or `package.module:factory`, a function of
        your own that returns an `OwnBackbone`.
      weights: A path to a file that `load_tensors` reads, or to a folder with
        `model.safetensors` and what lies beside it on a hub; of `word_vectors` a file
        of word2vec, GloVe or fastText; `"pretrained"`,
        `"hf:OWNER/NAME[@REVISION][:FILE]"`, or `"random:SEED"`.
      compute_dtype: `"float32"`, or `"bfloat16"`, faster on accelerators.
      settings: The architecture's settings, plain data; defaults fill the rest.
      preprocess: How inputs are made for random weights, which bring no tokenizer or
        front end; by default the architecture's own way.

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
    if is_word_vectors(name):
        from tl_pipeline.stages.word_vectors import load_word_vectors

        return load_word_vectors(weights, settings=settings)
    if is_weightless(name):
        backbone = make_weightless(name, settings=settings)
        if str(weights) not in (PRETRAINED, backbone.weights):
            raise WeightsError(
                f"Asked for {name} with weights {str(weights)!r}: it has none to load. "
                "Leave the weights out."
            )
        return backbone
    loaded = load_parameters(
        name, weights=weights, settings=settings, preprocess=preprocess
    )
    # Only now, after what can be told without JAX: it takes two seconds to load.
    from tl_pipeline.backbones.network import NetworkBackbone

    return NetworkBackbone(
        loaded.architecture,
        loaded.arrays,
        weights=loaded.weights,
        origin=loaded.origin,
        compute_dtype=compute_dtype,
    )


def require_images(preprocess: Preprocess, *, asked: str) -> ImagePreprocess:
    """Returns a preprocessing that is one of images.

    Args:
      preprocess: Of a backbone.
      asked: What for: "views", "robustness".

    Raises:
      RequestError: It is one of texts or recordings.
    """
    if not isinstance(preprocess, ImagePreprocess):
        raise RequestError(
            f"Asked for {asked}: the backbone takes {preprocess.takes}, and "
            f"{asked} are of images alone. Leave them out, or name a backbone of "
            "images."
        )
    return preprocess


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
    check_trainable(name)
    loaded = load_parameters(name, weights=weights, settings=settings)
    from tl_pipeline.backbones.trainable import TrainableNetwork

    return TrainableNetwork(loaded.architecture, loaded.arrays)


def check_trainable(name: str) -> None:
    """Raises unless a backbone has parameters that can be trained.

    Raises:
      BackboneError: It has none, is a network of the user's own, or unknown.
    """
    if is_own(name):
        raise BackboneError(
            f"Asked to train {name}: networks of your own are cached, not trained on. "
            "Train it where it was made, and extract with its new weights."
        )
    if is_weightless(name) or is_word_vectors(name):
        raise BackboneError(
            f"Asked to train {name}: it has no parameters. Name another backbone."
        )
    make_architecture(name)  # or there is none


def load_parameters(
    name: str,
    *,
    weights: str | Path,
    settings: Mapping[str, Json] | None,
    preprocess: Preprocess | None = None,
) -> Parameters:
    """Reads the weights of a network; arguments and errors as `load_backbone`."""
    architecture = make_architecture(name, settings=settings)
    source = parse_source(str(weights))
    from tl_pipeline.backbones.network import network_shapes
    from tl_pipeline.backbones.parameters import random_parameters

    if source.seed is not None:
        if preprocess is not None:
            architecture = dataclasses.replace(architecture, preprocess=preprocess)
        return Parameters(
            architecture,
            random_parameters(network_shapes(architecture, None), seed=source.seed),
            source.text,
            {"kind": "random", "source_dataset": None, "license": None},
        )
    opened = open_checkpoint(architecture, source, settings=settings)
    return Parameters(opened.architecture, opened.merge(), source.text, opened.origin)
