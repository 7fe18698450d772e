import pytest

from tl_pipeline.reporting.sentences import describe_reuse, format_duration

NOTHING = {
    "rows_reused": 0,
    "rows_computed": 0,
    "duplicates": 0,
    "failures": [],
    "seconds_saved": None,
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "reused 0, computed 0"),
        ({"rows_computed": 1200}, "reused 0, computed 1,200"),
        (
            {"duplicates": 2, "failures": [{}, {}, {}]},
            "reused 0, computed 0, duplicate 2, failed 3",
        ),
        (
            {"rows_reused": 9, "seconds_saved": 90.0},
            "reused 9, computed 0, saved about 90 s",
        ),
        # Where nothing was reused, nothing was saved.
        ({"rows_computed": 5, "seconds_saved": 0.0}, "reused 0, computed 5"),
        ({"rows_computed": 5, "seconds_saved": 3.0}, "reused 0, computed 5"),
    ],
)
def test_reuse_is_told_in_one_sentence(changes: dict, sentence: str):
    assert describe_reuse(NOTHING | changes) == sentence


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.994, "0.99 s"),
        (0.996, "1.0 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (7169, "119 min"),
        (7171, "2.0 h"),
        (172_600, "47.9 h"),
        (172_800, "2.0 days"),
    ],
)
def test_a_duration_changes_its_unit_where_rounding_would(seconds: float, told: str):
    assert format_duration(seconds) == told
