import dataclasses
import json
from typing import Any

import pytest

from tl_pipeline.errors import BackboneError, ConfigError, SpecMismatchError
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.spec import FeatureSpec, check_same_spec, diff_specs, parse_feature

PREPROCESS = ImagePreprocess(
    color="rgb",
    resize="short",
    resize_size=256,
    size=(224, 224),
    interpolation="bilinear",
    scale=1 / 127.5,
    mean=(1.0, 1.0, 1.0),
    std=(1.0, 1.0, 1.0),
)
SPEC = FeatureSpec(
    backbone="mobilenet_v2",
    settings={"width": 1.0, "input": [224, 224]},
    weights="a" * 64,
    preprocess=PREPROCESS.to_json(),
    fingerprint="b" * 64,
)

CHANGES = {
    "backbone": "resnet50",
    "settings": {"width": 1.4, "input": [224, 224]},
    "weights": "c" * 64,
    "fingerprint": "d" * 64,
    "compute_dtype": "bfloat16",
    "matmul_precision": "default",
    "store_dtype": "float32",
    "source": "e" * 64,
    "schema": 2,
}
PREPROCESS_CHANGES = {
    "kind": "text",
    "color": "bgr",
    "resize": "exact",
    "resize_size": 224,
    "size": [192, 192],
    "interpolation": "bicubic",
    "scale": 1 / 255,
    "mean": [0.0, 1.0, 1.0],
    "std": [1.0, 1.0, 2.0],
    "decoder": "another",
}


def turn(value: Any) -> Any:
    return dict(reversed(value.items())) if isinstance(value, dict) else value


def check_miss(other: FeatureSpec, field: str) -> None:
    """Checks that a spec names another store, and that the refusal names one field."""
    assert other.digest != SPEC.digest
    with pytest.raises(SpecMismatchError) as caught:
        check_same_spec("Store x", stored=SPEC.to_json(), wanted=other.to_json())
    lines = str(caught.value).splitlines()[1:-1]
    assert [line.split("  stored ")[0].strip() for line in lines] == [field]


def test_every_field_of_the_spec_is_tried_below():
    fields = {field.name for field in dataclasses.fields(SPEC)}
    assert fields == CHANGES.keys() | {"preprocess"}
    assert PREPROCESS.to_json().keys() == PREPROCESS_CHANGES.keys()


@pytest.mark.parametrize("field", CHANGES)
def test_each_ingredient_changed_alone_is_another_spec_and_is_named(field: str):
    other = dataclasses.replace(SPEC, **{field: CHANGES[field]})
    name = "settings.width" if field == "settings" else field
    check_miss(other, name)


@pytest.mark.parametrize("field", PREPROCESS_CHANGES)
def test_each_step_of_preprocessing_changed_alone_is_another_spec(field: str):
    changed = PREPROCESS.to_json() | {field: PREPROCESS_CHANGES[field]}
    check_miss(dataclasses.replace(SPEC, preprocess=changed), f"preprocess.{field}")


def test_a_spec_is_the_same_after_a_trip_through_json_and_in_any_order():
    plain = json.loads(json.dumps(SPEC.to_json()))
    assert plain == SPEC.to_json()
    turned = {key: turn(value) for key, value in reversed(plain.items())}
    assert FeatureSpec(**turned).digest == SPEC.digest


def test_a_mismatch_names_only_the_fields_that_differ():
    other = dataclasses.replace(SPEC, weights="f" * 64, store_dtype="float32")
    with pytest.raises(SpecMismatchError) as caught:
        check_same_spec("Store x", stored=SPEC.to_json(), wanted=other.to_json())
    message = str(caught.value)
    assert "store_dtype  stored float16, wanted float32" in message
    assert "weights      stored aaaaaaaaaaaa…, wanted ffffffffffff…" in message
    assert "backbone " not in message
    check_same_spec("Store x", stored=SPEC.to_json(), wanted=SPEC.to_json())


def test_a_field_that_one_side_lacks_is_shown_as_absent():
    assert diff_specs({"a": 1}, {}) == [("a", 1, "(absent)")]


def test_feature_names_come_apart_and_together():
    assert parse_feature("stage3:avg").name == "stage3:avg"
    assert parse_feature("pool").name == parse_feature("pool:none").name == "pool"
    with pytest.raises(BackboneError, match="'sum'.*avg, max, flatten, none of im"):
        parse_feature("stage3:sum")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"color": "cmyk"}, "cmyk.*rgb, bgr, gray"),
        ({"resize": "none"}, "shorter side"),
        ({"resize_size": 200}, "200 pixels"),
        ({"mean": (0.0,)}, "3 values.*got 1 and 3"),
        ({"interpolation": "area"}, "area.*bilinear"),
        ({"decoder": "magick"}, "magick"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(changes: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(PREPROCESS, **changes)
