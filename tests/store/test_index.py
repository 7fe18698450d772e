import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tl_pipeline.store.index import KeyIndex, from_hex, sort_unique

# Few values and much sharing of prefixes, as no real digests have.
CLOSE = st.integers(0, 40).flatmap(
    lambda n: arrays(np.uint8, (n, 32), elements=st.integers(0, 1), fill=st.just(0))
)


@given(CLOSE, CLOSE)
def test_an_index_finds_what_a_dict_finds(known, asked):
    known = sort_unique(known)
    places = {row.tobytes(): i for i, row in enumerate(known)}
    wanted = [places.get(row.tobytes(), -1) for row in asked]
    assert KeyIndex(known).find(asked).tolist() == wanted
    assert KeyIndex(known).find(known).tolist() == list(range(len(known)))


@given(CLOSE)
def test_sorting_is_that_of_bytes(content):
    rows = sorted({row.tobytes() for row in content})
    assert [row.tobytes() for row in sort_unique(content)] == rows
    assert (from_hex([row.hex() for row in rows]) == sort_unique(content)).all()


def test_trailing_zero_bytes_are_part_of_a_digest():
    known = np.zeros((1, 32), np.uint8)
    asked = np.zeros((2, 32), np.uint8)
    asked[1, 31] = 1
    assert KeyIndex(known).find(asked).tolist() == [0, -1]
