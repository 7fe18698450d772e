"""Makes the small PyTorch files that the reader is tried on, and what is in them.

They were made once, with PyTorch 2.13.0, which the tests do without.

    python tests/golden/make_torch_files.py tests/golden/torch
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import torch

torch.manual_seed(0)


class Evil:
    """What a hostile file does: a call at loading."""

    def __reduce__(self):
        return os.system, ("echo executed",)


def make_model() -> torch.nn.Module:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(3, 2)
    )
    model[1].num_batches_tracked += 7
    return model


def make_kinds() -> dict[str, torch.Tensor]:
    """Returns a tensor of each dtype, and views that share a storage."""
    shared = torch.randn(24)
    grid = shared.view(4, 6)
    return {
        "half": torch.randn(5).half(),
        "bfloat16": torch.randn(3, 4).bfloat16(),
        "double": torch.randn(2).double(),
        "long": torch.arange(4),
        "int": torch.arange(3, dtype=torch.int32),
        "short": torch.arange(3, dtype=torch.int16),
        "byte": torch.arange(3, dtype=torch.uint8),
        "char": -torch.arange(3, dtype=torch.int8),
        "bool": torch.tensor([True, False, True]),
        "uint16": torch.tensor([1, 65535]).to(torch.uint16),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 5),
        "shared": shared,
        "transposed": grid.t(),
        "column": grid[:, 2],
        "inner": grid[1:3, 1:6:2],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    }


def plain(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy()
        for name, t in tensors.items()
    }


def main(folder: Path) -> None:
    """Writes the files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model, kinds = make_model(), make_kinds()
    states = {name: t.clone() for name, t in model.state_dict().items()}
    torch.save(states, folder / "state.pth")
    torch.save(kinds, folder / "kinds.pth")
    old = {"_use_new_zipfile_serialization": False}
    torch.save(states, folder / "state-legacy.pth", **old)
    # The old format has no dtype for which there is no storage type.
    older = {name: t for name, t in kinds.items() if name != "uint16"}
    torch.save(older, folder / "kinds-legacy.pth", **old)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(1, 2, 5, 5)).sum().backward()
    optimizer.step()
    trained = model.state_dict()
    nested = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"model.{name}": t for name, t in trained.items()},
        "loops": {"fit_loop": {"state_dict": {}, "rate": np.float64(0.5)}},
        "callbacks": {"EarlyStopping{'monitor': 'val'}": {"best": torch.tensor(0.25)}},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"rate": 1e-3, "shape": torch.Size((2, 3))},
        "args": argparse.Namespace(arch="tiny", lr=0.1),
    }
    torch.save(nested, folder / "lightning.ckpt")
    torch.save({"a": torch.zeros(1), "b": Evil()}, folder / "evil.pth")
    torch.save({"b": Evil()}, folder / "evil-legacy.pth", **old)
    torch.save(model, folder / "module.pth")
    for name, tensors in (("state", states), ("kinds", kinds), ("trained", trained)):
        np.savez(folder / f"{name}.npz", **plain(tensors))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
