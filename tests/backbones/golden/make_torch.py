"""Writes what torchvision's and timm's networks say, for our tests to compare with.

    python make_torch.py [LAYOUT-NAME ...]

It wants PyTorch, torchvision and timm. A file LAYOUT-NAME.npz holds the names and
shapes of the network's tensors, and for those in CASES samples of its outputs, with
weights drawn by `drawing.py`.
"""

import functools
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import drawing
import numpy as np
import torch
from torch_oracles import timm, torchvision
from torchvision.models import detection

HERE = Path(__file__).parent
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Case(NamedTuple):
    """A network that is run, and what its outputs are called there.

    Attributes:
      size: Pixels of the input a side; halved to even numbers, TensorFlow's padding is
        another than PyTorch's.
      modules: The module whose result is an output of ours, by our name; with < it is
        what the module is given. An image as `pool` is averaged over its pixels.
      mean: Of the input, of values from 0 to 1.
      std: Likewise.
      gain: Of the kernels; less for networks that enlarge every rounding error.
    """

    size: int
    modules: dict[str, str]
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    gain: float = 1.5


RESNET = {"stem": "relu", **{f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)}}
RESNET |= {"pool": "avgpool", "logits": "fc"}
TIMM_RESNET = RESNET | {"stem": "act1", "pool": "global_pool"}
VGG = {"pool": "features", "fc1": "classifier.1", "fc2": "classifier.4"}
TIMM_VGG = {"pool": "features", "fc1": "pre_logits.act1", "fc2": "pre_logits.act2"}
SQUEEZENET = {"stem": "features.1", "pool": "features", "logits": "classifier"}
ALEXNET = {"pool": "features", "fc1": "classifier.2", "fc2": "classifier.5"}
ALEXNET |= {f"block{n}": f"features.{i}" for n, i in ((1, 2), (4, 9), (5, 12))}
VGG, ALEXNET = VGG | {"logits": "classifier.6"}, ALEXNET | {"logits": "classifier.6"}
TIMM_VGG |= {"logits": "head.fc"}
V3 = {"stem": "features.0", "stage3": "features.6", "head_conv": "features.12"}
V3 |= {"pool": "avgpool", "logits": "classifier"}
TIMM_V3 = {"stage3": "blocks.2", "stage5": "blocks.4", "head_conv": "blocks.5"}
TIMM_V3 |= {"pool": "<conv_head", "logits": "classifier"}
V2 = {"stage3": "features.6", "stage5": "features.13", "pool": "features.18"}
V2 |= {"logits": "classifier"}
TIMM = {"stage3": "blocks.2", "stage5": "blocks.4", "pool": "<classifier"}
TIMM |= {"logits": "classifier"}
EFFICIENT = {"stem": "features.0", "stage3": "features.3", "stage6": "features.6"}
EFFICIENT |= {"pool": "avgpool", "logits": "classifier"}
DENSE = {"stem": "features.relu0", "pool": "<classifier", "logits": "classifier"}
DENSE |= {f"block{i}": f"features.denseblock{i}" for i in (1, 4)}
INCEPTION = {"stem": "<Mixed_5b", "mixed0": "Mixed_5b", "mixed5": "Mixed_6c"}
INCEPTION |= {"pool": "avgpool", "logits": "fc"}
HALF = (0.5, 0.5, 0.5)
BIT = {f"stage{i + 1}": f"stages.{i}" for i in range(4)}
BIT |= {"stem": "stem.conv", "pool": "norm", "logits": "head.fc"}
DARKNET = {f"stage{i + 1}": f"stages.{i}" for i in range(5)}
DARKNET |= {"stem": "stem", "pool": "<head.fc", "logits": "head.fc"}
BODY = "backbone.body"
DETECTOR = {"stem": f"{BODY}.relu", "pool": f"{BODY}.layer4"}
DETECTOR |= {f"stage{i}": f"{BODY}.layer{i}" for i in (1, 2, 3, 4)}

