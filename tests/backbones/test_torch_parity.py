"""torchvision's and timm's networks: golden files that golden/make_torch.py wrote."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tl_pipeline.backbones.architecture import CLASSIFIER_OUTPUTS
from tl_pipeline.backbones.network import network_shapes
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.weights.merge import LEFT_OUT, TRANSFORMS, KeyRule, named_tensors

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-4  # of the largest value: float32 through a hundred layers
SLOW = pytest.mark.slow
HEADER = struct.pack("<3iq", 0, 2, 0, 32013312)  # of Darknet: version, images seen

# Ours, where another backbone of that name is Keras'.
OURS = {"mobilenet_v2": "mobilenetv2_100"}
# The name of the published file, without its suffix, by the golden file.
XRAYS = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121"
PUBLISHED = {
    "detector-resnet50": "fasterrcnn_resnet50_fpn_coco-258fb6c6",
    "gray-densenet121": f"{XRAYS}-d121-tw-lr001-rot45-tr15-sc15-seed0-best",
}

GRAY = {"channels": 1}

# Of the golden network, where the published files have a large head.
OTHER_CLASSES = {"bit_r50x1": 1000, "bit_r101x1": 1000}

# Golden file, our backbone, and the start of the names of what is left out of the file:
# a top of half a gigabyte.
RUN = [
    ("torchvision-resnet18", "resnet18", None),
    ("torchvision-squeezenet1_1", "squeezenet1_1", None),
    ("torchvision-alexnet", "alexnet", "classifier."),
    ("torchvision-mobilenet_v3_small", "mobilenet_v3_small", None),
    ("torchvision-efficientnet_b0", "efficientnet_b0", None),
    ("google-bit_r50x1", "bit_r50x1", None),
    ("darknet-darknet53", "darknet53", None),
    ("detector-resnet50", "resnet50", None),
    pytest.param("gray-densenet121", "densenet121", None, marks=SLOW),
    *(
        pytest.param(f"{library}-{name}", OURS.get(name, name), None, marks=SLOW)
        for library, name in (
            ("torchvision", "resnet50"),
            ("timm", "resnet50"),
            ("torchvision", "vgg16"),
            ("torchvision", "vgg16_bn"),
            ("torchvision", "squeezenet1_0"),
            ("timm", "vgg16_bn"),
            ("torchvision", "alexnet"),
            ("timm", "mobilenetv3_small_100"),
            ("timm", "tf_mobilenetv3_small_100"),
            ("torchvision", "mobilenet_v2"),
            ("timm", "mobilenetv2_100"),
            ("timm", "efficientnet_b0"),
            ("timm", "tf_efficientnet_b0"),
            ("torchvision", "efficientnet_v2_s"),
            ("timm", "tf_efficientnetv2_s"),
            ("torchvision", "densenet121"),
            ("torchvision", "inception_v3"),
            ("timm", "inception_v3"),
            ("timm", "bit_r50x1"),
            ("timm", "darknet53"),
        )
    ),
]
# Every golden file; by default the small ones, for a network takes a second to trace.
SMALL = (
    "resnet18",
    "bit_r50x1",
    "darknet53",
    "vgg16_bn",
    "squeezenet1_1",
    "alexnet",
    "v3_small",
)
NAMED = [
    pytest.param(
        path.stem,
        OURS.get(name, name),
        marks=[] if any(small in name for small in SMALL) else SLOW,
    )
    for path in sorted(GOLDEN.glob("*.npz"))
    for name in [path.stem.partition("-")[2]]
]


def read_golden(file):
    with np.load(GOLDEN / f"{file}.npz") as archive:
        golden = dict(archive)
    shapes = json.loads(golden.pop("tensors").tobytes())
    return {name: tuple(shape) for name, shape in shapes}, golden


@pytest.mark.parametrize(("file", "backbone", "without"), RUN)
def test_every_output_is_that_of_pytorch(drawing, tmp_path, file, backbone, without):
    tensors, golden = read_golden(file)
    size, gain = int(golden.pop("size")), float(golden.pop("gain"))
    drawn = {name: drawing.draw_tensor(name, tensors[name], gain) for name in tensors}
    path = tmp_path / "model.safetensors"
    if file.startswith("google-"):
        path = tmp_path / "model.npz"
        np.savez(path, **drawn)
    elif file.startswith("darknet-"):  # its order is that of the golden names
        path = tmp_path / "model.weights"
        parts = [HEADER, *(drawn[name].tobytes() for name in tensors)]
        path.write_bytes(b"".join(parts))
    else:  # of some, more is known by their names
        path = path.with_stem(PUBLISHED.get(file, path.stem))
        save_file(drawn, path)
    loaded = load_backbone(backbone, weights=path, settings={"input_size": size})
    assert {"pool"} | loaded.feature_shapes().keys() & {"logits"} <= golden.keys()
    if without:
        golden = {
            name: golden[name] for name in golden.keys() - set(CLASSIFIER_OUTPUTS)
        }
    assert golden.keys() <= loaded.feature_shapes().keys()
    images = drawing.draw_images(size)[..., : loaded.preprocess.channels]
    outputs = loaded.make_forward(list(golden))(images)
    for name, theirs in golden.items():
        ours = drawing.sample(np.asarray(outputs[name]))
        assert np.std(theirs[:-1]) > 1e-3 * theirs[-1], f"{name} says nothing"
        difference = np.abs(ours - theirs).max() / theirs[-1]
        assert difference <= TOLERANCE, (name, difference)


@pytest.mark.parametrize(("file", "backbone"), NAMED)
def test_every_tensor_of_the_published_layout_has_its_place(file, backbone):
    tensors, _ = read_golden(file)
    architecture = make_architecture(backbone)
    classes = OTHER_CLASSES.get(backbone, architecture.classes)
    if file.startswith("detector-"):
        classes = None
    if file.startswith("gray-"):
        architecture, classes = make_architecture(backbone, settings=GRAY), 18
    shapes = network_shapes(architecture, classes)
    rules = max(
        architecture.key_rules.values(),
        key=lambda rules: len({rule[0] for rule in rules} & tensors.keys()),
    )
    placed = {}
    for source, target, transform in rules:
        if source in tensors:
            blank = np.broadcast_to(np.float32(0), tensors[source])
            placed[source] = TRANSFORMS[transform](blank).shape
            assert not target or placed[source] == shapes[target], source
    left_out = {
        name
        for rule in rules
        if rule[1] == LEFT_OUT
        for name in named_tensors(KeyRule(*rule), tensors)
    }
    assert placed.keys() | left_out == tensors.keys()
    targets = {target for source, target, _ in rules if source in tensors}
    assert targets - {""} == shapes.keys()
