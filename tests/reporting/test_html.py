import html.parser
import re
from typing import Any

import pytest

from tl_pipeline.reporting.html import make_report

EVIL = """<script src="//evil.example/x.js"></script>"'><img onerror=alert(1)>&$title"""


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and collects tags, attributes and text."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def poison(value: Any) -> Any:
    """Puts markup in place of every text and every name that data can choose."""
    if isinstance(value, dict):
        fixed = {"verdict"}
        return {k: v if k in fixed else poison(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [poison(item) for item in value]
    return value + EVIL if isinstance(value, str) else value


def test_the_page_nests_and_fetches_nothing(report: dict[str, Any]):
    page = make_report(**report)
    parsed = Page(page)
    fetching = {"src", "href", "srcset", "data", "action", "poster", "background"}
    for tag, attributes in parsed.tags:
        assert tag not in {"script", "link", "iframe", "object", "img", "base", "form"}
        assert not fetching & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        assert "//" not in "".join(str(value) for value in attributes.values())
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|//", style)
    # A browser would refuse it besides.
    assert "default-src 'none'" in page
    assert "https://example.org/toy.safetensors" in parsed.text  # told, not linked


@pytest.mark.parametrize("n_classes", [2, 40])
def test_nothing_from_data_becomes_markup(report: dict[str, Any], n_classes: int):
    metrics = report["metrics"]
    metrics["classes"] = [f"class {i}" for i in range(n_classes)]
    metrics["confusion"] = [
        [i, j, 9 if i == j else 1] for j in range(n_classes) for i in range(n_classes)
    ]
    clean, poisoned = Page(make_report(**report)), Page(make_report(**poison(report)))
    assert poisoned.names() == clean.names()
    assert [tag for tag, _ in poisoned.tags] == [tag for tag, _ in clean.tags]
    for (_, ours), (_, theirs) in zip(clean.tags, poisoned.tags, strict=True):
        assert ours.keys() == theirs.keys()
    for place in ("class 0", "bees/0.jpg", "truncated", "val/ants/7.jpg", "insects"):
        assert place + EVIL in poisoned.text


def test_the_page_tells_what_a_reader_asks(report: dict[str, Any]):
    text = re.sub(r"[ \n]+", " ", Page(make_report(**report)).text)
    for told in (
        "insects with toy",
        "87.5\u202f%",
        "82.5 to 92.5",
        "Transfer: positive, +27.5 points over raw pixels.",
        "3, from 0.001 to 10",  # the strengths asked for
        "C 0.05, L2 0.1",  # the chosen one
        "All 3 heads",
        "0.438 ± 0.020",  # few-shot
        "+19.5 to +35.5",  # the gain's interval
        "1 of 153 test examples",
        "206 train, 39 val, 153 test",
        "8 rows computed anew",
        "about 41 min",
        "Same bytes, other targets: ants/1.jpg, bees/1.jpg",
        "weights: source datasetImageNet-1k",
        "weights: licensenot recorded",
        "e" * 64,
        "jax 0.10.2",
        "size [224, 224]",
    ):
        assert told in text, told
    assert "random: nothing" not in text
    assert "\\n" not in text


def test_the_verdict_colors_the_top(report: dict[str, Any]):
    for verdict in ("positive", "none", "negative"):
        report["metrics"]["transfer"]["verdict"] = verdict
        assert ("div", {"class": f"top {verdict}"}) in Page(make_report(**report)).tags


def test_the_chosen_head_is_the_one_set_apart(report: dict[str, Any]):
    page = make_report(**report)
    heads = page[page.index("All 3 heads") :]
    marked = heads[heads.index('<tr class="marked">') :].split("</tr>")[0]
    assert 'class="number">0.1<' in marked  # the second of the three strengths
    assert "chosen" in marked


def test_random_weights_are_never_passed_over(report: dict[str, Any]):
    report["provenance"]["weights"] = "random:0"
    assert "weights are random" in Page(make_report(**report)).text


def test_a_run_without_baselines_extraction_or_mistakes_has_a_page(
    report: dict[str, Any],
):
    report["metrics"] |= {"transfer": None, "comparison": []}
    report["provenance"] |= {"extraction": None, "weights_origin": None}
    report["asked"] |= {"baselines": [], "shots": []}
    report["mistakes"] = []
    parsed = Page(make_report(**report))
    assert "Transfer: not judged, no baseline was asked for." in parsed.text
    assert "0 of 153 test examples are predicted wrongly." in parsed.text
    assert "Did transfer help" not in parsed.text
    assert "odd ones" not in parsed.text


def test_a_kind_of_head_without_a_strength_is_listed(report: dict[str, Any]):
    knn = {"kind": "knn", "feature": "pool", "accuracy": 0.8, "log_loss": 0.5}
    report["metrics"]["candidates"].append(knn | {"converged": True, "chosen": False})
    assert "knn" in Page(make_report(**report)).text
    report["metrics"]["candidates"] = [knn | {"converged": True, "chosen": True}]
    parsed = Page(make_report(**report))
    assert "All 1 head" in parsed.text
    assert "Log loss where heads are chosen" not in parsed.text


def test_many_classes_and_failures_are_summed_up(report: dict[str, Any]):
    n = 100
    metrics = report["metrics"]
    metrics["classes"] = [f"class {i}" for i in range(n)]
    metrics["confusion"] = [*([i, i, 50] for i in range(n)), [41, 17, 9]]
    report["provenance"]["extraction"]["failures"] *= 10
    parsed = Page(make_report(**report))
    assert "class 41class 1790.153" in parsed.text  # target, predicted, 9, its share
    assert "20 hardest of 100 classes" in parsed.text
    assert "and 20 more failures" in parsed.text
    assert len([tag for tag, _ in parsed.tags if tag == "td"]) < 400
