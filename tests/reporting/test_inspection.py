from typing import Any

from tl_pipeline.reporting.inspection import (
    describe_checkup,
    describe_diff,
    describe_neighbors,
    describe_picture,
)

SIDE = {"store": "stores/x", "dataset": "photos", "snapshot": "ab" * 32, "examples": 3}
NONE: dict[str, Any] = {"count": 0, "first": []}
DRIFT: dict[str, Any] = {
    "n": [300, 310],
    "mean_shift": 0.5,
    "mean_shift_noise": 0.1,
    "frechet": 12.0,
    "frechet_noise": 3.0,
    "jumped": 2,
    "exceeds_noise": True,
}


def make_diff(**changes: Any) -> dict[str, Any]:
    nothing = {"only_a": [], "only_b": [], "other_shape": []}
    counts = ("added", "removed", "changed", "renamed", "relabeled", "moved_split")
    found: dict[str, Any] = {
        "a": SIDE,
        "b": SIDE,
        "spec": [],
        "features": nothing,
        "examples": {"unchanged": 3} | dict.fromkeys(counts, NONE),
        "classes": [],
        "drift": [],
        "skipped": [],
    }
    return found | changes


def test_what_did_not_change_is_not_listed():
    text = "\n".join(describe_diff(make_diff()))
    assert "specs: the same" in text and "3 unchanged" in text
    assert "added" not in text and "drift" not in text


def test_specs_changes_and_drift_are_told():
    relabeled = {"count": 9, "first": [{"id": "1\n.png", "a": None, "b": "bees"}] * 9}
    found = make_diff(
        spec=[{"field": "weights", "a": "f" * 64, "b": "random"}],
        classes=[{"class": "ants", "a": 1, "b": 2}, {"class": "same", "a": 5, "b": 5}],
    )
    found["examples"]["relabeled"] = relabeled
    found["drift"] = [
        {
            "feature": "pool",
            "averaged": True,
            "rows": {"a": 300, "b": 310},
            "of": {"a": 900, "b": 310},
            "overall": DRIFT,
            "classes": [{"class": "ants", **dict.fromkeys(DRIFT)}],
        }
    ]
    text = "\n".join(describe_diff(found))
    for words in (
        "weights  ffffffffffff…  random",
        r"1\n.png: - → bees",
        "and 4 more",
        "drift of pool (300 of 900 and 310 of 310 examples, rows averaged",
        "beyond noise",
        "too few rows",
        "2 dimensions constant on both sides",
    ):
        assert words in text
    assert "same " not in text.partition("examples of a class")[2].partition("drift")[0]


def test_a_store_without_anything_to_compare_is_told_in_full():
    feature = {
        "feature": "pool",
        "shape": [2, 2, 8],
        "averaged": True,
        "rows": 1,
        "of": 5,
        "dimensions": 8,
        "constant": {"count": 12, "first": list(range(12))},
        "dead": NONE,
        "norms": {
            "min": 1.0,
            "median": 1.0,
            "max": 1.0,
            "quantiles": {"0.05": 1.0, "0.95": 1.0},
        },
        "effective_rank": {"effective": 0.0, "limit": 0, "rows": 1},
        "equal_rows": {"groups": 0, "first": []},
        "near": None,
        "outliers": None,
        "suspects": {"count": None, "small": []},
    }
    same = {"groups": 1, "examples": 2, "leaks": 1, "conflicts": 0}
    groups = {"first": [["a", "b"]], "first_leaks": [["a", "b"]], "first_conflicts": []}
    found = {
        **SIDE,
        "labeled": 0,
        "splits": {"train": 3},
        "classes": {},
        "same_bytes": same | groups,
        "features": [feature],
    }
    text = "\n".join(describe_checkup(found))
    for words in (
        "1 across splits (leakage)",
        "pool [2x2x8], 1 of 5 rows, averaged over their positions",
        "constant dimensions: 12 (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...)",
        "not looked for; it takes two labeled classes",
    ):
        assert words in text
    assert text.count("a, b") == 1


def test_neighbors_and_pictures_are_told():
    one = {"id": "b.png", "target": None, "split": "val", "similarity": 0.5}
    found = one | {"feature": "pool", "rows": 2, "neighbors": [one]}
    lines = describe_neighbors(found)
    assert lines[0] == "b.png (no label, val), by pool among 2 rows:"
    assert "0.500" in lines[-1]
    assert describe_neighbors(found | {"neighbors": []})[-1] == "  no other row"
    picture = {"path": "x.png", "feature": "pool", "dataset": "photos", "rows": 5}
    picture |= {"of": 9, "method": "tsne", "color": "split", "averaged": False}
    text = "\n".join(describe_picture(picture))
    assert "5 of 9 examples by tsne" in text and "mean nothing" in text