CASES = {
    "torchvision-resnet18": Case(64, RESNET),
    "torchvision-resnet50": Case(64, RESNET),
    "timm-resnet50": Case(64, TIMM_RESNET),
    "torchvision-vgg16": Case(
        96, VGG | {"block1": "features.4", "block3": "features.16"}
    ),
    "torchvision-vgg16_bn": Case(96, VGG | {"block1": "features.6"}),
    "timm-vgg16_bn": Case(96, TIMM_VGG | {"block1": "features.6"}),
    "torchvision-squeezenet1_0": Case(70, SQUEEZENET | {"fire5": "features.7"}),
    "torchvision-squeezenet1_1": Case(70, SQUEEZENET | {"fire5": "features.7"}),
    "torchvision-alexnet": Case(95, ALEXNET),
    "torchvision-mobilenet_v3_small": Case(64, V3),
    "timm-mobilenetv3_small_100": Case(64, TIMM_V3),
    "timm-tf_mobilenetv3_small_100": Case(64, TIMM_V3),
    "torchvision-mobilenet_v2": Case(64, V2),
    "timm-mobilenetv2_100": Case(64, TIMM),
    "torchvision-efficientnet_b0": Case(64, EFFICIENT),
    "timm-efficientnet_b0": Case(64, TIMM),
    "timm-tf_efficientnet_b0": Case(64, TIMM),
    "torchvision-efficientnet_v2_s": Case(64, EFFICIENT, gain=1),
    "timm-tf_efficientnetv2_s": Case(64, TIMM, HALF, HALF, gain=1),
    "torchvision-densenet121": Case(64, DENSE),
    "torchvision-inception_v3": Case(75, INCEPTION, HALF, HALF),
    # Small kernels, whose epsilon shows.
    "timm-bit_r50x1": Case(64, BIT, HALF, HALF, gain=1e-4),
    "google-bit_r50x1": Case(64, BIT, HALF, HALF, gain=1e-4),
    "timm-darknet53": Case(64, DARKNET),
    # Small values, whose epsilon shows.
    "darknet-darknet53": Case(64, DARKNET, (0, 0, 0), (1, 1, 1), gain=1.5e-6),
    "detector-resnet50": Case(64, DETECTOR, gain=1.5e-4),
    "gray-densenet121": Case(64, DENSE, (0.5,), (1 / 2048,), gain=1),
    "timm-inception_v3": Case(75, INCEPTION | {"pool": "<fc"}, HALF, HALF),
}
NAMES = (
    *(f"torchvision-resnet{n}" for n in (18, 34, 50, 101, 152)),
    *(f"torchvision-vgg{n}" for n in ("16", "16_bn", "19", "19_bn")),
    "torchvision-squeezenet1_0",
    "torchvision-squeezenet1_1",
    "torchvision-alexnet",
    "torchvision-mobilenet_v2",
    "torchvision-mobilenet_v3_small",
    "torchvision-mobilenet_v3_large",
    *(f"torchvision-efficientnet_b{i}" for i in range(8)),
    "torchvision-efficientnet_v2_s",
    "torchvision-efficientnet_v2_m",
    *(f"torchvision-densenet{n}" for n in (121, 169, 201)),
    "timm-resnet50",
    "timm-vgg16_bn",
    "timm-mobilenetv2_100",
    *(
        f"timm-{form}mobilenetv3_{size}_100"
        for form in ("", "tf_")
        for size in ("small", "large")
    ),
    "timm-efficientnet_b0",
    *(f"timm-tf_efficientnet_b{i}" for i in range(8)),
    "timm-tf_efficientnetv2_s",
    "timm-tf_efficientnetv2_m",
    "timm-densenet121",
    "torchvision-inception_v3",
    "timm-inception_v3",
    *("timm-bit_r50x1", "timm-bit_r101x1", "google-bit_r50x1"),
    *("timm-darknet53", "darknet-darknet53", "detector-resnet50"),
    "gray-densenet121",
)
# timm's names of what has another one here.
TIMM_NAMES = {
    "bit_r50x1": "resnetv2_50x1_bit",
    "bit_r101x1": "resnetv2_101x1_bit",
}
GOOGLE_EPSILON = 1e-10  # of standardized kernels, where timm has 1e-8


def make_network(name: str) -> torch.nn.Module:
    """Returns the network of LAYOUT-NAME, untrained."""
    library, _, network = name.partition("-")
    if library in ("timm", "google", "darknet"):
        network = TIMM_NAMES.get(network, network)
        made = timm.create_model(network, num_classes=1000).eval()
        for module in made.modules():
            if library == "google" and isinstance(module, timm.layers.StdConv2d):
                module.eps = GOOGLE_EPSILON
            if library == "darknet" and isinstance(module, torch.nn.BatchNorm2d):
                module.forward = functools.partial(darknet_norm, module)
        return made
    if library == "detector":  # as its first weights are loaded
        body = detection.backbone_utils.resnet_fpn_backbone(
            backbone_name=network,
            weights=None,
            norm_layer=torchvision.ops.FrozenBatchNorm2d,
        )
        made = detection.FasterRCNN(body, num_classes=91).eval()
        detection._utils.overwrite_eps(made, 0.0)
        return made
    if library == "gray":  # as torchxrayvision has it
        made = torchvision.models.get_model(network, weights=None, num_classes=18)
        made.features.conv0 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        return made.eval()
    options = {"init_weights": False} if network == "inception_v3" else {}
    return torchvision.models.get_model(network, weights=None, **options).eval()


def run(network: torch.nn.Module, case: Case) -> dict[str, np.ndarray]:
    """Returns samples of every output, channels last."""
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str, given: bool):
        def hook(module, inputs, output):
            output = inputs[0] if given else output
            if output.ndim == 4:
                output = output.permute(0, 2, 3, 1)
            if name == "pool" and output.ndim == 4:
                output = output.mean((1, 2))
            # The first time: some modules are used again.
            outputs.setdefault(name, drawing.sample(output.detach().numpy().copy()))

        return hook

    for name, module in case.modules.items():
        hook = keep(name, module.startswith("<"))
        network.get_submodule(module.lstrip("<")).register_forward_hook(hook)
    images = drawing.draw_images(case.size).astype(np.float32) / 255
    images = images[..., : len(case.mean)]
    images = (images - np.float32(case.mean)) / np.float32(case.std)
    if hasattr(network, "roi_heads"):
        network = network.get_submodule(BODY)
    with torch.inference_mode():
        network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return outputs


