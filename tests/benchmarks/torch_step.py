"""The other side of `finetune_speed.py`: timm and PyTorch. Run by its Python.

    PYTHON tests/benchmarks/torch_step.py TIMM_NAME BATCH CLASSES STEPS

Times a step of AdamW on all parameters, BatchNorm by its stored statistics, in both
memory formats. Prints a JSON line of seconds.
"""

import json
import os
import sys
import time

import torch

# A torchvision built for another PyTorch lacks its operators; none is used here.
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    try:
        _OPERATORS.define(f"{_name}(Tensor a, Tensor b, float c) -> Tensor")
    except RuntimeError:  # it is there
        continue

import timm  # noqa: E402  it imports torchvision


def time_steps(
    name: str, memory_format: torch.memory_format, batch: int, classes: int, steps: int
) -> float:
    """Returns the seconds of a step after the first."""
    torch.manual_seed(0)
    # In eval mode BatchNorm keeps its statistics, and its scale and offset train.
    network = timm.create_model(name, num_classes=classes).eval()
    network = network.to(memory_format=memory_format)
    parameters = list(network.parameters())
    kernels = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": kernels, "weight_decay": 0.01},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=1e-5,
    )
    images = torch.randn(batch, 3, 224, 224).to(memory_format=memory_format)
    targets = torch.randint(0, classes, (batch,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), targets).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - begin) / steps


def main() -> None:
    """Times both memory formats, and prints the seconds."""
    name, *numbers = sys.argv[1:]
    batch, classes, steps = map(int, numbers)
    torch.set_num_threads(os.cpu_count() or 1)
    formats = {
        "contiguous": torch.contiguous_format,
        "channels_last": torch.channels_last,
    }
    seconds = {
        key: time_steps(name, one, batch, classes, steps)
        for key, one in formats.items()
    }
    versions = {"torch": torch.__version__, "timm": timm.__version__}
    print(json.dumps(seconds | versions))


if __name__ == "__main__":
    main()
