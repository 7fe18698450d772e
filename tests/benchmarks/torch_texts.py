"""The other side of `text_against_torch.py`: transformers, PyTorch. Run by its Python.

    PYTHON tests/benchmarks/torch_texts.py FOLDER TABLE OUT

Reads the column `text` of a table, tokenizes all of it, sorts it by length, runs
batches of 64 padded to their longest in inference mode, pools and scales as
sentence-transformers does, and saves float16 rows in the table's order. Prints a JSON
line.
"""

import csv
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

# A torchvision built for another PyTorch lacks its operators; none is used here.
_OPERATORS = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    try:
        _OPERATORS.define(f"{_name}(Tensor a, Tensor b, float c) -> Tensor")
    except RuntimeError:  # it is there
        continue

import transformers  # noqa: E402  it imports torchvision

BATCH = 64


def main() -> None:
    """Runs a few batches to warm up, then all, and prints the rate."""
    folder, table, out = sys.argv[1:]
    torch.set_num_threads(os.cpu_count() or 1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()

    def run(texts: list[str]) -> np.ndarray:
        encoded = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
        order = np.argsort([len(ids) for ids in encoded], kind="stable")
        rows = np.zeros((len(texts), network.config.hidden_size), np.float16)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            batch = tokenizer.pad(
                {"input_ids": [encoded[i] for i in part]}, return_tensors="pt"
            )
            hidden = network(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            scaled = torch.nn.functional.normalize(pooled)
            rows[part] = scaled.half().numpy()
        return rows

    with torch.inference_mode():
        with Path(table).open(newline="") as file:
            run([row["text"] for row in csv.DictReader(file)][: 4 * BATCH])
        begin, used = time.perf_counter(), time.process_time()
        with Path(table).open(newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        np.save(out, run(texts))
        with open(out, "rb") as file:
            os.fsync(file.fileno())
        rate = len(texts) / (time.perf_counter() - begin)
        used = (time.process_time() - used) / len(texts)
    print(json.dumps({"rate": rate, "used": used, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
