import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.backbones.network import network_shapes
from tl_pipeline.backbones.parameters import random_parameters
from tl_pipeline.backbones.published import describe_checkpoint, find_checkpoint
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.digest import file_digest
from tl_pipeline.errors import BackboneError, WeightsError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.checkpoints import write_checkpoint


def test_the_bundled_weights_say_where_they_come_from():
    backbone = load_backbone("digits_cnn")
    assert backbone.weights == "pretrained"
    assert backbone.weights_origin["kind"] == "pretrained"
    assert backbone.weights_origin["sha256"] == file_digest(BUNDLED)
    assert "digits 0-4" in str(backbone.weights_origin["source_dataset"])
    assert "Apache-2.0" in str(backbone.weights_origin["license"])
    assert BUNDLED.stat().st_size < 1_000_000


def test_the_bundled_file_by_its_path_is_the_same_backbone():
    a, b = load_backbone("digits_cnn"), load_backbone("digits_cnn", weights=BUNDLED)
    assert b.weights == str(BUNDLED)
    assert (a.weights_digest, a.classifier_digest) == (
        b.weights_digest,
        b.classifier_digest,
    )


def test_a_classifier_of_other_classes_is_another_classifier_of_the_same_trunk(
    tmp_path,
):
    arrays = load_file(BUNDLED)
    arrays["classifier.kernel"] = np.zeros((64, 3), np.float32)
    arrays["classifier.bias"] = np.zeros(3, np.float32)
    save_file(arrays, tmp_path / "w.safetensors")
    bundled = load_backbone("digits_cnn")
    other = load_backbone("digits_cnn", weights=tmp_path / "w.safetensors")
    assert other.weights_digest == bundled.weights_digest
    assert other.classifier_digest != bundled.classifier_digest
    assert other.feature_shapes()["logits"] == (3,)
    assert other.weights_origin["source_dataset"] is None


def test_one_changed_number_is_another_digest(tmp_path):
    arrays = load_file(BUNDLED)
    arrays["stages.0.bias1.bias"][0] += 1e-6
    save_file(arrays, tmp_path / "w.safetensors")
    other = load_backbone("digits_cnn", weights=tmp_path / "w.safetensors")
    assert other.weights_digest != load_backbone("digits_cnn").weights_digest


def test_weights_of_another_backbone_list_what_does_not_fit(tmp_path):
    with pytest.raises(WeightsError) as error:
        load_backbone("mobilenet_v2", weights=BUNDLED)
    message = str(error.value)
    assert "of 262 parameters 260 are missing and 1 do not fit" in message
    assert "stages.0.conv1.kernel [3, 3, 1, 32]" in message
    assert "blocks.0.depthwise.conv.kernel [3, 3, 1, 32]" in message


def test_a_layout_that_a_backbone_does_not_know_is_said(tmp_path):
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"a"])
        file.create_group("a")
    with pytest.raises(
        WeightsError, match=r"\(keras-h5\) are in no layout from which digits_cnn is"
    ):
        load_backbone("digits_cnn", weights=tmp_path / "w.h5")


def test_random_weights_have_no_classifier():
    backbone = load_backbone("digits_cnn", weights="random:0")
    assert backbone.weights_origin["kind"] == "random"
    assert backbone.classifier_digest is None
    assert "logits" not in backbone.feature_shapes()


def test_pixels_take_no_weights():
    assert load_backbone("pixels", weights="none").weights == "none"
    with pytest.raises(WeightsError, match="pixels with weights 'w.h5': it has none"):
        load_backbone("pixels", weights="w.h5")


def test_an_unknown_compute_dtype_lists_the_known_ones():
    with pytest.raises(BackboneError, match="'float64'; known are float32, bfloat16"):
        load_backbone("digits_cnn", compute_dtype="float64")


def test_settings_survive_the_way_through_a_spec():
    first = load_backbone("mobilenet_v2", weights="random:0", settings={"width": 0.35})
    again = load_backbone("mobilenet_v2", weights="random:0", settings=first.settings)
    assert again.settings == first.settings == {"width": 0.35, "input_size": 224}


@pytest.mark.parametrize(
    "prefix", ["module.", "state_dict.model.", "teacher.backbone."]
)
def test_a_network_within_a_training_is_found_and_said(tmp_path, prefix):
    arrays = {prefix + name: array for name, array in load_file(BUNDLED).items()}
    arrays |= {f"{prefix}norm.num_batches_tracked": np.array(3), "queue": np.ones(3)}
    save_file(arrays, tmp_path / "w.safetensors")
    bundled = load_backbone("digits_cnn")
    other = load_backbone("digits_cnn", weights=tmp_path / "w.safetensors")
    assert other.weights_digest == bundled.weights_digest
    assert other.weights_origin["unwrapped"] == prefix
    assert other.weights_origin["left_out"] == 1
    assert "unwrapped" not in bundled.weights_origin


