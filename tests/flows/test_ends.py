"""In which state a run ends, by what its steps found."""

from typing import Any

import pytest

from flows import steps

HELD = {"verdict": "hold", "sentence": "Hold: within noise."}
PROMOTED = {"verdict": "promote", "sentence": "Promote: better."}


def summary(
    *, reused: bool, tuned: list[bool] | None, promotion: dict[str, str] | None
) -> dict[str, Any]:
    rows = [{"way": "head", "reused": True}]
    rows += [{"way": str(i), "reused": one} for i, one in enumerate(tuned or [])]
    return {
        "train": {"run": "runs/a", "dataset": "a", "reused": reused, "candidates": []},
        "finetune": None if tuned is None else {"rows": rows},
        "promotion": promotion,
    }


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"reused": False, "tuned": None, "promotion": PROMOTED}, "Promoted"),
        ({"reused": False, "tuned": None, "promotion": HELD}, "Held"),
        ({"reused": False, "tuned": None, "promotion": None}, "Completed"),
        ({"reused": True, "tuned": None, "promotion": HELD}, "Unchanged"),
        ({"reused": True, "tuned": [True, True], "promotion": HELD}, "Unchanged"),
        # Heads were there, but the backbone was trained on anew.
        ({"reused": True, "tuned": [True, False], "promotion": PROMOTED}, "Promoted"),
    ],
)
def test_a_run_is_unchanged_only_where_nothing_was_trained(
    asked: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr(steps, "emit_event", lambda name, **more: told.append(name))
    drawn: list[bool] = []
    monkeypatch.setattr(
        steps, "leave_artifacts", lambda summary, *, is_new: drawn.append(is_new)
    )
    monkeypatch.setattr(steps, "record_lineage", lambda summary: None)
    assert steps.tell(summary(**asked)).name == name
    assert drawn == [name != "Unchanged"]
    verdicts = {"Promoted": ["promoted"], "Held": ["held"]}
    assert told == [f"tl-pipeline.head.{v}" for v in verdicts.get(name, [])]
