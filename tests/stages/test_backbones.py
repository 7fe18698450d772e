import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.digest import file_digest
from tl_pipeline.errors import BackboneError, WeightsError
from tl_pipeline.stages.backbones import load_backbone


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
