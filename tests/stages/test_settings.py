"""What `[heads]` asks for, written out as settings."""

from typing import get_args

from tl_pipeline.config import HeadsConfig, make_heads_config
from tl_pipeline.heads.fitting import FITTERS
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.stages.settings import make_settings


def test_every_kind_that_can_be_asked_for_can_be_fitted_and_used():
    asked = get_args(get_args(HeadsConfig.model_fields["kinds"].annotation)[0])
    assert set(asked) == set(FITTERS) <= set(KINDS)


def test_settings_are_what_a_kind_is_fitted_with():
    heads = make_heads_config({"l2": [0.1, 1.0], "k": [3]})
    assert make_settings("linear", heads) == [{"l2": 0.1}, {"l2": 1.0}]
    assert make_settings("knn", heads) == [{"k": 3}]
    assert make_settings("centroid", heads) == [{}]
