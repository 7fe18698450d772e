"""An extraction with nothing to do, over many files: what a quiet night costs.

    python tests/benchmarks/nothing_changed.py [--files 100000]

Writes that many PNG files of 2x2 pixels in 100 class folders, extracts them with the
pixels backbone, and then once more, three times.
"""

import argparse
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract


def png(number: int) -> bytes:
    """Returns a PNG file of 2x2 pixels in a color of its own."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    pixels = b"\0" + number.to_bytes(3, "big") * 2
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(pixels * 2))
        + chunk(b"IEND", b"")
    )


def main() -> None:
    """Measures, and prints a line an extraction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    n = parser.parse_args().files
    pixels = load_backbone("pixels", settings={"size": 2, "color": "rgb"})
    with tempfile.TemporaryDirectory() as root:
        photos = Path(root) / "photos"
        for i in range(n):
            folder = photos / f"class{i % 100:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(png(i))
        time.sleep(2.1)  # until the stat cache may trust the stamps of the last ones
        print(f"{os.cpu_count()} cores, {n:,} files")
        for _ in range(4):
            begin = time.perf_counter()
            report = extract(
                load_dataset(photos),
                pixels,
                features=["pool"],
                store_root=Path(root) / "stores",
            )
            print(
                f"computed {report.rows_computed:,}, hashed {report.inputs_hashed:,}, "
                f"opened {report.inputs_opened:,}: {time.perf_counter() - begin:.1f} s"
            )


if __name__ == "__main__":
    main()
