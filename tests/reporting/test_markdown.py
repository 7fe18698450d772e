from typing import Any

from tl_pipeline.reporting.markdown import make_markdown


def test_the_summary_is_a_page_of_markdown(summary: dict[str, Any]):
    page = make_markdown(summary)
    assert page.startswith("# insects\n\nTransfer: positive, +27.5 points over")
    assert "Since the last run: 12 added, 3 relabeled.\n\nDrift: 12 new" in page
    assert "Dropped 2 snapshots, 1,200 rows and 1 run." in page
    assert "| accuracy | 0.875 (95 % 0.825 to 0.925) |\n| log_loss |" in page
    assert "| toy | pool | 1,280 | 0.875 | 0.438 ± 0.020 |" in page
    assert "\n\nHold: +0.4 over the current head is within noise\n\n" in page
    assert "| bees/0.jpg | truncated |" in page
    assert page.endswith("Store `stores/toy-555555555555`, run `runs/insects-1`.")


def test_an_id_stays_in_its_cell_and_is_no_markup(summary: dict[str, Any]):
    evil = {"id": "a|b <img src=x> [x](y) *z* _z_ in_word", "reason": "x\ny"}
    summary["extract"]["failures"] = [evil]
    page = make_markdown(summary)
    assert r"| a\|b \<img src=x\> \[x\](y) \*z\* \_z\_ in_word | x\\ny |" in page


def test_without_baselines_there_is_no_verdict_and_no_table(summary: dict[str, Any]):
    summary["train"] |= {"transfer": None, "comparison": []}
    summary |= {"promotion": None, "drift": None, "retention": None}
    summary["extract"]["changes"] = None
    page = make_markdown(summary)
    assert "\n\nTrained\n\n" in page
    assert "pixels" not in page and "Hold" not in page
