"""Which task a snapshot's targets are, and how they are encoded for it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tl_pipeline.errors import DatasetError, RequestError
from tl_pipeline.examples import Examples
from tl_pipeline.stages.labels import make_labels, read_slices

Texts = Sequence[str | None]


def make_examples(targets: Texts, columns: Mapping[str, Texts] | None = None):
    n = len(targets)
    content = np.arange(n, dtype=np.uint8)[:, None].repeat(32, axis=1)
    further = {name: tuple(column) for name, column in sorted((columns or {}).items())}
    return Examples(
        "birds",
        tuple(f"{i:02d}" for i in range(n)),
        content,
        tuple(targets),
        ("train",) * n,
        (None,) * n,
        further,
    )


@pytest.mark.parametrize(
    ("targets", "kind", "names"),
    [
        (["b", "a", None], "binary", ("a", "b")),
        (["b", "a", "c"], "multiclass", ("a", "b", "c")),
        (["1", "0", "1"], "binary", ("0", "1")),
        (["10", "9", "2"], "multiclass", ("2", "9", "10")),
        (["0.5", "2", None], "regression", ("target",)),
        (["0.5", "2", "none"], "multiclass", ("0.5", "2", "none")),
        (["Yes", "yes", "no"], "multiclass", ("Yes", "no", "yes")),
    ],
)
def test_the_targets_say_which_task_it_is(targets, kind, names):
    labels = make_labels(make_examples(targets))
    assert (labels.task.kind, labels.task.names) == (kind, names)
    assert labels.known.tolist() == [target is not None for target in targets]


def test_columns_of_yes_and_no_are_labels_and_columns_of_numbers_numbers():
    columns = {
        "wing": ["1", "0", None],
        "leg": ["yes", None, None],
        "n": ["1", "2", "3"],
    }
    examples = make_examples(["a"] * 3, columns)
    labels = make_labels(examples, targets=["wing", "leg"])
    assert labels.task.kind == "multilabel" and labels.task.names == ("wing", "leg")
    assert labels.known.tolist() == [True, True, False]
    assert make_labels(examples, targets=["n", "wing"]).task.kind == "regression"
    assert make_labels(examples, targets=["wing"]).task.kind == "binary"
    asked = make_labels(examples, targets=["wing"], task="multilabel")
    assert asked.task.names == ("wing",)
    numbers = make_labels(examples, targets=["n"], task="regression")
    np.testing.assert_array_equal(numbers.targets, [[1], [2], [3]])


def test_weights_count_one_where_they_are_missing():
    examples = make_examples(["a", "b", "a"], {"w": ["0.5", None, "3"]})
    weight = make_labels(examples, weight="w").weight
    assert weight is not None and weight.tolist() == [0.5, 1, 3]


@pytest.mark.parametrize("text", ["-1", "much", "nan", "inf"])
def test_a_weight_that_cannot_be_is_named_with_its_example(text):
    examples = make_examples(["a", "b"], {"w": ["1", text]})
    with pytest.raises(DatasetError, match=f"'w' of birds: 01 has '{text}'"):
        make_labels(examples, weight="w")


def test_what_does_not_fit_is_one_sentence():
    examples = make_examples(["a", "b", "c"], {"w": ["x", "y", "z"], "v": ["1"] * 3})
    with pytest.raises(RequestError, match="column 'q' of birds.* it has v, w"):
        make_labels(examples, targets=["q"])
    with pytest.raises(DatasetError, match="classes of birds in 2 columns"):
        make_labels(examples, targets=["w", "v"])
    with pytest.raises(DatasetError, match="binary task on birds: .* 3 classes"):
        make_labels(examples, task="binary")
    with pytest.raises(DatasetError, match="numbers in the target 'target' .* 'a'"):
        make_labels(examples, task="regression")


def test_slices_are_the_columns_named_and_the_groups():
    examples = make_examples(["a", "b"], {"camera": ["x", None]})
    assert read_slices(examples, ["camera"]) == {"camera": ("x", None)}
    assert read_slices(examples, []) == {}
    with pytest.raises(RequestError, match="column 'lens'"):
        read_slices(examples, ["lens"])
