"""Key rules of single layers, as the frameworks name what a layer holds."""

from collections.abc import Iterator

from tl_pipeline.backbones.architecture import UNUSED, Rule

KERAS = "keras-h5"
TORCH = "torch"  # names that torchvision and timm share
TORCHVISION = "torchvision"
TIMM = "timm"

_KERAS_NORM = (
    ("gamma", "scale"),
    ("beta", "bias"),
    ("moving_mean", "mean"),
    ("moving_variance", "var"),
)
_TORCH_NORM = (
    ("weight", "scale"),
    ("bias", "bias"),
    ("running_mean", "mean"),
    ("running_var", "var"),
)


def keras_layer(
    layer: str, target: str, transform: str = "same", *, bias: bool = True
) -> Iterator[Rule]:
    """Yields the rules of a convolution or a dense layer.

    Args:
      layer: Its name in the file.
      target: The dotted name of our `Conv` or `Linear`.
      transform: Of the kernel.
      bias: Whether it has one.
    """
    yield f"{layer}/kernel", f"{target}.kernel", transform
    if transform == "depthwise":  # Keras 2's name of it
        yield f"{layer}/depthwise_kernel", f"{target}.kernel", transform
    if bias:
        yield f"{layer}/bias", f"{target}.bias", "same"


def keras_norm(layer: str, target: str, *, scale: bool = True) -> Iterator[Rule]:
    """Yields the rules of a BatchNorm, with or without gamma."""
    for theirs, ours in _KERAS_NORM[0 if scale else 1 :]:
        yield f"{layer}/{theirs}", f"{target}.{ours}", "same"


def keras_conv_norm(
    conv: str, norm: str, target: str, transform: str = "same", *, bias: bool = False
) -> Iterator[Rule]:
    """Yields the rules of a `ConvNorm`."""
    yield from keras_layer(conv, f"{target}.conv", transform, bias=bias)
    yield from keras_norm(norm, f"{target}.norm")


def torch_layer(
    module: str, target: str, transform: str = "torch", *, bias: bool = True
) -> Iterator[Rule]:
    """Yields the rules of a convolution or a linear layer; depthwise ones alike."""
    yield f"{module}.weight", f"{target}.kernel", transform
    if bias:
        yield f"{module}.bias", f"{target}.bias", "same"


def torch_norm(module: str, target: str) -> Iterator[Rule]:
    """Yields the rules of a BatchNorm; its count of batches is of no use here."""
    for theirs, ours in _TORCH_NORM:
        yield f"{module}.{theirs}", f"{target}.{ours}", "same"
    yield f"{module}.num_batches_tracked", UNUSED, "same"


def torch_conv_norm(conv: str, norm: str, target: str) -> Iterator[Rule]:
    """Yields the rules of a `ConvNorm`."""
    yield from torch_layer(conv, f"{target}.conv", bias=False)
    yield from torch_norm(norm, f"{target}.norm")
