from typing import Any

from tl_pipeline.reporting.summary import (
    describe_extract,
    describe_store,
    describe_train,
)


def test_an_extraction_is_told_with_what_was_odd(summary: dict[str, Any]):
    lines = describe_extract(summary["extract"])
    assert lines[0] == (
        "Extracted pool of insects, 398 examples: reused 380, computed 12, "
        "duplicate 2, failed 4, saved about 41 min; took 1.2 s."
    )
    assert "  augmented views of training examples: computed 96" in lines
    assert "  baseline pixels: computed 12" in lines
    assert "  live check: 8 rows, largest difference 1.5e-07 of 0.0001 allowed" in lines
    assert "  merged 34 small shards" in lines
    assert "  failed: bees/0.jpg: truncated" in lines
    assert "  same bytes, other targets: ants/1.jpg, bees/1.jpg" in lines


def test_a_long_list_is_cut_and_an_id_cannot_act_on_the_terminal(
    summary: dict[str, Any],
):
    extract = summary["extract"]
    extract["failures"] = [{"id": "\x1b[2J", "reason": "a\nb"}] * 7
    extract["notes"] = ["a folder named \x1b[2J"]
    extract["dataset"] = "\x1b[2J"
    text = "\n".join(describe_extract(extract))
    assert "\x1b" not in text
    assert "  failed: \\x1b[2J: a\\nb" in text
    assert "  failed: and 2 more" in text


def test_a_training_is_told_with_its_choice_and_its_verdict(summary: dict[str, Any]):
    lines = describe_train(summary["train"])
    assert lines[0] == "Trained 3 heads on 206 train, 39 val, 153 test in 3.0 s."
    assert "L2 0.1 (scikit-learn's C = 0.05)" in lines[1]
    assert (
        "  accuracy  0.900 (95 % 0.850 to 0.950)  0.875 (95 % 0.825 to 0.925)" in lines
    )
    assert "  random:0     pool     1,280    0.550  0.275 ± 0.020" in lines
    assert "Transfer: positive, +27.5 points over raw pixels" in lines
    assert lines[-1] == "report runs/insects-1/report.html"
    summary["train"]["chosen"]["settings"]["views"] = 8
    told = describe_train(summary["train"])[1]
    assert told.startswith("linear on pool and 8 augmented views, L2 0.1 (")


def test_a_run_found_again_says_so(summary: dict[str, Any]):
    again = summary["train"] | {"reused": True, "transfer": None, "comparison": []}
    lines = describe_train(again)
    assert lines[0] == "Found the same run again in 3.0 s: nothing to train."
    assert not any("Transfer" in line for line in lines)


def test_a_store_is_told_whole(summary: dict[str, Any]):
    facts = {
        "path": "stores/x",
        "digest": "5" * 64,
        "spec": {"backbone": "toy"},
        "shards": [{"name": f"{i:06d}", "rows": 1000, "spec": {}} for i in range(25)],
        "failures": [],
    }
    lines = describe_store(facts)
    assert lines[0] == "stores/x"
    assert f"digest: {'5' * 12}…" in lines
    assert "  backbone: toy" in lines
    assert "  000019  1,000" in lines
    assert "  and 5 more" in lines
    assert "failures: -" in lines
