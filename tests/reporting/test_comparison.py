from typing import Any

from tl_pipeline.reporting.comparison import (
    describe_comparison,
    describe_promotion,
    describe_rollback,
)


def compared(n: int = 40) -> dict[str, Any]:
    ends = {"value": 0.05, "low": -0.01, "high": 0.11}
    figures = {"n": n, "first": 0.8, "second": 0.85, "better": 4, "worse": 2}
    return figures | {"p_value": 0.6875, "difference": ends, "enough": n >= 20}


def test_a_promotion_is_told_with_its_looks_and_its_budget(summary: dict[str, Any]):
    assert describe_promotion(summary["promotion"]) == [
        "Hold: +0.4 over the current head is within noise",
        "  the gate has looked at this test split 3 times, and may promote noise at "
        "5 % over all looks together",
        "  note: the head in use does not know a\\x1bb",
        "  in use runs/insects-0",
    ]
    quiet = summary["promotion"] | {"consultations": 0, "notes": []}
    assert len(describe_promotion(quiet)) == 2


def test_two_runs_are_told_with_their_worst_slices_and_small_ones_say_nothing():
    slices = [{"slice": f"site {i}"} | compared() for i in range(11)]
    found = {
        "first": {"run": "runs/a", "test": 50},
        "second": {"run": "runs/b", "test": 1200},
        "n": 40,
        "relabeled": 3,
        "metrics": [{"metric": "accuracy"} | compared()],
        "slices": [{"slice": "few"} | compared(5), *slices],
        "notes": ["no slices"],
        "sentence": "No difference beyond noise",
    }
    lines = describe_comparison(found)
    assert "40 test examples in common, of 50 and 1,200; 3 relabeled since" in lines
    assert any("+0.050 (-0.010 to 0.110)" in line for line in lines)
    (few,) = [line for line in lines if line.startswith("  few")]
    assert "too few to say" in few and "0.050" not in few
    assert "  and 2 more" in lines
    assert lines[-3:] == ["note: no slices", "", "No difference beyond noise"]


def test_a_rollback_names_both_runs():
    lines = describe_rollback({"left": "runs/b", "current": "runs/a"})
    assert lines == ["Rolled back from runs/b.", "  in use runs/a"]
