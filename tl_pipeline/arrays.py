"""Arrays as they cross the borders between parts: letters, dtypes by name, digests.

Dimensions are single letters everywhere:

    N examples   B batch     H W C image   T tokens   D feature
    K classes    V views     M heads trained at once

dtypes cross borders by name (`"float16"`), never as objects, so that they can be
written into a spec. bfloat16 is a compute dtype only: HDF5 has no type for it.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from tl_pipeline.digest import canonical_json

STORE_DTYPES = ("float16", "float32")
COMPUTE_DTYPES = ("float32", "bfloat16")

# Largest |stored - live| / max |stored row| that still counts as the same row. The
# float32 figure covers another batch shape or library build (1e-6 measured), the
# float16 one adds a rounding of 2**-11 on each side.
PARITY_TOLERANCE = {"float32": 1e-4, "float16": 2e-3}


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of named arrays, whatever order they come in.

    Each array counts with its name, dtype, shape and C-ordered little-endian bytes.

    Args:
      arrays: Arrays of any numeric dtype by name.

    Example:
      >>> a, b = np.zeros(2), np.ones(3)
      >>> array_digest({"a": a, "b": b}) == array_digest({"b": b, "a": a})
      True
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        header = {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        digest.update(canonical_json(header).encode() + b"\n")
        digest.update(little.tobytes())
    return digest.hexdigest()


def row_difference(stored: np.ndarray, live: np.ndarray) -> float:
    """Returns the largest difference of a row relative to its largest magnitude.

    Args:
      stored: [N, ...] floating rows as they were read.
      live: [N, ...] the same rows computed now.

    Returns:
      max over rows of max|stored - live| / max|stored|; infinity where either side is
      not finite, 0.0 for no rows. An all-zero stored row is compared absolutely.
    """
    if not len(stored):
        return 0.0
    a = np.asarray(stored, np.float64).reshape(len(stored), -1)
    b = np.asarray(live, np.float64).reshape(len(live), -1)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    magnitude = np.abs(a).max(axis=1)
    magnitude[magnitude == 0] = 1.0
    return float((np.abs(a - b).max(axis=1) / magnitude).max())