def name_for_google(network: torch.nn.Module) -> dict[str, str]:
    """Returns timm's name of each tensor of a BiT by that in Google's file."""
    names = {"stem.conv": "root_block/standardized_conv2d", "norm": "group_norm"}
    names |= {"head.fc": "head/conv2d"}
    for i, stage in enumerate(network.stages):
        for j in range(len(stage.blocks)):
            theirs, unit = f"stages.{i}.blocks.{j}", f"block{i + 1}/unit{j + 1:02d}"
            names[f"{theirs}.downsample.conv"] = f"{unit}/a/proj/standardized_conv2d"
            for n, part in enumerate("abc", start=1):
                names[f"{theirs}.norm{n}"] = f"{unit}/{part}/group_norm"
                names[f"{theirs}.conv{n}"] = f"{unit}/{part}/standardized_conv2d"
    named = {}
    for key in network.state_dict():
        module, _, leaf = key.rpartition(".")
        leaves = {"weight": "kernel", "bias": "bias"}
        if "norm" in module:
            leaves = {"weight": "gamma", "bias": "beta"}
        named[f"resnet/{names[module]}/{leaves[leaf]}"] = key
    return named


def name_for_darknet(network: torch.nn.Module) -> dict[str, str]:
    """Returns timm's name of each tensor of Darknet-53, in the order of its file."""
    leaves = {"beta": "bn.bias", "gamma": "bn.weight", "mean": "bn.running_mean"}
    leaves |= {"var": "bn.running_var", "kernel": "conv.weight"}
    convs = [
        name
        for name, module in network.named_modules()
        if isinstance(module, timm.layers.ConvNormAct)
    ]
    return {
        f"conv{i}.{ours}": f"{conv}.{theirs}"
        for i, conv in enumerate(convs)
        for ours, theirs in leaves.items()
    } | {"classifier.bias": "head.fc.bias", "classifier.kernel": "head.fc.weight"}


def tensor_shapes(name: str, network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes of the tensors in the file of LAYOUT-NAME."""
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if name.startswith("google-"):
        named = {new: shapes[key] for new, key in name_for_google(network).items()}
        return {  # HWIO
            key: (*shape[2:], shape[1], shape[0]) if len(shape) == 4 else shape
            for key, shape in named.items()
        }
    if name.startswith("darknet-"):
        named = {new: shapes[key] for new, key in name_for_darknet(network).items()}
        return named | {"classifier.kernel": (*named["classifier.kernel"], 1, 1)}
    return shapes


def load_tensors(
    name: str, network: torch.nn.Module, tensors: dict[str, np.ndarray]
) -> None:
    """Sets all weights of a network from the tensors of the file of LAYOUT-NAME."""
    if name.startswith("google-"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights.npz")
            np.savez(path, **tensors)
            network.load_pretrained(str(path))
        return
    state = {key: torch.from_numpy(np.asarray(a)) for key, a in tensors.items()}
    if name.startswith("darknet-"):
        names = name_for_darknet(network)
        state = {names[key]: value for key, value in state.items()}
        state["head.fc.weight"] = state["head.fc.weight"].flatten(1)
        network.load_state_dict(state, strict=False)  # without counts of batches
        return
    network.load_state_dict(state)


def darknet_norm(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Normalizes as Darknet's normalize_cpu does, and then activates."""
    mean, deviation, gamma, beta = (
        values.reshape(1, -1, 1, 1)
        for values in (norm.running_mean, norm.running_var**0.5, norm.weight, norm.bias)
    )
    x = (x - mean) / (deviation + 0.000001) * gamma + beta
    return torch.nn.functional.leaky_relu(x, 0.1)


def main(names: list[str]) -> None:
    """Writes the files of these names; of all, if there are none."""
    for name in names or NAMES:
        network = make_network(name)
        shapes = tensor_shapes(name, network)
        outputs: dict[str, np.ndarray] = {}
        if name in CASES:
            case = CASES[name]
            load_tensors(
                name,
                network,
                {
                    key: drawing.draw_tensor(key, shape, case.gain)
                    for key, shape in shapes.items()
                },
            )
            outputs = run(network, case)
            outputs["size"] = np.array(case.size)
            outputs["gain"] = np.array(case.gain)
        listed = [[key, list(shape)] for key, shape in shapes.items()]
        text = np.frombuffer(json.dumps(listed).encode(), np.uint8)
        np.savez_compressed(HERE / f"{name}.npz", tensors=text, **outputs)


if __name__ == "__main__":
    main(sys.argv[1:])
