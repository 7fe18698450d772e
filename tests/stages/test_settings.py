"""What `[heads]` asks for, written out as settings."""

from typing import get_args

import pytest

from tl_pipeline.config import make_heads_config
from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.heads.fitting import FIT_KINDS
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.heads.presets import PRESETS
from tl_pipeline.heads.settings import AttentionSettings, MlpSettings
from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.stages.matching import match_kinds
from tl_pipeline.stages.settings import make_settings


def test_every_kind_that_can_be_asked_for_can_be_fitted_and_used():
    asked = get_args(get_args(HeadsConfig.model_fields["kinds"].annotation)[0])
    assert set(asked) == set(FIT_KINDS)
    assert set(FIT_KINDS) == set(KINDS) | set(PRESETS)


def test_settings_are_what_a_kind_is_fitted_with():
    heads = make_heads_config({"l2": [0.1, 1.0], "k": [3]})
    assert make_settings("linear", heads) == [{"l2": 0.1}, {"l2": 1.0}]
    smoothed = make_heads_config({"l2": [0.1], "label_smoothing": 0.2})
    given = {"l2": 0.1, "label_smoothing": 0.2}
    assert make_settings("linear", smoothed) == [given]
    assert make_settings("ridge", smoothed) == [{"l2": 0.1}]
    assert make_settings("knn", heads) == [{"k": 3}]
    assert make_settings("centroid", heads) == [{}]


def test_what_mlp_chooses_from_is_crossed_with_the_seeds():
    asked = {"hidden": [8, 4], "dropout": [0.0, 0.2], "weight_decay": [0.1, 0.0]}
    heads = make_heads_config(
        {**asked, "epochs": 7, "label_smoothing": 0.1, "n_seeds": 2}
    )
    settings = [MlpSettings(**one) for one in make_settings("mlp", heads)]
    assert len(settings) == len({str(one) for one in settings}) == 8
    last = {"dropout_hidden": 0.2, "weight_decay": 0.0, "seed": 1, "epochs": 7}
    assert settings[-1] == MlpSettings(
        hidden=(8, 4), learning_rate=1e-3, label_smoothing=0.1, **last
    )


def test_presets_and_attention_are_what_their_names_say():
    asked = {"n_seeds": 1, "learning_rate": [0.1], "weight_decay": [0.3], "queries": 2}
    heads = make_heads_config({**asked, "schedule": "cosine_decay_schedule"})
    (classic,) = (MlpSettings(**one) for one in make_settings("dense512", heads))
    assert (classic.hidden, classic.dropout_hidden) == ([512], 0.5)
    assert (classic.optimizer, classic.weight_decay) == ("adam", 0.0)
    assert (classic.learning_rate, classic.schedule) == (0.1, "cosine_decay_schedule")
    (attends,) = (AttentionSettings(**o) for o in make_settings("attention", heads))
    assert (attends.queries, attends.hidden, attends.weight_decay) == (2, (), 0.3)


SHAPES = {"grid": (4, 4, 8), "grid:avg": (8,), "grid:flatten": (128,), "pool": (8,)}


def test_each_kind_is_trained_on_the_features_that_it_takes():
    kinds = ["linear", "attention", "dense512", "dense128"]
    assert match_kinds(kinds, [*SHAPES, "grid:avg+pool"], SHAPES) == {
        "grid": ["attention"],
        "grid:avg": ["linear", "dense128"],
        "grid:flatten": ["linear", "dense512"],
        "pool": ["linear", "dense512", "dense128"],
        "grid:avg+pool": ["linear", "dense128"],
    }


@pytest.mark.parametrize(
    ("kinds", "features", "said"),
    [
        (["linear"], ["pool", "grid"], r"\[4, 4, 8\]: such heads take vectors"),
        (["dense512"], ["grid:avg"], "dense512 on grid:avg.* not averaged"),
        (["dense512"], ["pool", "grid:avg"], "on grid:avg: none of them takes it"),
        (["linear", "attention"], ["pool"], "attention on pool.* tokens or grids"),
    ],
)
def test_what_suits_nothing_is_refused(
    kinds: list[str], features: list[str], said: str
):
    with pytest.raises(FeatureShapeError, match=said):
        match_kinds(kinds, features, SHAPES)
