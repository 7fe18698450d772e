import pytest

from tl_pipeline.backbones.features import feature_shape, resolve_features
from tl_pipeline.errors import BackboneError
from tl_pipeline.spec import Feature

SHAPES = {"stage1": (8, 6, 32), "tokens": (10, 16), "pool": (64,)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("stage1", (8, 6, 32)),
        ("stage1:avg", (32,)),
        ("stage1:max", (32,)),
        ("stage1:flatten", (8 * 6 * 32,)),
        ("tokens:avg", (16,)),
        ("pool", (64,)),
        ("pool:none", (64,)),
    ],
)
def test_a_feature_has_its_shape_after_pooling(name, shape):
    (feature,) = resolve_features([name], SHAPES)
    assert feature_shape(feature, SHAPES) == shape


def test_each_feature_counts_once_in_the_order_asked_for():
    names = ["pool", "stage1:avg", "pool:none"]
    expected = [Feature("pool", "none"), Feature("stage1", "avg")]
    assert resolve_features(names, SHAPES) == expected


def test_an_unknown_feature_lists_the_names():
    words = (
        "'stage'.*the net does not have; it has stage1, tokens, pool. Did .* 'stage1'"
    )
    with pytest.raises(BackboneError, match=words):
        resolve_features(["stage:avg"], SHAPES, backbone="the net")


def test_a_vector_is_not_pooled():
    with pytest.raises(BackboneError, match=r"'pool:avg': pool is a vector of \[64\]"):
        resolve_features(["pool:avg"], SHAPES)


def test_no_features_are_refused():
    with pytest.raises(BackboneError, match="no features: name at least one of stage1"):
        resolve_features([], SHAPES)
