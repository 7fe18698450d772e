"""A network as a function of its parameters, and from any of its outputs on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_pipeline.backbones.network import NetworkBackbone, network_shapes
from tl_pipeline.backbones.parameters import random_parameters
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.errors import BackboneError

# A network, and an output to cut it at; small inputs, the real architectures.
CUTS = {
    "digits_cnn": ({}, "stage1"),
    "mobilenet_v2": ({"input_size": 32, "width": 0.35}, "block12"),
    "resnet18": ({"input_size": 32}, "stage3"),
    "vgg16": ({"input_size": 32}, "block3"),
    "vit_tiny_patch16": ({"input_size": 32}, "block9"),
}


def load(name: str) -> tuple[TrainableNetwork, NetworkBackbone]:
    architecture = make_architecture(name, settings=CUTS[name][0])
    parameters = random_parameters(network_shapes(architecture, None), seed=0)
    rng = np.random.default_rng(0)
    # An untrained BatchNorm does nothing, and so would one that is left out.
    for key, array in parameters.items():
        if key.rpartition(".")[2] in ("scale", "var", "mean", "bias"):
            array += rng.uniform(0, 0.5, array.shape).astype(np.float32)
    frozen = NetworkBackbone(architecture, parameters, weights="-", origin={})
    return TrainableNetwork(architecture, parameters), frozen


def draw_images(network: TrainableNetwork) -> np.ndarray:
    shape = network.architecture.preprocess.input_shape
    return np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)


def apply(network, images, *, cut=None, remat=False) -> np.ndarray:
    function = network.make_apply(["pool"], cut=cut, remat=remat)
    with jax.default_matmul_precision("highest"):
        (rows,) = jax.jit(function)(network.parameters, images)
    return np.asarray(rows)


@pytest.mark.parametrize("name", CUTS)
def test_a_trainable_network_gives_what_the_frozen_one_does_whole_or_cut(name: str):
    network, frozen = load(name)
    images, cut = draw_images(network), CUTS[name][1]
    expected = frozen.make_forward(["pool", cut])(images)
    pool, rows = (np.asarray(expected[key]) for key in ("pool", cut))
    most = 1e-4 * np.abs(pool).max()
    whole = apply(network, network.prepare(jnp.asarray(images)))
    np.testing.assert_allclose(whole, pool, rtol=0, atol=most)
    network.check_cut(cut, ["pool"])
    np.testing.assert_allclose(apply(network, rows, cut=cut), pool, rtol=0, atol=most)


@pytest.mark.parametrize("name", CUTS)
def test_every_parameter_is_in_one_block_and_blocks_are_outputs_in_order(name: str):
    network, _ = load(name)
    blocks = network.blocks(["pool"])
    listed = [parameter for names in blocks.values() for parameter in names]
    assert sorted(listed) == sorted(network.parameters)
    outputs = list(network.feature_shapes())
    assert [outputs.index(block) for block in blocks] == sorted(
        outputs.index(block) for block in blocks
    )


def test_a_last_norm_is_one_block_with_what_comes_before():
    network, _ = load("vit_tiny_patch16")
    assert list(network.blocks(["pool"]))[-1] == "block11"
    assert "norm.scale" in network.blocks(["pool"])["block11"]


def test_only_what_a_feature_takes_is_in_its_blocks():
    network, _ = load("resnet18")
    assert list(network.blocks(["stage2:avg"])) == ["stem", "stage1", "stage2"]


def test_a_cut_that_something_goes_around_is_refused():
    network, _ = load("vit_tiny_patch16")
    with pytest.raises(BackboneError, match="does not pass through cls"):
        network.check_cut("cls", ["patches:avg"])
    with pytest.raises(BackboneError, match="its outputs are embed, block0"):
        network.check_cut("stage1", ["pool"])


def test_statistics_are_known_by_their_kind():
    network, _ = load("resnet18")
    kinds = {name.rpartition(".")[2] for name in network.statistics}
    assert kinds == {"mean", "var"}
    assert len(network.statistics) == 2 * 20  # convolutions of a ResNet-18


def test_gradients_with_blocks_computed_again_are_those_without():
    network, _ = load("digits_cnn")
    images = network.prepare(jnp.asarray(draw_images(network)))
    found = []
    for remat in (False, True):
        function = network.make_apply(["pool"], remat=remat)

        def total(parameters, function=function):
            return jnp.sum(function(parameters, images)[0] ** 2)

        steps = jax.make_jaxpr(total)(network.parameters).jaxpr.eqns
        again = [step for step in steps if "remat" in str(step.primitive)]
        assert len(again) == (3 if remat else 0)  # two blocks, and pooling
        found.append(jax.jit(jax.grad(total))(network.parameters))
    for name, array in found[0].items():
        most = 1e-5 * float(jnp.abs(array).max())
        np.testing.assert_allclose(found[1][name], array, rtol=0, atol=most)
