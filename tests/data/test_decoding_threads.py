"""Decoding in many threads: none gets in the way of another."""

import concurrent.futures
import gc
import io
import sys
import time
from typing import Any

import numpy as np

from tl_pipeline.data.decoding import decode_image


def test_npy_files_are_decoded_side_by_side_whenever_garbage_is_collected():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((8, 8), np.uint8))
    data = buffer.getvalue()

    def let_others_run(phase: str, info: Any) -> None:  # as JAX's own callback does
        time.sleep(0)

    def decode(depth: int) -> int:
        if depth:  # from a stack as deep as that of nobody else
            return decode(depth - 1)
        return sum(decode_image(data).width for _ in range(500))

    before = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.callbacks.append(let_others_run)
    gc.set_threshold(20)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            widths = list(pool.map(decode, range(0, 40, 5)))
    finally:
        sys.setswitchinterval(before[0])
        gc.set_threshold(*before[1])
        gc.callbacks.remove(let_others_run)
    assert widths == [8 * 500] * 8
