import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tl_pipeline.backbones.computation import count_flops, digest_computation

IMAGE = jax.ShapeDtypeStruct((2, 64, 64), jnp.float32)


@pytest.fixture(params=[False, True])
def hoisting(request):
    """Has JAX keep constants in a program, or pass large ones to it as arguments."""
    name = "jax_use_simplified_jaxpr_constants"
    before = getattr(jax.config, name)
    jax.config.update(name, request.param)
    yield
    jax.config.update(name, before)


@pytest.mark.usefixtures("hoisting")
def test_another_table_is_another_computation_however_jax_keeps_it():
    def digest(scale):
        table = np.arange(64 * 64, dtype=np.float32).reshape(64, 64) * scale
        return digest_computation(lambda x: jax.jit(jnp.add)(x, table), IMAGE)

    assert digest(1) == digest(1) != digest(2)


def test_products_convolutions_and_loops_are_counted():
    def work(function, *shapes):
        arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        return count_flops(jax.make_jaxpr(function)(*arguments))

    assert work(jnp.matmul, (2, 3, 4), (4, 5)) == 2 * 2 * 3 * 4 * 5
    depthwise = lambda x, k: lax.conv_general_dilated(  # noqa: E731
        x,
        k,
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=8,
    )
    assert work(depthwise, (1, 6, 6, 8), (3, 3, 1, 8)) == 2 * (3 * 3 * 8) * 9
    loop = lambda x: lax.scan(lambda c, _: (c @ c, None), x, length=7)[0]  # noqa: E731
    assert work(loop, (3, 3)) == 7 * 2 * 27
    assert work(jnp.tanh, (9, 9)) == 0
