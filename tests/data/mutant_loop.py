"""Loads damaged tables and arrays in a process of its own; see test_mutants.py.

    python mutant_loop.py FOLDER FORMAT SEED FIRST COUNT

The process has little memory, each mutant ten seconds, and only a `DatasetError` may be
raised. A mutant is written before it is loaded, so that one that kills the process is
the file that is left.
"""

import collections
import faulthandler
import json
import random
import resource
import signal
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError

MEMORY = 3 * 2**30  # bytes of address space; the libraries take one of them
SECONDS = 10
TABLE = [
    {
        "path": f"{i % 4}.png",
        "id": f"é{i}",
        "label": i % 3,
        "split": split,
        "group": "g",
    }
    for i, split in enumerate(["train", "val", "test", "train"] * 8)
]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6), np.uint8)
ARRAYS = {
    "images": IMAGES,
    "targets": np.arange(12) % 3,
    "ids": np.array([f"é{i}" for i in range(12)]),
    "splits": np.array(["train", "val", "test"] * 4),
}
WORDS = (
    *(b'"', b",", b"\n", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b";", b"\t"),
    *(
        b"{",
        b"}",
        b"[" * 300,
        b"1e999",
        b"null",
        b"NaN",
        b"../",
        b"/dev/zero",
        b"split",
    ),
    *(b"\xff" * 8, b"\x00" * 8, b"\x7f\xff\xff\xff", b"\x80", b"path", b"split"),
    b"x" * 20_000,
)


def make_whole(path: Path, seed: int) -> None:
    """Writes a good file; its inner layout depends on the seed."""
    if path.suffix == ".parquet":
        options = [{}, {"compression": "none"}, {"use_dictionary": False}]
        options += [{"data_page_version": "2.0"}, {"row_group_size": 5}]
        table = pa.Table.from_pylist(TABLE)
        groups = table.column("group").dictionary_encode()
        table = table.drop_columns("group").append_column("group", groups)
        pq.write_table(table, path, **options[seed % 5])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    elif path.suffix == ".csv":
        rows = [list(TABLE[0]), *(row.values() for row in TABLE)]
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    elif path.suffix == ".npz":
        (np.savez if seed % 2 else np.savez_compressed)(path, **ARRAYS)
    else:
        with h5py.File(path, "w", libver=["earliest", "latest"][seed % 2]) as file:
            for name, array in ARRAYS.items():
                is_text = array.dtype.kind == "U"
                kind = h5py.string_dtype() if is_text else None
                packing = "gzip" if seed % 3 == 0 and name == "images" else None
                values = array.astype(object) if is_text else array
                file.create_dataset(name, data=values, dtype=kind, compression=packing)


def mutate(whole: bytes, rng: random.Random) -> bytes:
    """Damages a file: flipped bits, words put in, pieces moved, dropped or repeated."""
    data = bytearray(whole)
    # Headers and footers decide most: half of the damage goes there.
    ends = (
        (0, len(data)),
        (0, min(200, len(data))),
        (max(0, len(data) - 200), len(data)),
    )
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        low, high = rng.choice(ends)
        at = rng.randrange(low, max(low + 1, min(high, len(data))))
        end = at + rng.choice([1, 2, 8, 64])
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 1] = rng.choice(WORDS)
        elif kind == 2:
            word = rng.choice(WORDS)
            data[at : at + len(word)] = word
        elif kind == 3:
            del data[at:end]
        elif kind == 4:
            data[at:at] = data[at:end] * rng.choice([1, 5])
        else:
            del data[rng.choice([at, len(data)]) :]
    return bytes(data)


def load(path: Path) -> str:
    """Loads and reads a mutant; returns what became of it."""
    try:
        dataset = load_dataset(path)
    except DatasetError as error:
        assert str(path) in str(error) and len(str(error)) < 5000, str(error)[:5000]
        return "refused"
    contents = digest_items(dataset, None, workers=1)
    for item in contents.items:
        assert item.split in (None, "train", "val", "test")
        assert all(text is None or text for text in (item.id, item.target, item.group))
    return "failed" if contents.unreadable else "loaded"


def main() -> None:
    """Loads the mutants and prints how many of them came to what."""
    folder, suffix = Path(sys.argv[1]), sys.argv[2]
    seed, first, count = map(int, sys.argv[3:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    warnings.simplefilter("ignore")
    for i in range(4):
        (folder / f"{i}.png").write_bytes(bytes([i]))
    path = folder / f"mutant{suffix}"
    outcomes = collections.Counter()
    for n in range(first, first + count):
        rng = random.Random(f"{suffix} {seed} {n}")
        make_whole(path, n)
        whole = path.read_bytes()
        if n == first:
            assert load(path) == "loaded"
        path.unlink()  # a new file each time: a handle on the old one stays good
        path.write_bytes(mutate(whole, rng))
        print(f"mutant {n}", file=sys.stderr, flush=True)
        signal.alarm(SECONDS)
        outcomes[load(path)] += 1
        signal.alarm(0)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
