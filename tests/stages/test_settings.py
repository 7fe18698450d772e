"""What `[heads]` asks for, written out as settings."""

from typing import get_args

from tl_pipeline.config import HeadsConfig, make_heads_config
from tl_pipeline.heads.fitting import FITTERS
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.heads.settings import MlpSettings
from tl_pipeline.stages.settings import make_settings


def test_every_kind_that_can_be_asked_for_can_be_fitted_and_used():
    asked = get_args(get_args(HeadsConfig.model_fields["kinds"].annotation)[0])
    assert set(asked) == set(FITTERS) <= set(KINDS)


def test_settings_are_what_a_kind_is_fitted_with():
    heads = make_heads_config({"l2": [0.1, 1.0], "k": [3]})
    assert make_settings("linear", heads) == [{"l2": 0.1}, {"l2": 1.0}]
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
