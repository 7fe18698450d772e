import subprocess
import sys

import pytest

from tl_pipeline.backbones import registry
from tl_pipeline.backbones.registry import (
    describe_backbone,
    list_backbones,
    make_architecture,
    make_weightless,
)
from tl_pipeline.digest import canonical_json
from tl_pipeline.errors import BackboneError

# One of each family by default: the others are rows of the same table.
FIRST = {"pixels", *(names[0] for names in registry._FAMILIES.values())}


def test_the_backbones_are_listed_sorted():
    names = list_backbones()
    assert list(names) == sorted(names)
    assert {"digits_cnn", "mobilenet_v2", "pixels", "vit_small_patch16"} <= set(names)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FIRST else pytest.mark.slow)
        for name in list_backbones()
    ],
)
def test_each_describes_itself_in_plain_data(name):
    facts = describe_backbone(name)
    canonical_json(facts)
    assert facts["name"] == name
    assert "pool" in facts["features"]
    assert facts["input_shape"][:2] == facts["preprocess"]["size"]
    for checkpoint in facts["checkpoints"]:
        assert checkpoint["source_dataset"] and checkpoint["license"]


def test_features_are_listed_in_order_with_shapes():
    assert describe_backbone("digits_cnn")["features"] == {
        "stage1": [16, 16, 32],
        "stage2": [8, 8, 64],
        "pool": [64],
        "logits": [5],
    }


@pytest.mark.parametrize(
    "make", [make_architecture, describe_backbone, make_weightless]
)
def test_an_unknown_name_lists_the_known_ones(make):
    words = "'mobilenet_v3'; known are .*, pixels.* Did you mean 'mobilenet_v2'"
    with pytest.raises(BackboneError, match=words):
        make("mobilenet_v3")


def test_pixels_load_without_jax():
    program = (
        "from tl_pipeline.stages.backbones import load_backbone; import sys;"
        "load_backbone('pixels').make_forward(['pool']); print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
