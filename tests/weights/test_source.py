from pathlib import Path

import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.source import WeightsSource, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pretrained", WeightsSource("pretrained", "pretrained")),
        ("random:12", WeightsSource("random:12", "random", seed=12)),
        ("a/w.h5", WeightsSource("a/w.h5", "file", path=Path("a/w.h5"))),
    ],
)
def test_a_source_is_a_file_pretrained_or_random(text, source):
    assert parse_source(text) == source


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "٣", str(2**64)])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(WeightsError, match=f"random:{seed}.*whole number"):
        parse_source(f"random:{seed}")


def test_a_hub_is_refused_with_what_to_do():
    with pytest.raises(WeightsError, match="'hf:a/b': .*Download the file yourself"):
        parse_source("hf:a/b")


def test_an_empty_name_is_refused():
    with pytest.raises(WeightsError, match="empty name"):
        parse_source("")
