"""Inception v3, as torchvision and timm have it, and as `keras.applications` does.

They differ in what an average at the border counts, and Keras' norms have no gamma.
Outputs: `stem` (before the first mixed block), `mixed0` to `mixed10`, `pool` (the mean
over pixels), and `logits` with a classifier.

Reference:
  Szegedy et al. 2015, https://arxiv.org/abs/1512.00567
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import (
    UNUSED,
    Architecture,
    Rule,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import HALVES, center_crop, keras_crop
from tl_pipeline.backbones.layers import ConvNorm, Linear, relu
from tl_pipeline.backbones.layouts import (
    KERAS,
    TORCH,
    keras_layer,
    keras_norm,
    torch_conv_norm,
    torch_layer,
    torch_norm,
)
from tl_pipeline.backbones.pooling import (
    average_pool,
    global_average_pool,
    max_pool,
)
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 75  # a smaller image has no pixel left at the end
_EPSILON = 1e-3


class Step(NamedTuple):
    """A convolution by torchvision's name; "SAME" padding, or none."""

    name: str
    filters: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


class Branch(NamedTuple):
    """Steps one after another; then those of `forks`, side by side."""

    steps: tuple[Step, ...]
    forks: tuple[Step, ...] = ()


class Mixed(NamedTuple):
    """Branches side by side, and one that pools.

    Attributes:
      name: torchvision's.
      branches: Without the pooling one.
      pool: Channels of the convolution after an average; 0 for a maximum with stride
        and no convolution.
    """

    name: str
    branches: tuple[Branch, ...]
    pool: int


def _square(name: str, filters: int, n: int = 1) -> Step:
    return Step(name, filters, (n, n))


def _strided(name: str, filters: int) -> Step:
    return Step(name, filters, (3, 3), 2, same=False)


def _mixed_35(name: str, pool: int) -> Mixed:
    return Mixed(
        name,
        (
            Branch((_square("branch1x1", 64),)),
            Branch((_square("branch5x5_1", 48), _square("branch5x5_2", 64, 5))),
            Branch(
                (
                    _square("branch3x3dbl_1", 64),
                    _square("branch3x3dbl_2", 96, 3),
                    _square("branch3x3dbl_3", 96, 3),
                )
            ),
        ),
        pool,
    )


def _mixed_17(name: str, n: int) -> Mixed:
    row, column = (1, 7), (7, 1)
    return Mixed(
        name,
        (
            Branch((_square("branch1x1", 192),)),
            Branch(
                (
                    _square("branch7x7_1", n),
                    Step("branch7x7_2", n, row),
                    Step("branch7x7_3", 192, column),
                )
            ),
            Branch(
                (
                    _square("branch7x7dbl_1", n),
                    Step("branch7x7dbl_2", n, column),
                    Step("branch7x7dbl_3", n, row),
                    Step("branch7x7dbl_4", n, column),
                    Step("branch7x7dbl_5", 192, row),
                )
            ),
        ),
        192,
    )


def _mixed_8(name: str) -> Mixed:
    row, column = (1, 3), (3, 1)
    return Mixed(
        name,
        (
            Branch((_square("branch1x1", 320),)),
            Branch(
                (_square("branch3x3_1", 384),),
                (Step("branch3x3_2a", 384, row), Step("branch3x3_2b", 384, column)),
            ),
            Branch(
                (_square("branch3x3dbl_1", 448), _square("branch3x3dbl_2", 384, 3)),
                (
                    Step("branch3x3dbl_3a", 384, row),
                    Step("branch3x3dbl_3b", 384, column),
                ),
            ),
        ),
        192,
    )


# Poolings follow the third and the fifth.
_STEM = (
    _strided("Conv2d_1a_3x3", 32),
    Step("Conv2d_2a_3x3", 32, (3, 3), same=False),
    _square("Conv2d_2b_3x3", 64, 3),
    _square("Conv2d_3b_1x1", 80),
    Step("Conv2d_4a_3x3", 192, (3, 3), same=False),
)
_POOLED = (2, 4)
_MIXED = (
    _mixed_35("Mixed_5b", 32),
    _mixed_35("Mixed_5c", 64),
    _mixed_35("Mixed_5d", 64),
    Mixed(
        "Mixed_6a",
        (
            Branch((_strided("branch3x3", 384),)),
            Branch(
                (
                    _square("branch3x3dbl_1", 64),
                    _square("branch3x3dbl_2", 96, 3),
                    _strided("branch3x3dbl_3", 96),
                )
            ),
        ),
        0,
    ),
    _mixed_17("Mixed_6b", 128),
    _mixed_17("Mixed_6c", 160),
    _mixed_17("Mixed_6d", 160),
    _mixed_17("Mixed_6e", 192),
    Mixed(
        "Mixed_7a",
        (
            Branch((_square("branch3x3_1", 192), _strided("branch3x3_2", 320))),
            Branch(
                (
                    _square("branch7x7x3_1", 192),
                    Step("branch7x7x3_2", 192, (1, 7)),
                    Step("branch7x7x3_3", 192, (7, 1)),
                    _strided("branch7x7x3_4", 192),
                )
            ),
        ),
        0,
    ),
    _mixed_8("Mixed_7b"),
    _mixed_8("Mixed_7c"),
)
# torchvision's second classifier, which helps to train, and its two convolutions.
_AUXILIARY = ("AuxLogits.conv0", "AuxLogits.conv1")

