"""Which backbones there are, found by name; a family is imported when it is needed."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.backbones.bag_of_words import BagOfWordsBackbone, make_bag_of_words
from tl_pipeline.backbones.own import is_own
from tl_pipeline.backbones.pixels import PixelsBackbone, make_pixels
from tl_pipeline.backbones.published import describe_checkpoint
from tl_pipeline.backbones.word_vectors import (
    FORMATS,
    WordVectorsBackbone,
    outline_word_vectors,
)
from tl_pipeline.backbones.word_vectors import NAME as WORD_VECTORS
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

# The names that each family's module makes, by make_architecture(name, settings).
_FAMILIES = {
    "alexnet": ("alexnet",),
    "bert": ("bert_base", "bert_large", "minilm_l6", "minilm_l12"),
    "clip_text": (
        "clip_text_base_patch32",
        "clip_text_base_patch16",
        "clip_text_large_patch14",
    ),
    "distilbert": ("distilbert_base",),
    "gpt2": ("gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl", "distilgpt2"),
    "roberta": ("roberta_base", "roberta_large", "distilroberta_base"),
    "spectrogram": ("ast_base",),
    "wav2vec2": ("wav2vec2_base",),
    "whisper": (
        *("whisper_tiny", "whisper_base", "whisper_small", "whisper_medium"),
        *("whisper_large", "whisper_large_v3"),
    ),
    "bit": ("bit_r50x1", "bit_r101x1"),
    "clip": ("clip_base_patch32", "clip_base_patch16", "clip_large_patch14"),
    "convnext": ("convnext_tiny", "convnext_small", "convnext_base"),
    "darknet53": ("darknet53",),
    "densenet": (
        *("densenet121", "densenet169", "densenet201"),
        *("keras_densenet121", "keras_densenet169", "keras_densenet201"),
    ),
    "digits_cnn": ("digits_cnn",),
    "dinov2": (
        "dinov2_small",
        "dinov2_base",
        "dinov2_large",
        "dinov2_small_registers",
        "dinov2_base_registers",
        "dinov2_large_registers",
    ),
    "efficientnet": (
        *(f"efficientnet_b{i}" for i in range(8)),
        *(f"tf_efficientnet_b{i}" for i in range(8)),
        *("efficientnet_v2_s", "efficientnet_v2_m"),
        *("tf_efficientnetv2_s", "tf_efficientnetv2_m"),
    ),
    "inception_v3": ("inception_v3", "keras_inception_v3"),
    "keras_resnet": (
        "keras_resnet50",
        "keras_resnet101",
        "keras_resnet152",
        "keras_resnet50_v2",
        "keras_resnet101_v2",
        "keras_resnet152_v2",
    ),
    "mobilenet": ("mobilenet",),
    "mobilenet_v2": ("mobilenet_v2",),
    "mobilenet_v3": (
        *("mobilenet_v3_small", "mobilenet_v3_large"),
        *("mobilenetv3_small_100", "mobilenetv3_large_100"),
        *("tf_mobilenetv3_small_100", "tf_mobilenetv3_large_100"),
        "mobilenetv2_100",
    ),
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1", "keras_squeezenet1_1"),
    "vgg": ("vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    "vit": (
        "vit_tiny_patch16",
        "vit_small_patch16",
        "vit_small_patch16_384",
        "vit_small_patch32",
        "vit_base_patch8",
        "vit_base_patch16",
        "vit_base_patch16_384",
        "vit_base_patch32",
        "vit_base_patch32_384",
        "vit_large_patch16",
        "vit_large_patch16_384",
        "vit_large_patch32_384",
        "deit_tiny_patch16",
        "deit_tiny_distilled_patch16",
        "deit_small_patch16",
        "deit_small_distilled_patch16",
        "deit_base_patch16",
        "deit_base_distilled_patch16",
    ),
}
_MODULES = {
    name: f"tl_pipeline.backbones.{family}"
    for family, names in _FAMILIES.items()
    for name in names
}
# These have no weights to load, and need no JAX.
_WEIGHTLESS = {"bag_of_words": make_bag_of_words, "pixels": make_pixels}


def list_backbones() -> tuple[str, ...]:
    """Returns the names of all backbones, sorted."""
    return tuple(sorted({*_MODULES, *_WEIGHTLESS, WORD_VECTORS}))


def is_weightless(name: str) -> bool:
    """Tells whether a backbone has no weights to load.

    Raises:
      BackboneError: There is no such backbone.
    """
    _check_name(name)
    return name in _WEIGHTLESS


def is_word_vectors(name: str) -> bool:
    """Tells whether a backbone is a table of words, and no network."""
    return name == WORD_VECTORS


def make_weightless(
    name: str, *, settings: Mapping[str, Json] | None = None
) -> PixelsBackbone | BagOfWordsBackbone:
    """Returns a backbone without weights, ready to run.

    Raises:
      BackboneError: There is none of this name, or a setting is wrong.
    """
    if not is_weightless(name):
        raise BackboneError(f"Backbone {name} has weights: load it with them.")
    return _WEIGHTLESS[name](settings)


def make_architecture(
    name: str, *, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns an architecture by name, its settings checked and filled in.

    Args:
      name: One of `list_backbones`, but for those without weights.
      settings: Plain data; what is not given keeps its default.

    Raises:
      BackboneError: There is no such backbone, or a setting is wrong.
    """
    if is_weightless(name):
        raise BackboneError(f"Backbone {name} has no weights to load.")
    if is_word_vectors(name):
        raise BackboneError(f"Backbone {name} is a table of words, and no network.")
    return importlib.import_module(_MODULES[name]).make_architecture(name, settings)


