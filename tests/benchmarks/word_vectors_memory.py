"""Two million word vectors: indexed, opened and looked up, beside gensim.

    python tests/benchmarks/word_vectors_memory.py [--words 2000000] [--size 300]

Writes a file of word2vec's binary format with random vectors, and lets processes of
their own index it, open it again and look 100,000 words up, and open it by gensim.
Prints a Markdown row: seconds, and how much memory each process holds at its end that
the system cannot take back: what is mapped from the file it can.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OPEN = """
import sys, time
from pathlib import Path
from tl_pipeline.weights.word_vectors import open_word_vectors
begin = time.perf_counter()
opened = open_word_vectors(Path(sys.argv[1]))
seconds = time.perf_counter() - begin
"""
LOOK_UP = """
begin = time.perf_counter()
found = sum(opened.find(f"word{i}") is not None for i in range(0, 2 * 10**6, 20))
looked_up = time.perf_counter() - begin
"""
GENSIM = """
import sys, time
from gensim.models import KeyedVectors
begin = time.perf_counter()
opened = KeyedVectors.load_word2vec_format(sys.argv[1], binary=True)
seconds = time.perf_counter() - begin
"""
TELL = """
import json, re
from pathlib import Path
status = Path("/proc/self/status").read_text()
held = 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", status)[1])
known = {n: globals()[n] for n in ("found", "looked_up") if n in globals()}
print(json.dumps({"seconds": seconds, "held": held, **known}))
"""


def measure(program: str, file: Path, caches: Path) -> dict[str, float]:
    """Runs a program on the file, and returns what it tells."""
    done = subprocess.run(
        [sys.executable, "-c", program + TELL, file],
        env=os.environ | {"XDG_CACHE_HOME": str(caches)},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Measures, and prints the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=2_000_000)
    parser.add_argument("--size", type=int, default=300)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.bin"
        with path.open("wb") as file:
            file.write(f"{arguments.words} {arguments.size}\n".encode())
            for i in range(arguments.words):
                row = rng.random(arguments.size, np.float32)
                file.write(f"word{i} ".encode() + row.tobytes())
        os.utime(path, (1e9, 1e9))
        caches = Path(folder) / "caches"
        first = measure(OPEN, path, caches)
        again = measure(OPEN + LOOK_UP, path, caches)
        theirs = measure(GENSIM, path, caches)
        size = path.stat().st_size
    print(
        "| words | file | indexed | opened again | 100,000 looked up | gensim |\n"
        "|---|---|---|---|---|---|\n"
        f"| {arguments.words:,} | {size / 2**30:.2f} GiB | {_tell(first)} | "
        f"{_tell(again)} | {again['found']:,.0f} in {again['looked_up']:.1f} s | "
        f"{_tell(theirs)} |"
    )


def _tell(found: dict[str, float]) -> str:
    return f"{found['seconds']:.3g} s, {found['held'] / 2**30:.2f} GiB"


if __name__ == "__main__":
    main()