# Whether it is Keras'.
VARIANTS = {"inception_v3": False, "keras_inception_v3": True}


def _make_step(step: Step, in_channels: int, *, keras: bool) -> ConvNorm:
    return ConvNorm(
        in_channels,
        step.filters,
        size=step.size,
        stride=step.stride,
        padding="SAME" if step.same else 0,
        epsilon=_EPSILON,
        scale=not keras,
    )


class MixedBlock(nnx.Module):
    """Branches side by side, their channels one after another."""

    def __init__(self, spec: Mixed, in_channels: int, *, keras: bool):
        """Makes the block; `out_channels` is what it gives."""
        self.keras = keras
        self.n_forks = tuple(len(branch.forks) for branch in spec.branches)
        self.out_channels = 0 if spec.pool else in_channels
        branches = []
        for branch in spec.branches:
            channels, convs = in_channels, []
            for step in branch.steps:
                convs.append(_make_step(step, channels, keras=keras))
                channels = step.filters
            for step in branch.forks:
                convs.append(_make_step(step, channels, keras=keras))
            branches.append(nnx.List(convs))
            self.out_channels += sum(s.filters for s in branch.forks) or channels
        self.branches = nnx.List(branches)
        self.pool = (
            _make_step(Step("", spec.pool), in_channels, keras=keras)
            if spec.pool
            else None
        )
        self.out_channels += spec.pool

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, D], or half of H and W."""
        parts = []
        for n_forks, convs in zip(self.n_forks, self.branches, strict=True):
            steps = len(convs) - n_forks
            hidden = x
            for conv in convs[:steps]:
                hidden = relu(conv(hidden))
            forks = [relu(conv(hidden)) for conv in convs[steps:]]
            parts += forks or [hidden]
        if self.pool is None:
            parts.append(max_pool(x, size=3, stride=2))
        else:
            mean = average_pool(
                x, size=3, stride=1, padding=1, count_padding=not self.keras
            )
            parts.append(relu(self.pool(mean)))
        return jnp.concatenate(parts, axis=-1)


class InceptionV3(nnx.Module):
    """The network, on color images of any size from 75×75."""

    def __init__(self, classes: int | None, *, keras: bool):
        """Makes the network, with a classifier if `classes` says so."""
        channels, stem = 3, []
        for step in _STEM:
            stem.append(_make_step(step, channels, keras=keras))
            channels = step.filters
        self.stem = nnx.List(stem)
        mixed = []
        for spec in _MIXED:
            block = MixedBlock(spec, channels, keras=keras)
            mixed.append(block)
            channels = block.out_channels
        self.mixed = nnx.List(mixed)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        for i, conv in enumerate(self.stem):
            x = relu(conv(x))
            if i in _POOLED:
                x = max_pool(x, size=3, stride=2)
        outputs = {"stem": x}
        for i, block in enumerate(self.mixed):
            x = outputs[f"mixed{i}"] = block(x)
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns Inception v3.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    filled = fill_settings(name, settings, {"input_size": 299})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    keras = VARIANTS[name]
    return Architecture(
        name=name,
        settings=filled,
        # torchvision's too: its network maps the input that it asks for to this one.
        preprocess=keras_crop("tf", size)
        if keras
        else center_crop(size, colors=HALVES),
        classes=CLASSES,
        make_network=lambda classes: InceptionV3(classes, keras=keras),
        key_rules={
            KERAS: tuple(_keras_rules(first=0)),
            "keras-h5, counted from 1": tuple(_keras_rules(first=1)),
        }
        if keras
        else {TORCH: tuple(_torch_rules())},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _list_steps() -> Iterator[tuple[str, str]]:
    """Yields torchvision's name and ours of every convolution, in Keras' order."""
    for i, step in enumerate(_STEM):
        yield step.name, f"stem.{i}"
    for i, spec in enumerate(_MIXED):
        for j, branch in enumerate(spec.branches):
            for k, step in enumerate(branch.steps + branch.forks):
                yield f"{spec.name}.{step.name}", f"mixed.{i}.branches.{j}.{k}"
        if spec.pool:
            yield f"{spec.name}.branch_pool", f"mixed.{i}.pool"


def _torch_rules() -> Iterator[Rule]:
    for theirs, ours in _list_steps():
        yield from torch_conv_norm(f"{theirs}.conv", f"{theirs}.bn", ours)
    for theirs in _AUXILIARY:
        yield f"{theirs}.conv.weight", UNUSED, "same"
        for source, _, _ in torch_norm(f"{theirs}.bn", ""):
            yield source, UNUSED, "same"
    for leaf in ("weight", "bias"):
        yield f"AuxLogits.fc.{leaf}", UNUSED, "same"
    yield from torch_layer("fc", "classifier")


def _keras_rules(*, first: int) -> Iterator[Rule]:
    """Yields Keras' numbers, from 0 or, in files of Keras 2.0, from 1."""
    for i, (_, ours) in enumerate(_list_steps()):
        number = f"_{i + first}" if i + first else ""
        yield from keras_layer(f"conv2d{number}", f"{ours}.conv", bias=False)
        yield from keras_norm(
            f"batch_normalization{number}", f"{ours}.norm", scale=False
        )
    yield from keras_layer("predictions", "classifier")
