from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.merge import LEFT_OUT, TRANSFORMS, KeyRule, merge_tensors
from tl_pipeline.weights.tensors import Tensors

RULES = (
    KeyRule("conv/kernel", "conv.kernel"),
    KeyRule("deep/depthwise_kernel", "deep.kernel", "depthwise"),
    KeyRule("deep/kernel", "deep.kernel", "depthwise"),
    KeyRule("top/kernel", "classifier.kernel"),
    KeyRule("top/bias", "classifier.bias"),
)
SHAPES = {
    "conv.kernel": (1, 1, 3, 4),
    "deep.kernel": (3, 3, 1, 4),
    "classifier.kernel": (4, 2),
    "classifier.bias": (2,),
}
TRUNK = {
    "conv/kernel": np.ones((1, 1, 3, 4), np.float16),
    "deep/kernel": np.arange(36, dtype=np.float32).reshape(3, 3, 4, 1),
}
TOP = {"top/kernel": np.ones((4, 2), np.float32), "top/bias": np.ones(2, np.float32)}


def merge(arrays):
    tensors = Tensors(Path("w.h5"), "keras-h5", "", arrays, {})
    return merge_tensors(
        tensors, rules=RULES, shapes=SHAPES, optional="classifier.", what="net"
    )


def test_every_parameter_gets_its_tensor_as_float32():
    merged = merge(TRUNK | TOP)
    assert {name: array.shape for name, array in merged.items()} == SHAPES
    assert {array.dtype for array in merged.values()} == {np.dtype(np.float32)}
    expected = TRUNK["deep/kernel"].reshape(3, 3, 1, 4)
    np.testing.assert_array_equal(merged["deep.kernel"], expected)


def test_a_tensor_may_have_another_name_in_other_files():
    renamed = {"conv/kernel": TRUNK["conv/kernel"]}
    renamed["deep/depthwise_kernel"] = TRUNK["deep/kernel"]
    assert set(merge(renamed)) == {"conv.kernel", "deep.kernel"}


def test_two_names_for_one_parameter_are_refused():
    both = TRUNK | {"deep/depthwise_kernel": TRUNK["deep/kernel"]}
    with pytest.raises(WeightsError, match=r"not in the network \(1\):\n  deep/kernel"):
        merge(both)


def test_the_classifier_may_be_absent_whole_but_not_in_part():
    assert set(merge(TRUNK)) == {"conv.kernel", "deep.kernel"}
    with pytest.raises(WeightsError, match=r"classifier.bias \[2\] \(as top/bias\)"):
        merge(TRUNK | {"top/kernel": TOP["top/kernel"]})


def test_all_mismatches_are_listed_at_once_both_ways():
    arrays = {
        "conv/kernel": np.ones((1, 1, 3, 5)),
        "other/kernel": np.ones(7),
        "top/kernel": np.full((4, 2), np.nan),
        "top/bias": TOP["top/bias"],
    }
    with pytest.raises(WeightsError) as error:
        merge(arrays)
    assert str(error.value) == (
        "Weights w.h5 do not fit net: of 4 parameters 1 are missing and 2 do not fit, "
        "and of the file's 4 tensors 1 have no place. Give weights of this very "
        "architecture and settings.\n"
        "missing from the file (1):\n"
        "  deep.kernel [3, 3, 1, 4] (as deep/depthwise_kernel)\n"
        "in the file, but not in the network (1):\n"
        "  other/kernel [7]\n"
        "of another shape or value (2):\n"
        "  conv/kernel: the file has [1, 1, 3, 5], conv.kernel wants [1, 1, 3, 4]\n"
        "  top/kernel: holds values that are not finite"
    )


def test_long_lists_are_cut():
    with pytest.raises(WeightsError, match=r"\(50\):\n(  .*\n){20}  ... and 30 more"):
        merge(TRUNK | {f"more{i}": np.ones(1) for i in range(50)})


def test_pytorch_kernels_come_with_their_outputs_last():
    conv = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    np.testing.assert_array_equal(
        TRANSFORMS["torch"](conv), np.einsum("dchw->hwcd", conv)
    )
    np.testing.assert_array_equal(TRANSFORMS["torch"](conv[0, 0]), conv[0, 0].T)
    assert TRANSFORMS["torch"](np.ones(3)).shape == (3,)


