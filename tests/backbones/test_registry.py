import dataclasses
import re
import subprocess
import sys

import pytest

from tl_pipeline.backbones.architecture import CLASSIFIER_OUTPUTS
from tl_pipeline.backbones.network import outline_network
from tl_pipeline.backbones.published import _read_checkpoints
from tl_pipeline.backbones.registry import (
    _FAMILIES,
    describe_backbone,
    list_backbones,
    make_architecture,
    make_weightless,
)
from tl_pipeline.digest import canonical_json
from tl_pipeline.errors import BackboneError

# The first of each family; to trace all of them takes minutes.
# What is no network, and no architecture.
WEIGHTLESS = {"bag_of_words", "pixels", "word_vectors"}
FIRST = {*WEIGHTLESS, *(names[0] for names in _FAMILIES.values())}


def test_the_backbones_are_listed_sorted():
    assert list(list_backbones()) == sorted(list_backbones())
    assert {"digits_cnn", "mobilenet_v2", "pixels"} <= set(list_backbones())


@pytest.mark.parametrize(
    "name",
    [
        name if name in FIRST else pytest.param(name, marks=pytest.mark.slow)
        for name in list_backbones()
    ],
)
def test_each_describes_itself_in_plain_data(name):
    facts = describe_backbone(name)
    canonical_json(facts)
    assert facts["name"] == name
    if facts["takes"] == "images":
        assert "pool" in facts["features"]
        assert facts["input_shape"][:2] == facts["preprocess"]["size"]
    elif facts["takes"] == "recordings":
        said = facts["preprocess"]
        assert (
            facts["input_shape"]
            == [said["length"], said["bins"]][: 1 + bool(said["bins"])]
        )
        assert len(facts["features"]["layer0"]) == 2
    elif name not in WEIGHTLESS:
        assert facts["input_shape"] == [facts["preprocess"]["max_length"]]
        assert facts["features"]["layer0"][0] == facts["preprocess"]["max_length"]
    for checkpoint in facts["checkpoints"]:
        assert checkpoint["source_dataset"] and checkpoint["license"]


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v3_small", "squeezenet1_1"])
def test_outputs_that_a_file_without_top_lacks_are_bound_to_the_classifier(name):
    # Others share a store with every classifier, so they must not depend on it.
    architecture = make_architecture(name)
    whole = outline_network(architecture).features.keys()
    without = dataclasses.replace(architecture, classes=None)
    trunk = outline_network(without).features.keys()
    assert whole - trunk == whole & set(CLASSIFIER_OUTPUTS)


def test_features_are_listed_in_order_with_shapes():
    assert describe_backbone("digits_cnn")["features"] == {
        "stage1": [16, 16, 32],
        "stage2": [8, 8, 64],
        "pool": [64],
        "logits": [5],
    }


# Multiply-adds of one image at 224 pixels, in billions, as torchvision's and timm's
# tables have them.
WORK = {"resnet50": 4.09, "mobilenet_v2": 0.301, "vit_small_patch16": 4.61}
# What each trunk holds by transformers' `num_parameters`, of wav2vec 2.0 without
# the vector that hides frames in training.
AUDIO = {"whisper_tiny": 8_208_384, "wav2vec2_base": 94_370_944, "ast_base": 86_187_264}


@pytest.mark.parametrize("name", WORK)
def test_the_work_of_an_image_is_twice_the_published_multiply_adds(name):
    assert describe_backbone(name)["flops"] == pytest.approx(2e9 * WORK[name], rel=0.02)


@pytest.mark.parametrize("name", AUDIO)
def test_an_audio_backbone_holds_the_parameters_that_are_published(name):
    assert describe_backbone(name)["parameters"] == AUDIO[name]


@pytest.mark.parametrize(
    "make", [make_architecture, describe_backbone, make_weightless]
)
def test_an_unknown_name_lists_the_known_ones(make):
    words = "'digit_cnn'; known are .*, pixels, .* Did you mean 'digits_cnn'"
    with pytest.raises(BackboneError, match=words):
        make("digit_cnn")


def test_pixels_load_without_jax():
    program = (
        "from tl_pipeline.stages.backbones import load_backbone; import sys;"
        "load_backbone('pixels').make_forward(['pool']); print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_every_row_of_published_weights_is_a_backbone_s():
    assert set(_read_checkpoints()) == set(list_backbones()) - WEIGHTLESS


@pytest.mark.parametrize("width", [0.25, 0.5, 1.0])
def test_a_network_of_a_width_lists_the_files_of_that_width(width):
    found = make_architecture("mobilenet", settings={"width": width})
    names = [str(checkpoint["file"]) for checkpoint in found.checkpoints]
    assert len(names) == 2 and all(name in found.how_to_get for name in names)
    text = {0.25: "2_5", 0.5: "5_0", 1.0: "1_0"}[width]
    assert all(name.startswith(f"mobilenet_{text}_224_tf") for name in names)


def test_a_width_that_nobody_publishes_says_so():
    found = make_architecture("mobilenet_v2", settings={"width": 0.6})
    assert found.checkpoints == ()
    assert found.how_to_get.startswith("Nobody publishes any")


@pytest.mark.parametrize("name", sorted(set(list_backbones()) - WEIGHTLESS))
def test_a_checkpoint_on_a_hub_is_a_repository_and_a_file_of_it(name: str):
    for checkpoint in make_architecture(name).checkpoints:
        if "hub" in checkpoint:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", str(checkpoint["hub"]))
            endings = r"[\w./-]+\.(safetensors|bin|npz|pth|h5)"
            assert re.fullmatch(endings, str(checkpoint["file"]))
