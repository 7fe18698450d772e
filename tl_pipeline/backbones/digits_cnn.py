"""A small convolutional network for 16×16 gray digits, pretrained by this project.

Outputs: `stage1`, `stage2`, `pool` (the maximum over pixels, so that where a digit
stands does not matter), and `logits` with a classifier. There is no BatchNorm.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Architecture, fill_settings
from tl_pipeline.backbones.layers import Bias, Conv, Linear, relu
from tl_pipeline.backbones.published import list_checkpoints
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import ImagePreprocess

NAME = "digits_cnn"
CLASSES = 5  # the digits 0 to 4
BUNDLED = Path(__file__).with_name("digits_cnn.safetensors")

# (channels, stride of the first convolution) a stage
_STAGES = ((32, 1), (64, 2))


class Stage(nnx.Module):
    """Two 3×3 convolutions, each with its bias and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int):
        """Makes a stage whose first convolution has the stride."""
        self.conv1 = Conv(in_channels, out_channels, size=3, stride=stride)
        self.bias1 = Bias(out_channels)
        self.conv2 = Conv(out_channels, out_channels, size=3)
        self.bias2 = Bias(out_channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        x = relu(self.bias1(self.conv1(x)))
        return relu(self.bias2(self.conv2(x)))


class DigitsCNN(nnx.Module):
    """The network, on gray images of 16×16 pixels."""

    def __init__(self, classes: int | None):
        """Makes the network, with a classifier if `classes` says so."""
        channels, stages = 1, []
        for out_channels, stride in _STAGES:
            stages.append(Stage(channels, out_channels, stride=stride))
            channels = out_channels
        self.stages = nnx.List(stages)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, 16, 16, 1] by name, in order."""
        outputs = {}
        for i, stage in enumerate(self.stages, start=1):
            x = outputs[f"stage{i}"] = stage(x)
        x = outputs["pool"] = jnp.max(x, axis=(1, 2))
        if self.classifier is not None:
            outputs["logits"] = self.classifier(x)
        return outputs


def make_architecture(
    name: str = NAME, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns the network.

    Args:
      name: `NAME`.
      settings: None: it has no settings.

    Raises:
      BackboneError: A setting is given.
    """
    return Architecture(
        name=name,
        settings=fill_settings(name, settings, {}),
        preprocess=ImagePreprocess(
            color="gray",
            resize="none",
            resize_size=None,
            size=(16, 16),
            interpolation="bilinear",
            scale=1 / 255,
            mean=(0.0,),
            std=(1.0,),
        ),
        classes=CLASSES,
        make_network=DigitsCNN,
        key_rules={},
        checkpoints=list_checkpoints(name),
        bundled=BUNDLED,
    )
