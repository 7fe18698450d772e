import math
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tl_pipeline.digest import (
    bytes_digest,
    canonical_json,
    file_digest,
    json_digest,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, min_size=2))
def test_the_order_of_keys_never_shows(value: dict[str, object]):
    turned = dict(reversed(value.items()))
    assert json_digest(turned) == json_digest(value)


@given(JSON, JSON)
def test_different_values_have_different_texts(a: object, b: object):
    def typed(value: object) -> object:  # 1 == True in Python, not in JSON
        if isinstance(value, list):
            return [typed(item) for item in value]
        if isinstance(value, dict):
            return {key: typed(item) for key, item in value.items()}
        return type(value), value

    assert (canonical_json(a) == canonical_json(b)) == (typed(a) == typed(b))


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_numbers_that_json_does_not_know_are_refused(value: object):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path):
    data = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(data)
    assert file_digest(tmp_path / "f") == bytes_digest(data)


def test_a_digest_is_the_same_under_any_hash_seed():
    program = (
        "from tl_pipeline.digest import json_digest\n"
        "print(json_digest({name: [name] for name in set('abcdefgh')}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(20)
    }
    assert len(found) == 1
