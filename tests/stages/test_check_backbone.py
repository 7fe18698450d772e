"""The self-test of a checkpoint finds what is wrong with it, and nothing else."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.cli.app import run_command
from tl_pipeline.digest import canonical_json
from tl_pipeline.errors import RequestError
from tl_pipeline.stages.check_backbone import check_backbone


def check(arrays: dict[str, np.ndarray], folder: Path, **options: Any) -> Any:
    save_file(arrays, folder / "w.safetensors")
    return check_backbone("digits_cnn", weights=folder / "w.safetensors", **options)


def test_the_bundled_weights_are_fine():
    found = check_backbone("digits_cnn")
    canonical_json(found.to_json())
    assert found.fine and not found.problems and not found.notes
    assert found.tensors is not None
    assert found.tensors["file"] == found.tensors["used"] == len(load_file(BUNDLED))
    assert found.tensors["classifier"] is True
    assert list(found.features) == ["stage1", "stage2", "pool", "logits"]
    for facts in found.features.values():
        assert 0 < facts["float16"] < 1e-3 < facts["bfloat16"] < 0.1  # type: ignore


def test_every_tensor_of_a_training_is_accounted_for(tmp_path: Path):
    arrays = {f"model.{name}": array for name, array in load_file(BUNDLED).items()}
    n = len(arrays)
    arrays |= {"queue": np.ones(3), "model.norm.num_batches_tracked": np.array(3)}
    tensors = check(arrays, tmp_path).tensors
    assert (tensors["file"], tensors["used"]) == (n + 2, n)
    assert (tensors["elsewhere"], tensors["buffers"]) == (1, 1)


def test_tensors_without_a_place_and_missing_ones_fail_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arrays = load_file(BUNDLED)
    arrays["stages.0.conv3.kernel"] = arrays.pop("stages.0.conv1.kernel")
    found = check(arrays, tmp_path)
    assert not found.fine and "1 are missing" in found.problems[0]
    argv = ["backbone", "check", "digits_cnn", "--weights"]
    assert run_command([*argv, str(tmp_path / "w.safetensors"), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["fine"] is False
    assert "stages.0.conv3.kernel" in said.err
    assert run_command([*argv, str(tmp_path / "none.safetensors")]) == 2


def test_features_that_overflow_fail_it(tmp_path: Path):
    arrays = load_file(BUNDLED)
    for name in arrays:
        if name.endswith("kernel"):
            arrays[name] *= 1e15
    found = check(arrays, tmp_path)
    assert not found.fine
    assert any("pool is not finite" in problem for problem in found.problems)


def test_features_beyond_float16_are_noted(tmp_path: Path):
    arrays = load_file(BUNDLED)
    arrays["classifier.kernel"] *= 1e6
    found = check(arrays, tmp_path)
    assert found.fine and found.features["logits"]["float16"] is None
    assert "logits reaches" in found.notes[0] and "65,504" in found.notes[0]


MIXER = """
import tl_pipeline as tl
from flax import nnx

class Mixer(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(3, 8, rngs=rngs)

    def __call__(self, x):
        mean = x.mean((1, 2))
        return {"pool": self.layer(mean - mean.mean(0))}

def make(rngs):
    how = tl.ImagePreprocess(color="rgb", resize="exact", resize_size=None,
        size=(16, 16), interpolation="bilinear", scale=1 / 255, mean=(0.0,) * 3,
        std=(1.0,) * 3)
    return tl.OwnBackbone(Mixer(rngs), {"pool": (8,)}, how)
"""


def test_rows_that_depend_on_their_batch_fail_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mixer_of_rows.py").write_text(MIXER)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    found = check_backbone("mixer_of_rows:make", weights="random:0")
    assert not found.fine and "pool of a batch differs by" in found.problems[0]
    assert found.tensors is None


def test_pixels_have_nothing_to_check():
    with pytest.raises(RequestError, match="pixels: it has no weights to check"):
        check_backbone("pixels")


def test_heads_are_compared_on_labeled_data():
    found = check_backbone("digits_cnn", data="builtin:digits-shifted").data
    assert found is not None
    head = found["head"]
    assert head["feature"] == "pool"  # type: ignore[index]
    for kind in ("float32", "float16", "bfloat16"):
        assert 90 < head[kind] < 100  # type: ignore[index,operator]
    assert found["top1"] is None


def test_a_real_classifier_is_scored_beside_its_published_figure(
    realdata: Path, tmp_path: Path
):
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    (tmp_path / name).symlink_to(realdata / "weights/mobilenet_v2_imagenet_keras.h5")
    photos = realdata / "images/hymenoptera/val"
    for folder, label, other in (("ants", "n02219486", "x"), ("bees", "309", "y")):
        for home in (tmp_path / "named" / label, tmp_path / "unnamed" / other):
            home.mkdir(parents=True)
            for photo in sorted((photos / folder).iterdir())[:25]:
                shutil.copy(photo, home)
    options = {"weights": tmp_path / name}
    report = check_backbone("mobilenet_v2", data=tmp_path / "named", **options)
    found: Any = report.data
    assert report.fine and found["examples"] == 50
    # All of ImageNet has 71.3; ants and bees alone are easier.
    assert found["published"]["top1"] == 71.3
    assert 65 < found["top1"] < 90 < found["top5"] < 100
    assert abs(found["top1"] - found["top1_bfloat16"]) <= 4
    assert found["head"]["float32"] > 90
    unnamed = check_backbone("mobilenet_v2", data=tmp_path / "unnamed", **options)
    assert unnamed.data is not None and unnamed.data["top1"] is None
    assert "none of the labels (x, y)" in unnamed.notes[-1]
