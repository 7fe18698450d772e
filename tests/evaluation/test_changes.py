import dataclasses

import numpy as np
import pytest

from tl_pipeline.evaluation.changes import Changes, compare_examples
from tl_pipeline.examples import Examples

Row = tuple[str, int, str | None, str]  # id, content, target, split


def table(*rows: Row) -> Examples:
    ids, contents, targets, splits = zip(*sorted(rows), strict=True)
    content = np.repeat(np.array(contents, np.uint8)[:, None], 32, axis=1)
    return Examples("photos", ids, content, targets, splits, (None,) * len(rows))


OLD = table(
    ("ants/1", 1, "ants", "train"),
    ("ants/2", 2, "ants", "val"),
    ("bees/3", 3, "bees", "test"),
)


def test_a_table_equals_itself():
    assert compare_examples(OLD, OLD) == Changes(3, (), (), (), (), (), ())


def test_each_kind_of_change_is_told_apart():
    new = table(
        ("ants/1", 1, "formicidae", "train"),  # relabeled
        ("ants/2", 9, "ants", "test"),  # other content, and with it another split
        ("wasps/4", 4, "wasps", "train"),  # added; bees/3 is removed
    )
    assert compare_examples(OLD, new) == Changes(
        unchanged=0,
        added=("wasps/4",),
        removed=("bees/3",),
        changed=("ants/2",),
        renamed=(),
        relabeled=(("ants/1", "ants", "formicidae"),),
        moved=(("ants/2", "val", "test"),),
    )


def test_a_file_moved_to_another_class_folder_is_renamed_and_relabeled():
    rows = [
        ("ants/1", 1, "ants", "train"),
        ("ants/2", 2, "ants", "val"),
        ("ants/3", 3, "ants", "test"),
    ]
    changes = compare_examples(OLD, table(*rows))
    assert changes.renamed == (("bees/3", "ants/3"),)
    assert changes.relabeled == (("ants/3", "bees", "ants"),)
    assert changes.added == changes.removed == ()
    assert changes.unchanged == 2


def test_of_same_bytes_each_old_id_is_paired_once():
    twins = table(("a", 7, None, "train"), ("b", 7, None, "train"))
    three = table(
        ("x", 7, None, "train"), ("y", 7, None, "train"), ("z", 7, None, "train")
    )
    changes = compare_examples(twins, three)
    assert changes.renamed == (("a", "x"), ("b", "y"))
    assert changes.added == ("z",)


@pytest.mark.parametrize("seed", range(5))
def test_every_example_is_counted_once(seed: int):
    rng = np.random.default_rng(seed)

    def drawn() -> Examples:
        ids = rng.choice(30, 20, replace=False)
        return table(*((f"{i:02d}", rng.integers(9), None, "train") for i in ids))

    old, new = drawn(), drawn()
    changes = dataclasses.asdict(compare_examples(old, new))
    n = {
        key: value if key == "unchanged" else len(value)
        for key, value in changes.items()
    }
    assert len(new) == n["unchanged"] + n["added"] + n["changed"] + n["renamed"]
    assert len(old) == n["unchanged"] + n["removed"] + n["changed"] + n["renamed"]
