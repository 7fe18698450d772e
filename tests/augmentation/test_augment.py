"""Whole recipes on batches: one key an example, the same alone and in company."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_pipeline.augmentation.augment import make_augment, make_view
from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recipe import RECIPES, Recipe, make_recipe
from tl_pipeline.augmentation.steps import key_of, make_steps
from tl_pipeline.errors import ConfigError

B, K = 6, 4
ALL = make_recipe(
    "strong",
    {
        "vertical_flip": 0.5,
        "quarter_turns": True,
        "rotation": 10.0,
        "translation": 0.1,
        "blur": 0.5,
        "erasing": 0.5,
    },
)
UNMIXED = dataclasses.replace(ALL, mixup=0.0, cutmix=0.0)


@pytest.fixture(scope="module")
def images() -> jax.Array:
    rng = np.random.default_rng(0)
    images = rng.random((B, 4, 4, 3)).repeat(6, axis=1).repeat(6, axis=2)
    images[0], images[1] = 0, 1
    return jnp.asarray(images, jnp.float32)


@pytest.fixture(scope="module")
def targets() -> jax.Array:
    return jnp.eye(K)[np.arange(B) % K]


def keys(step: int = 3, rows=range(B)) -> jax.Array:
    return make_keys(0, np.array(rows), step)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", [Recipe(), make_recipe("light"), ALL])
def test_a_batch_stays_images_of_its_dtype_from_0_to_1(images, targets, recipe, dtype):
    made, mixed = make_augment(recipe)(keys(), images.astype(dtype), targets)
    assert made.dtype == dtype and made.shape == images.shape
    values = np.asarray(made, np.float32)
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    np.testing.assert_allclose(np.asarray(mixed).sum(axis=1), 1, atol=1e-6)


def test_the_recipe_none_changes_nothing(images, targets):
    made, same = make_augment(Recipe())(keys(), images, targets)
    np.testing.assert_array_equal(made, images)
    np.testing.assert_array_equal(same, targets)


def test_the_same_keys_make_the_same_batch_and_others_another(images, targets):
    augment = make_augment(ALL)
    first, again = (augment(keys(), images, targets) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = augment(keys(step=4), images, targets)[0]
    assert all((other[i] != first[0][i]).any() for i in range(2, B))


def test_a_view_does_not_depend_on_the_other_examples(images, targets):
    augment = make_augment(UNMIXED)
    together = augment(keys(), images, targets)[0]
    order = np.array([4, 2, 5, 0, 1, 3])
    apart = augment(keys(rows=order), images[order], targets)[0]
    np.testing.assert_array_equal(apart, together[order])


def test_a_batch_is_a_loop_over_its_examples_and_jit_changes_nothing(images, targets):
    recipe = make_recipe("light", {"rotation": 5.0, "contrast": 0.5, "blur": 0.5})
    batch = make_augment(recipe)(keys(), images, targets)[0]
    view = make_view(recipe)
    for key, image, wanted in zip(keys()[2:], images[2:], batch[2:], strict=True):
        np.testing.assert_allclose(view(key, image), wanted, atol=1e-5)


def test_where_all_branches_are_computed_at_once_the_batch_is_the_same(images, targets):
    recipe = make_recipe("none", {"randaugment": 2})
    batch = make_augment(recipe)(keys(), images, targets)[0]
    vmapped = jax.jit(jax.vmap(make_view(recipe)))(keys(), images)
    # Posterized and equalized levels may fall the other way by a rounding.
    assert np.isclose(batch, vmapped, atol=1e-5).mean() > 0.995
    np.testing.assert_allclose(batch, vmapped, atol=0.1)


def test_it_works_inside_jit(images, targets):
    augment = make_augment(make_recipe("light", {"mixup": 0.2}))
    outside = augment(keys(), images, targets)
    inside = jax.jit(augment)(keys(), images, targets)
    for one, other in zip(outside, inside, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_batch_is_compiled_once_for_its_shape(images, targets):
    recipe = make_recipe("light", {"rotation": 3.25})  # no other test has it
    augment = make_augment(recipe)
    augment(keys(), images, targets)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr(
            "jax._src.interpreters.pxla.logger.log", lambda *a: compiled.append(a)
        )
        augment(keys(step=9), images, targets)
    assert make_augment(make_recipe("light", {"rotation": 3.25})) is augment
    assert not compiled


def test_the_partner_of_a_row_is_the_one_before_it(images, targets):
    made, mixed = make_augment(make_recipe("none", {"mixup": 1.0}))(
        keys(), images, targets
    )
    share = mixed[jnp.arange(B), jnp.arange(B) % K][:, None, None, None]
    wanted = share * images + (1 - share) * jnp.roll(images, 1, axis=0)
    np.testing.assert_allclose(made, wanted, atol=1e-6)
    assert ((0 < share) & (share < 1)).any()


def test_a_step_draws_the_same_whatever_else_the_recipe_does():
    only = make_steps(make_recipe("none", {"erasing": 0.5}), (24, 24, 3))[0]
    among = make_steps(ALL, (24, 24, 3))[-1]
    assert only.name == among.name == "erasing"
    for key in keys():
        jax.tree.map(
            np.testing.assert_array_equal,
            only.sample(key_of(key, only.name)),
            among.sample(key_of(key, among.name)),
        )


def test_steps_do_not_draw_from_one_key():
    names = [step.name for step in make_steps(ALL, (24, 24, 3))]
    keys_of = [jax.random.key_data(key_of(keys()[0], name)) for name in names]
    assert len(np.unique(np.stack(keys_of), axis=0)) == len(names) == 5


def test_images_are_brought_to_another_size(images, targets):
    augment = make_augment(Recipe(), size=(12, 12))
    made = augment(keys(), images, targets)[0]
    np.testing.assert_allclose(made, images[:, ::2, ::2], atol=1e-6)


def test_gray_images_are_augmented_too(images, targets):
    recipe = make_recipe("light", {"hue": 0.1, "contrast": 0.5, "erasing": 0.5})
    made = make_augment(recipe)(keys(), images[..., :1], targets)[0]
    assert made.shape == (B, 24, 24, 1) and np.isfinite(made).all()


def test_quarter_turns_of_images_that_are_not_square_are_refused(images, targets):
    with pytest.raises(ConfigError, match="quarter turns of images of 24 × 20"):
        make_augment(ALL)(keys(), images[:, :, :20], targets)


def test_keys_are_of_seed_example_and_view():
    def data(*args):
        return np.asarray(jax.random.key_data(make_keys(*args)))

    digests = np.random.default_rng(0).integers(0, 256, (5, 32), np.uint8)
    for examples in (np.arange(5), digests):
        base = data(0, examples, 1)
        assert len(np.unique(base, axis=0)) == 5
        np.testing.assert_array_equal(data(0, examples[2:], 1), base[2:])
        for other in (data(1, examples, 1), data(0, examples, 2)):
            assert (other != base).any(axis=1).all()
        views = data(0, examples, np.array([1, 7, 1, 1, 1]))
        np.testing.assert_array_equal((views != base).any(axis=1), np.arange(5) == 1)


def test_keys_are_the_same_on_every_machine():
    digest = np.arange(32, dtype=np.uint8)[None]
    found = jax.random.key_data(make_keys(7, digest, 2)).tolist()
    assert found == [[1450829298, 2342026801]], (
        "views that are cached would no longer be these"
    )


def test_a_name_of_a_recipe_and_settings_make_one():
    assert make_recipe("none") == Recipe()
    assert make_recipe("light", {"crop_scale": [0.2, 0.9]}).crop_scale == (0.2, 0.9)
    assert {name for name in RECIPES if make_recipe(name).is_mixing} == {"strong"}
    assert make_recipe("strong").to_json()["crop_scale"] == [0.25, 1.0]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"crop": 1}, "no setting crop; known are crop_scale, "),
        ({"crop_scale": [0.9, 0.2]}, "the smaller one first"),
        ({"crop_scale": 0.5}, "give the least and the largest"),
        ({"crop_scale": [0.5, 1.5]}, "from 0 to 1"),
        ({"horizontal_flip": 1.2}, "horizontal_flip = 1.2: give a number from 0 to 1"),
        ({"hue": float("nan")}, "hue = nan"),
        ({"hue": 0.6}, "from 0 to 0.5"),
        ({"mixup": -1.0}, "mixup = -1.0: give a number from 0"),
        ({"rotation": True}, "rotation = True"),
        ({"randaugment": 1.5}, "the number of operations"),
        ({"randaugment_magnitude": 31}, "from 0 to 30"),
        ({"quarter_turns": 1}, "true or false"),
    ],
)
def test_an_unfit_setting_is_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_recipe("light", settings)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="known are none, light, strong"):
        make_recipe("heavy")