def summarize_backbone(name: str) -> dict[str, Any]:
    """Returns what is known of a backbone without tracing it, which takes a second.

    Returns:
      `name`, `takes` (`"images"`, `"texts"` or `"recordings"`), `input_shape`,
      `layouts` of files that it is loaded from, beside this package's own, and
      `checkpoints`, how many published weights are known.

    Raises:
      BackboneError: There is no such backbone.
    """
    backbone = _make(name)
    weighted = isinstance(backbone, Architecture)
    layouts = list(backbone.key_rules) if weighted else []
    return {
        "name": name,
        "takes": backbone.preprocess.takes,
        "input_shape": list(backbone.preprocess.input_shape),
        "layouts": list(FORMATS) if is_word_vectors(name) else layouts,
        "checkpoints": len(backbone.checkpoints) if weighted else 0,
    }


def describe_backbone(
    name: str, *, settings: Mapping[str, Json] | None = None
) -> dict[str, Any]:
    """Returns what is known of a backbone without its weights, as plain data.

    Returns:
      `name`, `settings`, `features` (name to shape, in order, `logits` as with the
      published classifier), `parameters` (the trunk's), `classifier_parameters`,
      `flops` (of one example, of a text the longest, of a recording one window, a
      multiply-add is 2), `takes`,
      `input_shape`, `preprocess` and `checkpoints`.

    Raises:
      BackboneError: There is no such backbone, or a setting is wrong.
    """
    if is_own(name):
        from tl_pipeline.backbones.own_network import make_own

        backbone = make_own(name, settings=settings).architecture
    else:
        backbone = _make(name, settings)
    if not isinstance(backbone, Architecture):
        outline = None
        shapes, checkpoints = backbone.feature_shapes(), []
    else:
        from tl_pipeline.backbones.network import outline_network

        outline = outline_network(backbone)
        shapes = outline.features
        checkpoints = [describe_checkpoint(backbone, c) for c in backbone.checkpoints]
    return {
        "name": name,
        "settings": dict(backbone.settings),
        "features": {output: list(shape) for output, shape in shapes.items()},
        "parameters": outline.parameters if outline else 0,
        "classifier_parameters": outline.classifier_parameters if outline else 0,
        "flops": outline.flops if outline else 0,
        "takes": backbone.preprocess.takes,
        "input_shape": list(backbone.preprocess.input_shape),
        "preprocess": backbone.preprocess.to_json(),
        "checkpoints": checkpoints,
    }


def _make(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture | PixelsBackbone | BagOfWordsBackbone | WordVectorsBackbone:
    if is_word_vectors(name):
        return outline_word_vectors(settings)
    if is_weightless(name):
        return make_weightless(name, settings=settings)
    return make_architecture(name, settings=settings)


def _check_name(name: str) -> None:
    known = list_backbones()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BackboneError(
            f"Asked for backbone {name!r}; known are {', '.join(known)}, "
            f"and package.module:factory for a network of your own.{hint}"
        )
