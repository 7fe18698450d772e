"""Weights and images that PyTorch's side and ours draw alike, by a tensor's name."""

import hashlib

import numpy as np

N_SAMPLES = 64  # of each output, at even distances


def draw_tensor(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """Returns a tensor of a PyTorch checkpoint, float32, from its own stream.

    Args:
      name: The tensor's.
      shape: Likewise.
      gain: Variance of a kernel, times its inputs.
    """
    if name.endswith("num_batches_tracked"):
        return np.array(7, np.int64)
    seed = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], ">u4")
    uniform = np.random.RandomState(seed.tolist()).random_sample(shape)
    if len(shape) > 1:
        fan_in = np.prod(shape[1:])  # [D, C, H, W]
        values = (uniform - 0.5) * np.sqrt(12 * gain / fan_in)
    elif name.endswith(("running_var", ".var")):
        values = (uniform + 0.5) * min(gain, 1)  # small, where an epsilon must show
    elif name.endswith(("running_mean", ".mean")):
        values = (uniform - 0.5) * 1.2 * np.sqrt(min(gain, 1))
    elif name.endswith(("weight", "gamma")):  # a norm's
        values = uniform + 0.5
    else:
        values = (uniform - 0.5) * 1.2
    return values.astype(np.float32)


def draw_images(size: int, n: int = 2) -> np.ndarray:
    """Returns uint8 [n, size, size, 3]."""
    return np.random.RandomState(size).randint(0, 256, (n, size, size, 3), np.uint8)


def sample(output: np.ndarray) -> np.ndarray:
    """Returns values of [B, ...] at even distances, and the largest one last.

    Args:
      output: Channels last.
    """
    flat = np.asarray(output, np.float32).reshape(-1)
    places = np.linspace(0, flat.size - 1, N_SAMPLES).round().astype(int)
    return np.append(flat[places], np.abs(flat).max())