def merge_by(rules, arrays, shapes):
    tensors = Tensors(Path("w.h5"), "keras-h5", "", arrays, {})
    return merge_tensors(tensors, rules=rules, shapes=shapes)


PARTS = (KeyRule(("q", "k"), "qk", "torch"), KeyRule("text.*", LEFT_OUT))


def test_several_tensors_become_one_parameter_side_by_side():
    q, k = np.arange(6.0).reshape(3, 2), np.arange(6.0, 14).reshape(4, 2)
    merged = merge_by(PARTS, {"q": q, "k": k}, {"qk": (2, 7)})
    np.testing.assert_array_equal(merged["qk"], np.concatenate([q, k]).T)


def test_a_part_that_is_missing_leaves_the_others_without_a_place():
    with pytest.raises(WeightsError) as error:
        merge_by(PARTS, {"q": np.ones((3, 2))}, {"qk": (2, 7)})
    message = str(error.value)
    assert "missing from the file (1):\n  qk [2, 7] (as q, k)" in message
    assert "not in the network (1):\n  q [3, 2]" in message


def test_parts_that_do_not_fit_each_other_are_told():
    arrays = {"q": np.ones((3, 2)), "k": np.ones((4, 5))}
    with pytest.raises(WeightsError, match=r"q, k: the file has .* qk wants \[2, 7\]"):
        merge_by(PARTS, arrays, {"qk": (2, 7)})


def test_what_the_network_has_no_use_for_may_be_left_out_by_name_alone():
    arrays = {"q": np.ones((3, 2)), "k": np.ones((4, 2)), "text.deep.a": np.ones(3)}
    assert set(merge_by(PARTS, arrays, {"qk": (2, 7)})) == {"qk"}
    with pytest.raises(WeightsError, match=r"not in the network \(1\):\n  texts"):
        merge_by(PARTS, arrays | {"texts": np.ones(1)}, {"qk": (2, 7)})


def test_heads_and_rows_are_folded():
    kernel = np.arange(24).reshape(4, 2, 3)
    np.testing.assert_array_equal(TRANSFORMS["to-heads"](kernel), kernel.reshape(4, 6))
    bias = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(TRANSFORMS["to-heads"](bias), np.arange(6))
    np.testing.assert_array_equal(TRANSFORMS["rows"](kernel), kernel.reshape(8, 3))
    after = TRANSFORMS["rows-after-zero"](kernel[:1])
    np.testing.assert_array_equal(after, [[0, 0, 0], [0, 1, 2], [3, 4, 5]])


def test_a_dense_layer_on_an_image_is_spread_as_its_framework_flattens():
    kernel = np.random.default_rng(0).standard_normal((7, 7, 3, 5))
    rows_first = kernel.reshape(-1, 5)
    channels_first = kernel.transpose(3, 2, 0, 1).reshape(5, -1)
    np.testing.assert_array_equal(TRANSFORMS["flat-7x7"](rows_first), kernel)
    np.testing.assert_array_equal(TRANSFORMS["torch-flat-7x7"](channels_first), kernel)


def test_a_convolution_of_one_pixel_is_a_matrix():
    kernel = np.random.default_rng(0).standard_normal((1, 1, 3, 5))
    np.testing.assert_array_equal(TRANSFORMS["pixel"](kernel), kernel[0, 0])
    theirs = kernel.transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(TRANSFORMS["torch-pixel"](theirs), kernel[0, 0])


def test_a_tensor_of_no_use_may_be_there_or_not():
    unused = (*RULES, KeyRule("norm.num_batches_tracked", ""))
    for arrays in (TRUNK, TRUNK | {"norm.num_batches_tracked": np.array(7)}):
        tensors = Tensors(Path("w.h5"), "torch", "", arrays, {})
        merged = merge_tensors(
            tensors, rules=unused, shapes=SHAPES, optional="classifier."
        )
        assert set(merged) == {"conv.kernel", "deep.kernel"}
