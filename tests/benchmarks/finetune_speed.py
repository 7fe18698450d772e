"""A step of fine-tuning, beside timm and PyTorch; split beside end to end.

    python tests/benchmarks/finetune_speed.py --torch-python PYTHON
        [--backbones mobilenet_v2 resnet50] [--steps 3] [--rounds 3]

PYTHON has torch and timm. A step is the forward pass, gradients of all parameters but
BatchNorm's statistics, clipping and AdamW's update, of 32 images of 224×224 pixels in
float32; PyTorch has the best of its two memory formats, each with and without freed
memory kept, as the command line keeps it for us. Both sides are measured in turn, and a
ratio is of two neighbors. An epoch is of 1,024 images, ready in memory:
end to end trains all, split the last stage alone from rows cached before it. Prints a
Markdown row a backbone.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tl_pipeline.allocation import keep_freed_memory
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.finetuning.head import make_blank_head
from tl_pipeline.finetuning.optimizer import make_optimizer
from tl_pipeline.finetuning.partition import choose_trained
from tl_pipeline.finetuning.steps import make_update
from tl_pipeline.stages.backbones import load_trainable

# What timm calls the same network, and the output before its last stage.
BACKBONES = {
    "mobilenet_v2": ("mobilenetv2_100", "block12"),
    "resnet50": ("resnet50", "stage3"),
}
BATCH, CLASSES, EPOCH = 32, 10, 1024
# What `keep_freed_memory` asks of malloc, for PyTorch.
KEPT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_ARENA_MAX": "1",
}


def make_step(name: str, cut: str | None) -> Callable[[], Any]:
    """Returns the function that does a step, all of it or from a cut, and waits."""
    network = load_trainable(name, weights="random:0")
    blocks = network.blocks(["pool"])
    names = [*blocks]
    partition = choose_trained(
        blocks,
        unfreeze="all" if cut is None else names[names.index(cut) + 1 :],
        statistics=network.statistics,
    )
    config = FinetuneConfig()  # pyright: ignore[reportCallIssue]
    optimizer = make_optimizer(config, partition.depths, n_steps=1000)
    needed = {one for some in blocks.values() for one in some}
    width = network.feature_shapes()["pool"][-1]
    trained = {n: x for n, x in network.parameters.items() if n in partition.depths}
    frozen = {n: network.parameters[n] for n in needed - trained.keys()}
    trained = jax.device_put({**trained, **make_blank_head(width, CLASSES)})
    state, frozen = optimizer.init(trained), jax.device_put(frozen)
    rng = np.random.default_rng(0)
    if cut is None:
        shape = network.architecture.preprocess.input_shape
        inputs = rng.integers(0, 256, (BATCH, *shape), dtype=np.uint8)
    else:
        rows = rng.normal(size=(BATCH, *network.feature_shapes()[cut]))
        inputs = rows.astype(np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, BATCH)]
    update = make_update(
        network.make_apply(["pool"], cut=cut),
        network.prepare if cut is None else lambda rows: rows,
        optimizer,
        config,
        loss="softmax",
    )
    weight = np.ones(BATCH, np.float32)
    kept = [trained, state]

    def step() -> None:
        done = update(*kept, frozen, inputs, targets, weight, np.int32(0))
        kept[:] = jax.block_until_ready((done.trained, done.optimizer))

    return step


def time_steps(step: Callable[[], Any], n_steps: int) -> float:
    """Returns the seconds of a step."""
    begin = time.perf_counter()
    for _ in range(n_steps):
        step()
    return (time.perf_counter() - begin) / n_steps


def measure_theirs(python: str, name: str, n_steps: int) -> dict[str, Any]:
    """Returns the seconds of PyTorch's step by its memory format, and its version."""
    script = Path(__file__).with_name("torch_step.py")
    words = [python, script, name, BATCH, CLASSES, n_steps]
    found: dict[str, Any] = {}
    for kind, environment in (("", {}), (", kept", KEPT)):
        done = subprocess.run(
            [*map(str, words)],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | environment,
        )
        line = json.loads(done.stdout.splitlines()[-1])
        found |= {f"{key}{kind}": value for key, value in line.items()}
    return found


def main() -> None:
    """Measures, and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", required=True)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command line does
    rows, versions = [], ""
    for name in arguments.backbones:
        theirs_name, cut = BACKBONES[name]
        whole, split = make_step(name, None), make_step(name, cut)
        begin = time.perf_counter()
        whole()
        compiling = time.perf_counter() - begin
        split()
        rounds = []
        for _ in range(arguments.rounds):
            theirs = measure_theirs(
                arguments.torch_python, theirs_name, arguments.steps
            )
            best = min(t for t in theirs.values() if isinstance(t, float))
            ours = time_steps(whole, arguments.steps)
            part = time_steps(split, arguments.steps)
            rounds.append((ours, best, best / ours, part, ours / part))
            versions = f"torch {theirs['torch']}, timm {theirs['timm']}"
        ours, best, ratio, part, gain = map(
            statistics.median, zip(*rounds, strict=True)
        )
        epoch = EPOCH / BATCH
        rows.append(
            f"| {name} | {ours:.2f} | {best:.2f} | {ratio:.2f} | {epoch * ours:.0f} | "
            f"{epoch * part:.1f} | {gain:.1f} | {compiling - ours:.0f} |"
        )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, "
        f"{versions}; batch {BATCH}, float32, {arguments.rounds} rounds of "
        f"{arguments.steps} steps, medians\n"
    )
    print(
        "| backbone | ours, s a step | timm + PyTorch | ratio | end to end, s an epoch "
        "| split | ratio | compile, s |\n|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
