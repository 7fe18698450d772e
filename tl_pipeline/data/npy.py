"""An example that is an array in memory: its bytes are a `.npy` file."""

import io

import numpy as np


def write_npy(image: np.ndarray) -> bytes:
    """Returns the `.npy` file, format version 1.0 and in C order, of an image.

    These are the bytes that a content digest is of, so the same pixels have the same
    digest wherever they come from.

    Args:
      image: [H, W] or [H, W, C] uint8.
    """
    file = io.BytesIO()
    array = np.ascontiguousarray(image)
    np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
    return file.getvalue()
