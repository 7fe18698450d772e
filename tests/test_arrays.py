import numpy as np
import pytest

from tl_pipeline.arrays import array_digest, row_difference

BASE = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.mark.parametrize(
    "other",
    [
        {"kernel2": BASE["kernel"]},
        {"kernel": BASE["kernel"].T},
        {"kernel": BASE["kernel"].reshape(3, 2)},
        {"kernel": BASE["kernel"].astype(np.float64)},
        {"kernel": np.nextafter(BASE["kernel"], np.float32(9))},
        {**BASE, "bias": np.zeros(0, np.float32)},
    ],
)
def test_name_dtype_shape_and_every_bit_count(other: dict[str, np.ndarray]):
    assert array_digest(other) != array_digest(BASE)


def test_memory_layout_and_byte_order_do_not_count():
    big = {"kernel": np.asfortranarray(BASE["kernel"].astype(">f4"))}
    assert array_digest(big) == array_digest(BASE)


def test_a_difference_is_relative_to_its_own_row():
    stored = np.array([[1000.0, 0.0], [1.0, 0.0]])
    assert row_difference(stored, stored + [[1.0, 0], [0, 0]]) == pytest.approx(1e-3)
    assert row_difference(stored, stored + [[0, 0], [0, 0.5]]) == pytest.approx(0.5)


def test_rows_that_are_not_finite_never_agree():
    row = np.array([[np.nan]])
    assert row_difference(row, row) == np.inf
    assert row_difference(np.zeros((1, 2)), np.zeros((1, 2))) == 0.0
    assert row_difference(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0
