import dataclasses
import json
from pathlib import Path

import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.weights.preprocessing import read_preprocess

DEFAULT = ImagePreprocess(
    color="rgb",
    resize="short",
    resize_size=256,
    size=(224, 224),
    interpolation="bilinear",
    scale=1 / 127.5,
    mean=(1.0, 1.0, 1.0),
    std=(1.0, 1.0, 1.0),
)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TIMM = {
    "input_size": [3, 224, 224],
    "interpolation": "bicubic",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": MEAN,
    "std": STD,
}
VIT = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "size": {"height": 224, "width": 224},
}
CONVNEXT = VIT | {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3}
CLIP = VIT | {"size": 224, "do_center_crop": True, "crop_size": 224, "resample": 3}
DINO = CLIP | {
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
}


def read(folder: Path, name: str, said: object) -> ImagePreprocess:
    (folder / name).write_text(json.dumps(said))
    return read_preprocess(folder / "model.safetensors", DEFAULT)


def test_without_neighbours_the_usual_one_holds(tmp_path):
    assert read_preprocess(tmp_path / "w.pth", DEFAULT) is DEFAULT
    # transformers' config.json says nothing of images.
    assert read(tmp_path, "config.json", {"hidden_size": 3}) is DEFAULT


def test_timm_says_crop_interpolation_mean_and_std(tmp_path):
    found = read(tmp_path, "config.json", {"pretrained_cfg": TIMM})
    assert found == dataclasses.replace(
        DEFAULT,
        resize_size=235,  # floor(224 / 0.95)
        interpolation="bicubic",
        scale=1 / 255,
        mean=tuple(MEAN),
        std=tuple(STD),
    )


def test_a_squashed_image_is_not_cropped(tmp_path):
    config = TIMM | {"crop_pct": 1.0, "crop_mode": "squash"}
    found = read(tmp_path, "config.json", {"pretrained_cfg": config})
    assert (found.resize, found.resize_size) == ("exact", None)


@pytest.mark.parametrize(
    ("said", "resize", "resize_size", "interpolation"),
    [
        (VIT, "exact", None, "bilinear"),
        (CONVNEXT, "short", 256, "bicubic"),
        (CONVNEXT | {"size": {"shortest_edge": 384}}, "exact", None, "bicubic"),
        (CLIP, "short", 224, "bicubic"),
        (DINO, "short", 256, "bicubic"),
        (VIT | {"size": 384}, "exact", None, "bilinear"),
    ],
)
def test_transformers_says_how_to_resize(
    tmp_path, said, resize, resize_size, interpolation
):
    found = read(tmp_path, "preprocessor_config.json", said)
    assert found.resize == resize
    assert found.resize_size == resize_size
    assert found.interpolation == interpolation
    assert found.size == (224, 224)
    assert (found.scale, found.mean, found.std) == (1 / 255, (0.5,) * 3, (0.5,) * 3)


def test_what_is_not_normalized_keeps_its_scale(tmp_path):
    said = VIT | {"do_normalize": False, "rescale_factor": 0.5}
    found = read(tmp_path, "preprocessor_config.json", said)
    assert (found.scale, found.mean, found.std) == (0.5, (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop_mode", "border"),
        ("crop_pct", 0),
        ("crop_pct", "x"),
        ("input_size", [1, 224, 224]),
        ("interpolation", "random"),
        ("mean", None),
        ("std", [1, "x", 1]),
    ],
)
def test_a_form_of_timm_that_cannot_be_done_names_its_field(tmp_path, field, value):
    with pytest.raises(WeightsError, match=rf"config.json beside .*: {field} is "):
        read(tmp_path, "config.json", {"pretrained_cfg": TIMM | {field: value}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("do_resize", False),
        ("do_rescale", False),
        ("size", {"longest_edge": 800}),
        ("size", {"height": 2, "width": 3}),
        ("size", {"shortest_edge": 224}),
        ("size", None),
        ("resample", 5),
        ("image_mean", 0.5),
    ],
)
def test_a_form_of_transformers_that_cannot_be_done_names_its_field(
    tmp_path, field, value
):
    with pytest.raises(WeightsError, match=rf"config.json beside .*: {field} is "):
        read(tmp_path, "preprocessor_config.json", VIT | {field: value})


def test_a_wrong_number_of_channels_is_said(tmp_path):
    config = TIMM | {"mean": [0.5], "std": [0.5]}
    with pytest.raises(WeightsError, match="beside the weights .* 3 values of mean"):
        read(tmp_path, "config.json", {"pretrained_cfg": config})


def test_what_is_no_json_is_said(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="its content is Expecting property name"):
        read_preprocess(tmp_path / "w.pth", DEFAULT)
