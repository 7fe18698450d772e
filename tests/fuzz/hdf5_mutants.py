"""Mutants of HDF5 files: damaged bytes, lies beside signatures, doctored objects."""

import io
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from mutations import lie, mutate_bytes, overwrite

# What begins a superblock, B-tree, symbol node, heap, object header, ...
SIGNATURES = re.compile(
    rb"\x89HDF|TREE|SNOD|HEAP|GCOL|OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|FADB|FAHD"
)
REACH = 96  # bytes behind a signature that describe something


def mutate_hdf5(
    rng: random.Random, data: bytes, others: Sequence[bytes], outside: Path
) -> bytes:
    """Returns an HDF5 file after random injuries.

    Args:
      rng: Where chance comes from.
      data: The whole file.
      others: Other files, to splice with.
      outside: A folder with `secret.h5` and `secret.raw`, to point at.
    """
    chance = rng.random()
    if chance < 0.35:
        return mutate_bytes(rng, data, others)
    if chance < 0.7:
        return mutate_structure(rng, data)
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as opened:
        for _ in range(rng.randint(1, 2)):
            rng.choice(DOCTORS)(rng, opened, outside)
    doctored = file.getvalue()
    return mutate_structure(rng, doctored) if rng.random() < 0.2 else doctored


def mutate_structure(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    starts = [match.start() for match in SIGNATURES.finditer(data)]
    for _ in range(rng.randint(1, 3)):
        at = rng.choice(starts)
        part = bytearray(damaged[at : at + REACH])
        part = rng.choice((lie, overwrite))(rng, part)
        damaged[at : at + REACH] = part[:REACH]
    return bytes(damaged)


def pick(rng: random.Random, file: h5py.File) -> h5py.Dataset:
    found: list[h5py.Dataset] = []
    file.visititems(
        lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None
    )
    return rng.choice(found) if found else file.create_dataset("x", data=np.ones(3))


def link_out(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    file[name] = h5py.ExternalLink(str(outside / "secret.h5"), "/secret")


def link_within(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    file[name] = h5py.SoftLink(rng.choice(("/", "nowhere", name)))


def store_outside(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    parts = [(str(outside / "secret.raw"), 0, 24)]
    file.create_dataset(name, (6,), "f4", external=parts)


def view_outside(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    layout = h5py.VirtualLayout((6,), "f4")
    layout[:] = h5py.VirtualSource(outside / "secret.h5", "secret", (6,))
    file.create_virtual_dataset(name, layout)


def claim(rng: random.Random, file: h5py.File, outside: Path) -> None:
    """Declares more than is ever written."""
    name = replace(rng, file)
    side = rng.choice((3, 1000, 2**20, 2**40))
    options = rng.choice(({}, {"chunks": (2, 2)}, {"compression": "gzip"}))
    if options or side > 1000:
        options = {"chunks": (2, 2)} | options
    dataset = file.create_dataset(name, (side, 3), "f4", fillvalue=7, **options)
    if rng.random() < 0.5 and options:
        dataset[:2] = 1  # one chunk of many


def bomb(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    zeros = np.zeros((rng.choice((100, 10**6)),), np.float32)
    file.create_dataset(name, data=zeros, compression="gzip", compression_opts=9)


def filter_oddly(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    options = rng.choice(
        (
            {"compression": "lzf"},
            {"shuffle": True, "fletcher32": True},
            {"scaleoffset": 2},
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
        )
    )
    values = np.linspace(0, 1, 12, dtype=np.float32)
    file.create_dataset(name, data=values, chunks=(5,), **options)


def type_oddly(rng: random.Random, file: h5py.File, outside: Path) -> None:
    name = replace(rng, file)
    kind = rng.randrange(7)
    if kind == 0:
        file[name] = "text"
    elif kind == 1:
        file[name] = np.zeros(3, [("a", "f4"), ("b", "i8")])
    elif kind == 2:
        file.create_dataset(name, (2,), h5py.ref_dtype)
    elif kind == 3:
        file.create_dataset(name, (2,), h5py.vlen_dtype("f4"))
    elif kind == 4:
        file[name] = h5py.Empty("f4")
    elif kind == 5:
        file[name] = np.dtype("f4")
    else:  # a float of 4 bytes whose exponent is biased otherwise
        odd = h5py.h5t.IEEE_F32LE.copy()
        odd.set_ebias(rng.choice((0, 100, 130)))
        space = h5py.h5s.create_simple((4,))
        dataset = h5py.h5d.create(file.id, name.encode(), odd, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(4, np.float32))


def rename(rng: random.Random, file: h5py.File, outside: Path) -> None:
    groups: list[h5py.Group] = [file]
    file.visititems(
        lambda _, item: groups.append(item) if isinstance(item, h5py.Group) else None
    )
    group = rng.choice(groups)
    names = rng.choice(
        (
            *([b"conv"], [b"conv", b"conv"], [b"nowhere"], [b""], [b"."], [b".."]),
            *([b"\xff\xfe"], [1, 2], [[b"a"]], 3.5, "conv", [b"/"], [b"conv/"]),
            h5py.Empty("S4"),
        )
    )
    group.attrs[rng.choice(("layer_names", "weight_names", "layer_names0"))] = names


def circle(rng: random.Random, file: h5py.File, outside: Path) -> None:
    file[replace(rng, file)] = file["/"]


def replace(rng: random.Random, file: h5py.File) -> str:
    """Removes a dataset and returns its name, for something else to take its place."""
    name = str(pick(rng, file).name)
    del file[name]
    return name


Doctor = Callable[[random.Random, h5py.File, Path], None]
DOCTORS: tuple[Doctor, ...] = (
    *(link_out, link_within, store_outside, view_outside, claim, claim, bomb),
    *(filter_oddly, type_oddly, type_oddly, rename, rename, circle),
)
