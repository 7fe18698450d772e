"""The other side of `against_torch.py`: timm, DataLoader, PyTorch. Run by its Python.

    PYTHON tests/benchmarks/torch_extraction.py FOLDER TIMM_NAME SIZE RESIZE OUT

Reads JPEG files as torchvision's usual transform does (short side to RESIZE, center
crop of SIZE, mean and standard deviation), runs the network without its top in
inference mode and channels_last, and saves pooled float16 rows. Prints a JSON line.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

# A torchvision built for another PyTorch lacks its operators; none is used here.
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    try:
        _OPERATORS.define(f"{_name}(Tensor a, Tensor b, float c) -> Tensor")
    except RuntimeError:  # it is there
        continue

import timm  # noqa: E402  it imports torchvision

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
BATCH = 32


class Photos(Dataset):
    """Prepared images: float32 [3, size, size]."""

    def __init__(self, folder: Path, size: int, resize: int):
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.size, self.resize = size, resize

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        image = Image.open(self.paths[row]).convert("RGB")
        width, height = image.size
        scale = self.resize / min(width, height)
        size = (
            max(self.resize, round(width * scale)),
            max(self.resize, round(height * scale)),
        )
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (size[0] - self.size) // 2, (size[1] - self.size) // 2
        image = image.crop((left, top, left + self.size, top + self.size))
        pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def main() -> None:
    """Runs once with no worker and once with two, and prints the rates."""
    folder, name, size, resize, out = sys.argv[1:]
    torch.set_num_threads(os.cpu_count() or 1)
    given = {"img_size": int(size)} if "vit" in name else {}
    network = timm.create_model(name, num_classes=0, **given).eval()
    network = network.to(memory_format=torch.channels_last)
    photos = Photos(Path(folder), int(size), int(resize))
    rates = {}
    with torch.inference_mode():
        one = torch.zeros(BATCH, 3, int(size), int(size))
        one = one.to(memory_format=torch.channels_last)
        for _ in range(2):
            network(one)
        begin = time.perf_counter()
        for _ in range(4):
            network(one)
        rates["forward"] = 4 * BATCH / (time.perf_counter() - begin)
        for workers in (0, 2):
            begin = time.perf_counter()
            rows = []
            for batch in DataLoader(photos, batch_size=BATCH, num_workers=workers):
                batch = batch.to(memory_format=torch.channels_last)
                rows.append(network(batch).half().numpy())
            np.save(out, np.concatenate(rows))
            with open(f"{out}.npy" if not out.endswith(".npy") else out, "rb") as file:
                os.fsync(file.fileno())
            rates[f"{workers} workers"] = len(photos) / (time.perf_counter() - begin)
    print(json.dumps(rates | {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
