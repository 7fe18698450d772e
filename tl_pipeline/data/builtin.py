"""Built-in datasets: scikit-learn's 1,797 real handwritten digits, plain and shifted.

An example's bytes are a `.npy` file of uint8 [H, W], the original's 0 to 16 scaled to
0 to 255. They are made on demand, always the same ones; what decides them is the file
of scikit-learn that they come from and the recipe, which is the item's member. So a
cache of digests needs to look at that file's time stamps only. The number in an id is
the row in scikit-learn's table: `5/0012` is `load_digits().images[12]`.
"""

import functools
import gzip
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.npy import write_npy
from tl_pipeline.errors import DatasetError

RECIPE_VERSION = 1  # change it with anything that changes an example's bytes
CANVAS = 16  # pixels of a shifted digit's canvas, both ways
MAX_INK = 16  # scikit-learn's pixels are counts of 0 to 16 dark dots in a 4x4 cell


def make_digits(digits: Iterable[int] = range(10), *, name: str) -> Dataset:
    """Lists the digits as they are, 8×8 pixels.

    Args:
      digits: Which of 0 to 9.
      name: The dataset's name.

    Raises:
      DatasetError: scikit-learn's file of digits is missing.
    """
    return _list_digits(digits, name=name, recipe="digits", make=_scale)


def make_shifted_digits(digits: Iterable[int], *, name: str, seed: int = 0) -> Dataset:
    """Lists the digits each at a random place on a 16×16 canvas.

    A digit's place depends on the seed and its row only: not on which others there are.

    Args:
      digits: Which of 0 to 9.
      name: The dataset's name.
      seed: Chooses the places.

    Raises:
      DatasetError: scikit-learn's file of digits is missing.
    """
    return _list_digits(
        digits,
        name=name,
        recipe=f"digits-shifted seed {seed}",
        make=functools.partial(_make_shifted, seed=seed),
    )


BUILTINS: Mapping[str, Callable[[], Dataset]] = {
    "builtin:digits": lambda: make_digits(name="digits"),
    "builtin:digits-shifted": lambda: make_shifted_digits(
        range(5, 10), name="digits-shifted"
    ),
}


def _list_digits(
    digits: Iterable[int],
    *,
    name: str,
    recipe: str,
    make: Callable[[int], np.ndarray],
) -> Dataset:
    path = _digits_file()
    wanted = set(digits)
    items = [
        Item(
            id=f"{digit}/{row:04d}",
            file=str(path),
            member=f"{recipe} v{RECIPE_VERSION} row {row}",
            target=str(digit),
        )
        for row, digit in enumerate(_load_table()[:, -1].tolist())
        if digit in wanted
    ]

    ordered = sorted(items, key=lambda item: item.id)
    read = functools.partial(_read_digit, make=make)
    return Dataset(name, f"builtin:{name}", tuple(ordered), holds="images", reader=read)


def _read_digit(item: Item, *, make: Callable[[int], np.ndarray]) -> bytes:
    return write_npy(make(int(item.id.partition("/")[2])))


def _digits_file() -> Path:
    # The file is found and read without importing scikit-learn, which takes a second.
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    raise DatasetError(
        "Asked for the built-in digits: scikit-learn's datasets/data/digits.csv.gz is "
        "not among the installed packages. Install scikit-learn 1.7 or later."
    )


@functools.cache
def _load_table() -> np.ndarray:
    """Returns [1797, 65] uint8: 64 pixels of 0 to 16, and the digit."""
    with gzip.open(_digits_file(), "rt") as file:
        return np.loadtxt(file, delimiter=",").astype(np.uint8)


def _scale(row: int) -> np.ndarray:
    ink = _load_table()[row, :64].reshape(8, 8)
    return np.rint(ink * (255 / MAX_INK)).astype(np.uint8)


def _make_shifted(row: int, *, seed: int) -> np.ndarray:
    digit = _scale(row)
    # A hash and not a generator: NumPy may change the streams of its generators, and
    # the places must not move with its version.
    draw = hashlib.sha256(f"tl_pipeline digits-shifted {seed} {row}".encode()).digest()
    places = CANVAS - len(digit) + 1
    top = int.from_bytes(draw[:8], "big") % places
    left = int.from_bytes(draw[8:16], "big") % places
    canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    canvas[top : top + len(digit), left : left + len(digit)] = digit
    return canvas
