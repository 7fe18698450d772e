"""ResNets in files of other shapes: detectors, numbered modules, gray images."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tl_pipeline.backbones.intake import normalize
from tl_pipeline.backbones.network import network_shapes
from tl_pipeline.backbones.published import checkpoint_preprocess, find_checkpoint
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.errors import BackboneError, WeightsError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.weights.reading import load_tensors

NUMBERS = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


@pytest.fixture(scope="module")
def tensors():
    """A ResNet-18 under torchvision's names, without counts of batches."""
    architecture = make_architecture("resnet18")
    shapes = network_shapes(architecture, 7)
    rng = np.random.default_rng(0)
    drawn = {}
    for source, target, _ in architecture.key_rules["torch"]:
        if target:
            shape = shapes[target]
            if len(shape) > 1:  # [H, W, C, D] to [D, C, H, W]
                shape = (shape[-1], shape[-2], *shape[:-2])
            drawn[source] = rng.uniform(0.5, 1, shape).astype(np.float32)
    return drawn


def save(path, tensors):
    save_file(tensors, path)
    return path


def without_classifier(tensors):
    return {name: a for name, a in tensors.items() if not name.startswith("fc.")}


@pytest.fixture(scope="module")
def backbone(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "w.safetensors"
    return load_backbone("resnet18", weights=save(path, tensors))


def test_the_body_of_a_detector_is_a_resnet_without_a_classifier(
    tensors, backbone, tmp_path
):
    body = without_classifier(tensors)
    detector = {f"backbone.body.{name}": array for name, array in body.items()}
    for name in ("backbone.fpn.inner.weight", "rpn.head.bias", "roi_heads.cls.bias"):
        detector[name] = np.zeros(3, np.float32)
    found = load_backbone(
        "resnet18", weights=save(tmp_path / "d.safetensors", detector)
    )
    assert found.weights_digest == backbone.weights_digest
    assert "logits" in backbone.feature_shapes().keys() - found.feature_shapes().keys()
    assert found.weights_origin["left_out"] == 3
    assert "left_out" not in backbone.weights_origin
    detector["roi_pool.bias"] = np.zeros(3, np.float32)
    with pytest.raises(WeightsError, match="roi_pool.bias"):
        load_backbone("resnet18", weights=save(tmp_path / "e.safetensors", detector))


def test_modules_by_number_are_those_of_a_sequential(tensors, backbone, tmp_path):
    numbered = {}
    for name, array in without_classifier(tensors).items():
        module, _, leaf = name.partition(".")
        numbered[f"backbone.{NUMBERS[module]}.{leaf}"] = array
    path = save(tmp_path / "n.safetensors", numbered)
    found = load_backbone("resnet18", weights=path)
    assert found.weights_digest == backbone.weights_digest
    assert found.weights_origin["unwrapped"] == "backbone."


def test_an_epsilon_of_its_own_is_a_setting_and_the_usual_one_is_none(
    tensors, backbone, tmp_path
):
    assert backbone.settings == {"input_size": 224}
    usual = make_architecture("resnet18", settings={"epsilon": 1e-5, "channels": 3})
    assert usual.settings == backbone.settings
    path = save(tmp_path / "w.safetensors", tensors)
    other = load_backbone("resnet18", weights=path, settings={"epsilon": 0.0})
    assert other.settings == {"input_size": 224, "epsilon": 0.0}
    assert other.weights_digest == backbone.weights_digest
    with pytest.raises(BackboneError, match="takes 0 to below 1"):
        make_architecture("resnet18", settings={"epsilon": 1.0})


def test_published_files_are_known_by_name_or_by_the_digest_in_their_name(tmp_path):
    path = save(tmp_path / "mine.safetensors", {"a": np.zeros(3, np.float32)})
    loaded = load_tensors(path)

    def find(file, **facts):
        known = ({"file": file, **facts},)
        given = {"file": loaded.path.name, "sha256": loaded.sha256, "layout": "torch"}
        return find_checkpoint(known, **given) is not None

    assert find("mine.pth") and find(f"theirs-{loaded.sha256[:8]}.pth")
    assert not find("theirs.pth") and not find("theirs-01234567.pth")
    assert not find(f"theirs-{loaded.sha256[:7]}.pth")
    assert find("mine.pth", layout="torch")
    assert not find("mine.pth", layout="keras-h5") and not find("mine.pth", hub="a/b")


def test_detectors_of_torchvision_are_known_to_have_no_epsilon():
    names = {
        checkpoint["file"]: checkpoint.get("settings")
        for checkpoint in make_architecture("resnet50").checkpoints
    }
    assert names["fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"] == {"epsilon": 0.0}
    assert names["resnet50-0676ba61.pth"] is None


def test_a_kernel_of_one_channel_makes_a_network_of_gray_images(
    tensors, backbone, tmp_path
):
    gray = tensors | {"conv1.weight": tensors["conv1.weight"][:, :1]}
    found = load_backbone("resnet18", weights=save(tmp_path / "g.safetensors", gray))
    assert found.settings == {"input_size": 224, "channels": 1}
    assert found.preprocess.color == "gray"
    assert found.preprocess.input_shape == (224, 224, 1)
    assert backbone.preprocess.input_shape == (224, 224, 3)
    with pytest.raises(BackboneError, match="it takes 3, of color images, or 1"):
        make_architecture("resnet18", settings={"channels": 2})


def test_radimagenet_prepares_images_as_its_own_examples_do(tmp_path):
    architecture = make_architecture("resnet50")
    shapes = network_shapes(architecture, None)
    zeros = {
        f"backbone.{source}": np.zeros(
            (shapes[target][-1:] + shapes[target][-2:-1] + shapes[target][:-2])
            if len(shapes[target]) == 4
            else shapes[target],
            np.float32,
        )
        for source, target, _ in architecture.key_rules["torch-sequential"]
        if target
    }
    path = save(tmp_path / "ResNet50.safetensors", zeros)
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 3), np.uint8)
    found = load_backbone("resnet50", weights=path)
    assert found.preprocess.color == "bgr" and found.preprocess.dtype == "uint16"
    assert "RadImageNet" in str(found.weights_origin["source_dataset"])
    theirs = (images - 127.5) * 2 / 255
    ours = normalize(images.astype(np.uint16) * 257, found.preprocess)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_radimagenet_of_keras_is_kerass_way_by_255():
    architecture = make_architecture("keras_resnet50")
    (facts,) = (c for c in architecture.checkpoints if "preprocess" in c)
    said = checkpoint_preprocess(facts, architecture.preprocess)
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 3), np.uint8)
    theirs = np.asarray(normalize(images, architecture.preprocess)) / 255
    np.testing.assert_allclose(normalize(images, said), theirs, atol=1e-6)
