from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.weights.tensors import Tensors
from tl_pipeline.weights.unwrap import apply_view, list_views


def prefixes(*names: str) -> list[str]:
    return [view.prefix for view in list_views(names)]


def test_averaged_weights_come_before_what_they_average():
    order = ["", "model_ema.", "model_ema.module.", "model.", "teacher.", "student."]
    names = ["student.a", "model.a", "teacher.a", "model_ema.module.a"]
    assert prefixes(*names) == order


def test_only_words_before_the_first_other_word_are_taken_off():
    assert prefixes("layer1.module.conv.weight") == [""]
    assert prefixes("state_dict.model.backbone.layer1.conv.weight") == [
        *("", "state_dict.", "state_dict.model.", "state_dict.model.backbone.")
    ]


def test_a_tensor_keeps_a_name():
    assert prefixes("model", "encoder.model") == ["", "encoder."]


def test_what_stands_elsewhere_is_left_out_and_counted():
    names = ["backbone.conv.weight", "backbone.bn.weight", "head.mlp.0.weight", "queue"]
    _, view = list_views(names)
    assert (view.prefix, view.n_left_out) == ("backbone.", 2)
    assert view.sources == {
        "conv.weight": "backbone.conv.weight",
        "bn.weight": "backbone.bn.weight",
    }


@pytest.mark.parametrize(
    ("word", "kept"), [("encoder_q", False), ("base_encoder", False), ("model", True)]
)
def test_a_projection_is_no_classifier(word, kept):
    view = list_views([f"module.{word}.{n}.weight" for n in ("conv1", "fc.0", "fc")])
    found = set(next(v for v in view if v.prefix == f"module.{word}.").sources)
    assert found == {"conv1.weight"} | ({"fc.0.weight", "fc.weight"} if kept else set())


def test_buffers_are_in_no_view():
    names = ["bn.weight", "bn.num_batches_tracked", "embeddings.position_ids"]
    (view,) = list_views([*names, "blocks.0.attn.relative_position_index"])
    assert view.sources == {"bn.weight": "bn.weight"}
    assert view.n_left_out == 0


def test_many_words_give_a_bounded_number_of_views():
    words = ("model", "module", "net", "ema", "teacher", "student", "encoder")
    names = [f"{a}.{b}.{c}.x" for a in words for b in words for c in words]
    assert len(list_views(names)) == 64


def test_a_view_gives_the_files_tensors_under_its_names():
    arrays = {"module.a": np.ones(2), "step": np.zeros(1)}
    tensors = Tensors(Path("w.pth"), "torch", "", arrays, {})
    seen = apply_view(tensors, list_views(arrays)[1]).arrays
    assert list(seen) == ["a"] and len(seen) == 1 and "step" not in seen
    assert seen["a"] is arrays["module.a"]