def test_what_lies_beside_the_weights_says_how_images_are_prepared(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(BUNDLED.read_bytes())
    usual = load_backbone("digits_cnn", weights=tmp_path / "w.safetensors").preprocess
    channels = [0.5] * usual.channels
    said = {
        "input_size": [usual.channels, 224, 224],
        "mean": channels,
        "std": channels,
        "crop_pct": 0.5,
    }
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": said}))
    other = load_backbone("digits_cnn", weights=tmp_path / "w.safetensors").preprocess
    assert other.size == usual.size
    assert (other.resize_size, other.mean) == (2 * usual.size[0], tuple(channels))


@pytest.fixture
def mobilenet(tmp_path):
    """Writes a MobileNetV3 under a name, and loads it."""
    architecture = make_architecture("mobilenet_v3_small")
    shapes = network_shapes(architecture, None)
    arrays = random_parameters(shapes, seed=0)

    def load(name):
        save_file(arrays, tmp_path / name)
        return load_backbone("mobilenet_v3_small", weights=tmp_path / name)

    return load


def test_the_name_of_a_published_file_says_how_images_are_prepared(mobilenet):
    published = mobilenet("mobilenet_v3_small-047dcff4 (1).safetensors")
    assert published.preprocess.resize_size == 256
    origin = published.weights_origin
    assert origin["preprocess"] == "published with torchvision IMAGENET1K_V1"
    assert origin["license"] == "BSD-3-Clause"
    other = mobilenet("mine.safetensors").weights_origin
    assert other["license"] is None and other["preprocess"] == "the network's own"


@pytest.mark.parametrize(
    ("name", "settings", "asked"),
    [
        ("mobilenet_v2", {"width": 0.35, "input_size": 64}, {"input_size": 96}),
        # Google's, where timm's is the default.
        ("bit_r50x1", {"epsilon": 1e-10}, {"epsilon": 1e-8}),
    ],
)
def test_a_file_of_ours_has_the_settings_that_it_was_trained_with(
    name, settings, asked, tmp_path
):
    architecture = make_architecture(name, settings=settings)
    arrays = random_parameters(network_shapes(architecture, None), seed=0)
    path = tmp_path / "w.safetensors"
    write_checkpoint(path, architecture, arrays, metadata={})
    assert load_backbone(name, weights=path).settings == architecture.settings
    other = load_backbone(name, weights=path, settings=asked)
    assert other.settings == {**architecture.settings, **asked}


def test_settings_that_are_none_are_refused_with_the_file(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(load_file(BUNDLED), path, metadata={"settings": "[1]"})
    with pytest.raises(
        WeightsError, match=r"w.safetensors name their settings as \[1\]"
    ):
        load_backbone("digits_cnn", weights=path)


# As torchvision's documentation has them: resize, crop, interpolation.
TORCHVISION = {
    ("resnet50", "resnet50-0676ba61.pth"): (256, 224, "bilinear"),
    ("resnet50", "resnet50-11ad3fa6.pth"): (232, 224, "bilinear"),
    ("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc.pth"): (
        256,
        224,
        "bicubic",
    ),
    ("efficientnet_b1", "efficientnet_b1_rwightman-bac287d4.pth"): (
        256,
        240,
        "bicubic",
    ),
    ("efficientnet_b1", "efficientnet_b1-c27df63c.pth"): (255, 240, "bilinear"),
    ("efficientnet_b3", "efficientnet_b3_rwightman-b3899882.pth"): (
        320,
        300,
        "bicubic",
    ),
    ("efficientnet_b5", "efficientnet_b5_lukemelas-1a07897c.pth"): (
        456,
        456,
        "bicubic",
    ),
    ("efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b.pth"): (384, 384, "bilinear"),
    ("inception_v3", "inception_v3_google-0cc3c7bd.pth"): (342, 299, "bilinear"),
    ("mobilenet_v3_large", "mobilenet_v3_large-5c1a4163.pth"): (232, 224, "bilinear"),
    ("vgg16", "vgg16-397923af.pth"): (256, 224, "bilinear"),
    ("convnext_tiny", "convnext_tiny-983f1562.pth"): (236, 224, "bilinear"),
}


@pytest.mark.parametrize(("name", "file"), TORCHVISION)
def test_each_checkpoint_of_torchvision_has_its_own_crop(name, file):
    architecture = make_architecture(name)
    checkpoint = find_checkpoint(architecture.checkpoints, file=file)
    assert checkpoint is not None and checkpoint["file"] == file
    said = describe_checkpoint(architecture, checkpoint)["preprocess"]
    resize, crop, interpolation = TORCHVISION[name, file]
    assert said["resize_size"] == resize and said["size"] == [crop, crop]
    assert said["interpolation"] == interpolation


def test_a_fixed_size_of_the_resized_image_grows_with_the_input():
    architecture = make_architecture("densenet121", settings={"input_size": 448})
    sizes = {
        describe_checkpoint(architecture, one)["preprocess"]["resize_size"]
        for one in architecture.checkpoints
    }
    assert 448 in sizes and min(sizes) >= 448


def test_another_size_keeps_the_share_of_the_crop():
    architecture = make_architecture("resnet50", settings={"input_size": 448})
    checkpoint = find_checkpoint(architecture.checkpoints, file="resnet50-11ad3fa6.pth")
    said = describe_checkpoint(architecture, checkpoint)["preprocess"]
    assert (said["resize_size"], said["size"]) == (464, [448, 448])


def test_a_repository_s_file_is_known_by_the_repository():
    checkpoints = make_architecture("resnet50").checkpoints
    known = find_checkpoint(
        checkpoints, file="model.safetensors", hub="timm/resnet50.a1h_in1k"
    )
    assert known is not None and known["crop_size"] == 176
    assert find_checkpoint(checkpoints, file="model.safetensors") is None
