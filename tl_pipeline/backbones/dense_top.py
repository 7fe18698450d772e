"""The top of VGG and AlexNet: two hidden dense layers, then the classes.

All of it is the classifier's: a file without top lacks the hidden layers too.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Rule
from tl_pipeline.backbones.layers import Linear, relu
from tl_pipeline.backbones.layouts import keras_layer, torch_layer
from tl_pipeline.backbones.pooling import adaptive_average_pool

_HIDDEN = 4096


class ImageLinear(nnx.Module):
    """A dense layer on all pixels of a small image."""

    def __init__(self, size: int, in_channels: int, out_features: int):
        """Makes a kernel [size, size, C, D] and a bias [D] of zeros."""
        self.kernel = nnx.Param(jnp.zeros((size, size, in_channels, out_features)))
        self.bias = nnx.Param(jnp.zeros(out_features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, size, size, C] to [B, D]."""
        kernel = self.kernel[...]
        product = x.reshape(len(x), -1) @ kernel.reshape(-1, kernel.shape[-1])
        return product + self.bias[...].reshape(1, -1)


class DenseTop(Linear):
    """The top; its outputs are `fc1` and `fc2`, after their ReLU, and `logits`."""

    def __init__(self, size: int, in_channels: int, classes: int):
        """Makes a top on images of [size, size, in_channels]."""
        super().__init__(_HIDDEN, classes)
        self.size = size
        self.fc1 = ImageLinear(size, in_channels, _HIDDEN)
        self.fc2 = Linear(_HIDDEN, _HIDDEN)

    def outputs(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns its outputs of [B, H, W, C]; another size is pooled to its own."""
        fc1 = relu(self.fc1(adaptive_average_pool(x, self.size)))
        fc2 = relu(self.fc2(fc1))
        return {"fc1": fc1, "fc2": fc2, "logits": self(fc2)}


def keras_top_rules(size: int) -> Iterator[Rule]:
    """Yields where the top is in Keras' layout; it flattens rows first."""
    yield from keras_layer("fc1", "classifier.fc1", f"flat-{size}x{size}")
    yield from keras_layer("fc2", "classifier.fc2")
    yield from keras_layer("predictions", "classifier")


def torchvision_top_rules(size: int, modules: tuple[int, int, int]) -> Iterator[Rule]:
    """Yields where the top is in torchvision's layout; it flattens channels first."""
    first, second, last = (f"classifier.{n}" for n in modules)
    yield from torch_layer(first, "classifier.fc1", f"torch-flat-{size}x{size}")
    yield from torch_layer(second, "classifier.fc2")
    yield from torch_layer(last, "classifier")
