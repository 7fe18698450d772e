"""What a generator of golden outputs and the test of them have in common. NumPy alone.

Weights are drawn by name, so that a golden file holds outputs and names, no weights.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

SAMPLED = 48  # values of each output
_EMBEDDED = re.compile(
    "patch_embed|pos|cls|class_emb|token|regis|^embedding/|conv1|^stem.0|^features.0.0"
    "|word_emb|wte|wpe"
)
_ROWS = re.compile("pos|cls|class_emb|token|regis|word_emb|wte|wpe")
_FACTORS = re.compile("(weight|scale|gamma|lambda1|layer_scale_parameter|layer_scale)$")


def draw_tensor(name: str, shape: tuple[int, ...], *, small: float) -> np.ndarray:
    """Draws a float32 tensor from a stream of its own, the same one everywhere.

    Args:
      name: In the file. Norms' and layers' scales are about 1, tokens and positions
        about as large as a patch, and kernels keep the variance.
      shape: In the file.
      small: Factor on all that makes the first tokens: where they have next to no
        variance, the first norm's epsilon shows.
    """
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], ">u4").tolist()
    rng = np.random.RandomState(words)  # its streams are frozen, Generator's are not
    factor = small if _EMBEDDED.search(name) else 1.0
    if len(shape) <= 1 and _FACTORS.search(name):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    drawn = rng.standard_normal(shape)
    if _ROWS.search(name) or len(shape) <= 1:
        return (drawn * (0.5 * factor)).astype(np.float32)
    # Flax' kernels have their outputs last, and names with slashes.
    fan_in = np.prod(shape[:-1] if "/" in name else shape[1:])
    if "query" in name or "key" in name or "value" in name:
        fan_in = shape[0] if "/" in name else fan_in
    return (drawn * (factor / np.sqrt(fan_in))).astype(np.float32)


def draw_all(
    shapes: Mapping[str, tuple[int, ...]], *, small: float
) -> dict[str, np.ndarray]:
    """Draws the tensors of a file."""
    return {
        name: draw_tensor(name, shape, small=small) for name, shape in shapes.items()
    }


def draw_images(size: int, n: int = 2) -> np.ndarray:
    """Draws uint8 images [n, size, size, 3], smooth and noisy ones."""
    rng = np.random.RandomState([size, n])
    coarse = rng.uniform(0, 255, (n, 4, 4, 3)).repeat(-(-size // 4), 1)
    coarse = coarse.repeat(-(-size // 4), 2)[:, :size, :size]
    noise = rng.uniform(0, 255, (n, size, size, 3))
    return np.rint((coarse + noise) / 2).astype(np.uint8)


def draw_ids(vocabulary: int, lengths: tuple[int, ...]) -> np.ndarray:
    """Draws token ids, int32 [n, T] of the longest T, -1 behind a text's end.

    The first few ids are left to padding, and the last one, of the highest value, ends
    each text, as CLIP's do.
    """
    rng = np.random.RandomState([vocabulary, *lengths])
    ids = rng.randint(4, vocabulary - 1, (len(lengths), max(lengths)))
    for row, length in zip(ids, lengths, strict=True):
        row[length - 1] = vocabulary - 1
        row[length:] = -1
    return ids.astype(np.int32)


def draw_recording(n: int, *, rate: int = 16_000) -> np.ndarray:
    """Draws n samples, float32: a rising tone over quiet noise, then silence.

    The last eighth is silent, to the last bit.
    """
    rng = np.random.RandomState([rate, n])
    seconds = np.arange(n) / rate
    tone = 0.3 * np.sin(2 * np.pi * (300 + 1000 * seconds) * seconds)
    drawn = tone + 3e-3 * rng.standard_normal(n)
    drawn[n - n // 8 :] = 0
    return drawn.astype(np.float32)


def normalize_images(images: np.ndarray, colors: tuple) -> np.ndarray:
    """Returns float32 [n, 3, H, W], as PyTorch takes them."""
    mean, std = (np.float32(values) for values in colors)
    return ((images / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy()


def sample(values: np.ndarray) -> np.ndarray:
    """Returns a fixed choice of an output's values."""
    rng = np.random.RandomState(0)
    flat = np.asarray(values).reshape(-1)
    return flat[rng.randint(0, flat.size, SAMPLED)]


def describe_output(values: np.ndarray) -> dict:
    """Returns what a golden file holds of an output [n, ...]."""
    return {
        "shape": list(np.shape(values)),
        "largest": float(f"{np.abs(values).max():.8g}"),
        "values": [float(f"{value:.8g}") for value in sample(values)],
    }


def fold_names(shapes: Mapping[str, Iterable[int]]) -> dict[str, list]:
    """Returns names and shapes with the last number in a name counted, not listed."""
    groups: dict[tuple, list[tuple[int, str]]] = defaultdict(list)
    folded = {}
    for name, shape in shapes.items():
        numbers = list(re.finditer(r"(?<=[._])\d+(?=[./])", name))
        if not numbers:
            folded[name] = list(shape)
            continue
        at = numbers[-1]
        pattern = f"{name[: at.start()]}#{name[at.end() :]}"
        groups[pattern, tuple(shape)].append((int(at[0]), name))
    for (pattern, shape), members in groups.items():
        numbers = sorted(number for number, _ in members)
        if numbers == list(range(len(members))) and pattern not in folded:
            folded[pattern] = [len(members), list(shape)]
        else:
            folded |= {name: list(shape) for _, name in members}
    return dict(sorted(folded.items()))


def unfold_names(folded: Mapping[str, list]) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes that `fold_names` took."""
    shapes = {}
    for pattern, value in folded.items():
        if "#" in pattern:
            count, shape = value
            for i in range(count):
                shapes[pattern.replace("#", str(i))] = tuple(shape)
        else:
            shapes[pattern] = tuple(value)
    return shapes


def write_golden(path: Path, golden: Mapping) -> None:
    """Writes a golden file, one line an entry."""
    lines = [
        f'"{part}": {{\n'
        + ",\n".join(
            f'  "{name}": {json.dumps(entry, separators=(",", ":"))}'
            for name, entry in entries.items()
        )
        + "\n}"
        for part, entries in golden.items()
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
