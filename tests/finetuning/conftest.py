"""A real network with BatchNorm, at a small input, and a few pictures for it."""

import numpy as np
import pytest

from tl_pipeline.backbones.network import network_shapes
from tl_pipeline.backbones.parameters import random_parameters
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.finetuning.head import make_blank_head
from tl_pipeline.finetuning.partition import choose_trained
from tl_pipeline.finetuning.training import Examples, Problem

N, CLASSES = 24, 3
# The first stage alone: real, with BatchNorm, and compiled in a second or two.
FEATURE, BLOCK = "stage1:avg", "stage1"


@pytest.fixture(scope="session")
def resnet() -> TrainableNetwork:
    architecture = make_architecture("resnet18", settings={"input_size": 32})
    shapes = network_shapes(architecture, None)
    return TrainableNetwork(architecture, random_parameters(shapes, seed=0))


def make_examples(network: TrainableNetwork, seed: int) -> Examples:
    """Makes pictures whose class is how bright they are."""
    rng = np.random.default_rng(seed)
    targets = np.arange(N) % CLASSES
    shape = network.architecture.preprocess.input_shape
    images = rng.integers(0, 90, (N, *shape)) + 80 * targets[:, None, None, None]
    images = images.astype(np.uint8)
    return Examples(
        stream=lambda batches: (images[rows] for rows in batches),
        targets=np.eye(CLASSES, dtype=np.float32)[targets],
        weight=np.ones(N, np.float32),
    )


@pytest.fixture(scope="session")
def problem(resnet: TrainableNetwork) -> Problem:
    blocks = resnet.blocks([FEATURE])
    found = choose_trained(blocks, unfreeze=[BLOCK], statistics=resnet.statistics)
    needed = {name for names in blocks.values() for name in names}
    arrays = {name: resnet.parameters[name] for name in needed}
    return Problem(
        apply=resnet.make_apply([FEATURE]),
        prepare=resnet.prepare,
        augment=None,
        trained={
            **{name: x for name, x in arrays.items() if name in found.depths},
            **make_blank_head(64, CLASSES),
        },
        frozen={name: x for name, x in arrays.items() if name not in found.depths},
        depths=found.depths,
        train=make_examples(resnet, 0),
        val=make_examples(resnet, 1),
        loss="softmax",
    )
