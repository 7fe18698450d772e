from pathlib import Path

import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.source import HubName, WeightsSource, parse_source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pretrained", WeightsSource("pretrained", "pretrained")),
        ("random:12", WeightsSource("random:12", "random", seed=12)),
        ("hf:a/b", WeightsSource("hf:a/b", "hub", hub=HubName("a/b"))),
        (
            "hf:a/b.c@v1/x:d/w.bin",
            WeightsSource(
                "hf:a/b.c@v1/x:d/w.bin", "hub", hub=HubName("a/b.c", "v1/x", "d/w.bin")
            ),
        ),
        ("a/w.h5", WeightsSource("a/w.h5", "file", path=Path("a/w.h5"))),
    ],
)
def test_a_source_is_a_file_pretrained_a_hubs_or_random(text, source):
    assert parse_source(text) == source


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "٣", str(2**64)])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(WeightsError, match=f"random:{seed}.*whole number"):
        parse_source(f"random:{seed}")


@pytest.mark.parametrize("name", ["", "a", "a/b/c", "a/b@", "a/b:../x", "-a/b", "a/é"])
def test_what_names_no_repository_is_refused(name):
    with pytest.raises(WeightsError, match=r"no repository of the hub. Write hf:OWNER"):
        parse_source(f"hf:{name}")


def test_a_name_on_the_hub_is_said_as_it_was_given():
    for text in ("hf:a/b", "hf:a/b@v1", "hf:a/b:w.bin", "hf:a/b@v1:w.bin"):
        assert str(parse_source(text).hub) == text


def test_an_empty_name_is_refused():
    with pytest.raises(WeightsError, match="empty name"):
        parse_source("")
