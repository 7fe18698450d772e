import jax.numpy as jnp
import numpy as np
import pytest

from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.tokens import drop_tokens, make_dropping
from tl_pipeline.errors import ConfigError

# Ascending, so that what is left shows its order.
TEXTS = np.full((64, 12), -1, np.int32)
for row, text in enumerate(TEXTS):
    text[: row % 12 + 1] = np.arange(row % 12 + 1) + 100


def drop(share: float, *, seed: int = 0) -> np.ndarray:
    keys = make_keys(seed, np.arange(len(TEXTS)), 3)
    return np.asarray(drop_tokens(keys, jnp.asarray(TEXTS), jnp.float32(share)))


def test_what_is_left_keeps_its_order_and_its_ends_and_stands_together() -> None:
    for before, after in zip(TEXTS, drop(0.5), strict=True):
        kept = after[after >= 0]
        assert (np.diff(kept) > 0).all()
        assert (after[len(kept) :] == -1).all()
        assert kept[0] == before[0]
        assert kept[-1] == before[before >= 0][-1]


def test_the_share_is_the_chance_of_the_tokens_between() -> None:
    between = (TEXTS >= 0).sum(axis=1) - 2
    n = between[between > 0].sum()
    left = (drop(0.5) >= 0).sum()
    n_dropped = (TEXTS >= 0).sum() - left
    assert abs(n_dropped / n - 0.5) < 0.1
    np.testing.assert_array_equal(drop(0), TEXTS)


def test_what_is_dropped_is_a_function_of_key_and_text_alone() -> None:
    np.testing.assert_array_equal(drop(0.3), drop(0.3))
    assert (drop(0.3) != drop(0.3, seed=1)).any()
    alone = drop_tokens(
        make_keys(0, [11], 3), jnp.asarray(TEXTS[11:12]), jnp.float32(0.3)
    )
    np.testing.assert_array_equal(np.asarray(alone)[0], drop(0.3)[11])


def test_one_compilation_serves_every_share() -> None:
    drop(0.1)
    before = drop_tokens._cache_size()
    drop(0.2)
    assert drop_tokens._cache_size() == before


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("heavy", {}, "'heavy'; known are none, light, strong"),
        ("light", {"rotation": 10}, "no setting rotation"),
        ("light", {"token_dropping": 1.0}, "from 0 to 0.9"),
        ("light", {"token_dropping": True}, "from 0 to 0.9"),
    ],
)
def test_a_wrong_request_is_told(name: str, settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_dropping(name, settings)


def test_a_recipe_has_its_share_and_a_setting_another_one() -> None:
    assert [make_dropping(name) for name in ("none", "light", "strong")] == [
        0,
        0.1,
        0.2,
    ]
    assert make_dropping("strong", {"token_dropping": 0}) == 0
