"""Golden cases against the networks here: the same weights drawn, outputs compared."""

import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.backbones.network import network_shapes
from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.weights.merge import TRANSFORMS, KeyRule, named_tensors
from tl_pipeline.weights.safetensors import write_safetensors

FOLDER = Path(__file__).with_name("golden")
sys.path.append(str(FOLDER))

from seeded import draw_all, draw_images, sample, unfold_names  # noqa: E402

TOLERANCE = 1e-4  # of the largest value, in float32


def load_golden(family: str) -> dict[str, Any]:
    """Returns a family's golden file."""
    return json.loads((FOLDER / f"{family}.json").read_text())


def run_case(
    case: Mapping[str, Any],
    name: str,
    path: Path,
    *,
    names: Mapping[str, Any],
    **settings,
) -> dict[str, tuple[np.ndarray, dict]]:
    """Returns ours and the oracle's of each output, from weights drawn by name.

    Args:
      case: Of the golden file.
      name: Of the backbone.
      path: Where the weights are written.
      names: The folded names of the file's tensors.
      **settings: The architecture's, but for the input size.
    """
    shapes = unfold_names(names)
    write_safetensors(path, draw_all(shapes, small=case["small"]), metadata={})
    settings = {"input_size": case["size"], **settings}
    backbone = load_backbone(name, weights=path, settings=settings)
    mean, std = case["colors"]
    assert (list(backbone.preprocess.mean), list(backbone.preprocess.std)) == (
        mean,
        std,
    )
    outputs = backbone.make_forward(list(case["outputs"]))(
        draw_images(case["size"], case["n"])
    )
    return {
        output: (np.asarray(outputs[output]), theirs)
        for output, theirs in case["outputs"].items()
    }


def check_case(outputs: Mapping[str, tuple[np.ndarray, dict]]) -> None:
    """Compares what `run_case` returned."""
    for output, (ours, theirs) in outputs.items():
        assert list(ours.shape) == theirs["shape"], output
        expected = np.float32(theirs["values"])
        assert np.std(expected) > 1e-3, f"{output} says nothing"
        difference = np.abs(sample(ours) - expected).max() / theirs["largest"]
        assert difference <= TOLERANCE, (output, difference)


@functools.cache
def parameter_shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a backbone's parameters, its classifier's too."""
    architecture = make_architecture(name)
    return network_shapes(architecture, architecture.classes)


def check_names(name: str, layout: str, names: Mapping[str, Any]) -> None:
    """Checks that a file of these names and shapes would be taken, all of it.

    No value is made: zeros of one byte stand for them.
    """
    architecture = make_architecture(name)
    wanted = dict(parameter_shapes_of(name))
    file = unfold_names(names)
    unused, unfit = set(file), {}
    for rule in (KeyRule(*rule) for rule in architecture.key_rules[layout]):
        named = named_tensors(rule, file)
        if named < {*rule.sources} or not named & unused:
            continue
        unused -= named
        if rule.target:
            parts = [
                TRANSFORMS[rule.transform](np.broadcast_to(np.int8(0), file[source]))
                for source in rule.sources
            ]
            shape = (
                np.concatenate(parts, axis=-1).shape if parts[1:] else parts[0].shape
            )
            if shape != wanted.pop(rule.target):
                unfit[rule.source] = (shape, rule.target)
    assert not unused, f"without a place: {sorted(unused)[:9]}"
    assert not wanted, f"missing from the file: {sorted(wanted)[:9]}"
    assert not unfit, f"of another shape: {unfit}"
