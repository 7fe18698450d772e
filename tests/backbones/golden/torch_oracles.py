"""PyTorch's side of the golden files: weights in, outputs by our names out.

It needs torch, torchvision, timm and transformers, which the tests do not.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from seeded import describe_output, draw_all, draw_images, fold_names, normalize_images

# A torchvision built for another PyTorch lacks its operators; none is used here.
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    try:
        _OPERATORS.define(f"{_name}(Tensor a, Tensor b, float c) -> Tensor")
    except RuntimeError:  # it is there
        continue

import timm  # noqa: E402  these import torchvision
import torchvision  # noqa: E402
import transformers  # noqa: E402

__all__ = ["timm", "torchvision", "transformers"]


def state_shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of a model's state."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def load_state(model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Sets all of a model's state."""
    model.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})


def published_shapes(model) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of a transformers model as it is published."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(Path(folder, "model.safetensors"), "np") as file:
            return {
                name: tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
            }


def load_published(model, arrays: dict[str, np.ndarray]):
    """Returns the transformers model with the tensors of a published file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = Path(folder, "model.safetensors")
        save_file(arrays, path, {"format": "pt"})
        return type(model).from_pretrained(folder).eval()


def run_case(
    shapes: dict[str, tuple[int, ...]],
    load: Callable[[dict[str, np.ndarray]], Callable[[torch.Tensor], dict]],
    *,
    size: int,
    colors: tuple,
    small: float,
    facts: dict,
    n: int = 2,
    keep_names: bool = True,
) -> dict:
    """Returns a golden case: how it was drawn, its tensors' names, its outputs.

    Args:
      shapes: The file's names and shapes.
      load: Takes the file's tensors; returns the function of images [n, 3, H, W].
      size: Pixels a side.
      colors: Mean and deviation.
      small: See `draw_tensor`.
      facts: What the test needs to know beyond that.
      n: Images.
      keep_names: Whether the case brings its tensors' names.
    """
    run = load(draw_all(shapes, small=small))
    images = normalize_images(draw_images(size, n), colors)
    with torch.inference_mode():
        outputs = run(torch.from_numpy(images))
    return {
        **facts,
        "size": size,
        "n": n,
        "colors": colors,
        "small": small,
        **({"names": fold_names(shapes)} if keep_names else {}),
        "outputs": {
            name: describe_output(x.float().numpy()) for name, x in outputs.items()
        },
    }
