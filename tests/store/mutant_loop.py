"""Reads thousands of damaged and forged stores, each in a process with limits.

Run by `test_mutants.py` as a process of its own, which forks a reader a mutant: one
that crashes, hangs or eats memory harms no other. Prints a JSON report.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import toy
from crash_loop import in_child

from tl_pipeline.digest import bytes_digest, canonical_json, json_digest, short_digest
from tl_pipeline.errors import TlPipelineError
from tl_pipeline.store.history import recorded_rate
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

SECONDS = 10
MEMORY = 2**30  # above what the interpreter maps when it is forked
FOUND, HARMLESS, MISSED, WRONG, ERROR = 0, 10, 11, 12, 13
OUTCOMES = {
    FOUND: "found",
    HARMLESS: "right rows",
    MISSED: "not found",
    WRONG: "wrong rows",
    ERROR: "traceback",
}
HOSTILE = [
    *(-1, 0, 1, 2**31, 2**62, 2**63, 10**30, 1e308, 0.5, None, True, [], {}, ""),
    *("../../../etc/passwd", "a/b", "\0", "é" * 300, "0" * 64, [[[[]]]], [2**40] * 9),
]


def make_base(root: Path) -> Path:
    content = toy.make_content(40)
    content[0, 0] = 3  # does not decode
    content[1, 2] = 5  # cannot be read
    store = toy.extract(root, content)
    with store.lock():
        store.record_extraction({"rows_computed": 38, "seconds": 1.5})
        store.record_parity({"shards": [store.manifest.shards[0].name]})
    return store.path


def damage(data: bytes, rng: random.Random) -> bytes:
    """Changes some bytes of a file, half of the time where its metadata is."""
    changed = bytearray(data)
    span = min(len(data), 2048) if rng.random() < 0.5 else len(data)
    a, b = sorted(rng.randrange(span) for _ in range(2))
    kind = rng.randrange(7)
    if kind == 0:
        for _ in range(rng.choice([1, 1, 4, 32])):
            changed[rng.randrange(span)] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[a:]
    elif kind == 2:
        changed[a : a + 8] = rng.choice([b"\0" * 8, b"\xff" * 8, rng.randbytes(8)])
    elif kind == 3:
        changed[a:b] = bytes(b - a)
    elif kind == 4:
        changed[a:a] = changed[a:b]
    elif kind == 5:
        changed += rng.randbytes(rng.choice([1, 100, 10**5]))
    else:
        changed[a:b] = changed[a:b][::-1]
    return bytes(changed)


def distort(value: object, rng: random.Random) -> None:
    """Changes one place of a JSON value, however deep."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        place = rng.choice(places)
        inner = value[place]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.85:
            value = inner
            continue
        if rng.random() < 0.15:
            del value[place]
        elif isinstance(value, dict) and rng.random() < 0.1:
            value[rng.choice(["", "x", "../x", "rows"])] = value.pop(place)
        else:
            value[place] = rng.choice([*HOSTILE, [inner], {"x": inner}])
        return


def virtual(file: h5py.File, name: str, old: h5py.Dataset) -> None:
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[...] = h5py.VirtualSource("elsewhere.h5", "x", old.shape)
    file.create_virtual_dataset(name, layout)


def nested(file: h5py.File, name: str, old: h5py.Dataset) -> None:
    file.create_group(name + "/a" * 200)


def external(file: h5py.File, name: str, old: h5py.Dataset) -> None:
    outside = [("/proc/self/exe", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(name, old.shape, old.dtype, external=outside)


def add(**options: object) -> Callable:
    def added(file: h5py.File, name: str, old: h5py.Dataset) -> None:
        arguments = {"shape": old.shape, "dtype": old.dtype, **options}
        file.create_dataset(name, **arguments)

    return added


def link(target: object) -> Callable:
    def linked(file: h5py.File, name: str, old: h5py.Dataset) -> None:
        file[name] = file["/"] if target == "cycle" else target

    return linked


COMPOUND = np.dtype([("a", "f4"), ("b", "S3")])
FORGERIES: dict[str, Callable] = {
    "soft link": link(h5py.SoftLink("/content_digest")),
    "soft link to itself": link(h5py.SoftLink("/features/pool")),
    "external link": link(h5py.ExternalLink("/proc/self/exe", "/")),
    "external link to a device": link(h5py.ExternalLink("/dev/zero", "/")),
    "external storage": external,
    "virtual dataset": virtual,
    "cycle": link("cycle"),
    "nested groups": nested,
    "huge shape": add(shape=(2**40, 2**20), chunks=(1, 1024)),
    "huge rows": add(shape=(2**62,), chunks=(1,)),
    "unwritten chunks": add(chunks=True),
    "compressed zeros": add(shape=(10**7,), chunks=(10**7,), compression="gzip"),
    "variable text": add(dtype=h5py.string_dtype()),
    "references": add(dtype=h5py.ref_dtype),
    "compound": add(dtype=COMPOUND),
    "no rows": add(shape=(0,), chunks=None),
    "scalar": add(shape=()),
    "nothing": add(shape=None, data=h5py.Empty("f4")),
    "a type": link(np.dtype("f4")),
    "absent": lambda file, name, old: None,
}


def forge(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Puts into an HDF5 file, for one of its datasets, what no store's file has."""
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        names = [*file.keys() - {"features"}]
        names += [f"features/{name}" for name in file.get("features", ())]
        name = rng.choice(sorted(names))
        old = file[name]
        del file[name]
        FORGERIES[kind](file, name, old)
    return buffer.getvalue()


def vouch(path: Path, value: dict, file: Path | None = None) -> None:
    """Writes a manifest that vouches for itself, and for a file as it is now."""
    for entry in (*value["shards"], *value["snapshots"]) if file else ():
        if entry["name"] == file.name:
            data = file.read_bytes()
            entry["bytes"], entry["sha256"] = len(data), bytes_digest(data)
            if "keys_offset" in entry:
                start = entry["keys_offset"]
                keys = data[start : start + 32 * entry["rows"]]
                entry["keys_sha256"] = bytes_digest(keys)
    value.pop("manifest_sha256", None)
    value["manifest_sha256"] = json_digest(value)
    (path / "store.json").write_text(canonical_json(value) + "\n")


def mutate(path: Path, k: int, rng: random.Random) -> str:
    """Makes mutant k of an intact store, and returns its kind."""
    hdf5 = sorted(path.glob("s*/*.h5"))
    lines = [path / "failures.jsonl", path / "extractions.jsonl"]
    manifest = path / "store.json"
    value = json.loads(manifest.read_text())
    kind = ("damaged", "vouched", "forged", "manifest", "lines")[k % 5]
    if kind == "damaged":
        file = rng.choice([manifest, *lines, *hdf5])
        file.write_bytes(damage(file.read_bytes(), rng))
    elif kind in ("vouched", "forged"):
        # Snapshots are few beside the shards: half of the mutants are theirs.
        of_snapshots = rng.random() < 0.3
        file = rng.choice(
            [f for f in hdf5 if ("snap" in str(f.parent)) == of_snapshots]
        )
        forgery = sorted(FORGERIES)[k // 5 % len(FORGERIES)]
        data = file.read_bytes()
        forged = kind == "forged"
        file.write_bytes(forge(data, forgery, rng) if forged else damage(data, rng))
        vouch(path, value, file)
        kind = f"forged: {forgery}" if forged else kind
    elif kind == "manifest":
        for _ in range(rng.choice([1, 1, 2])):
            distort(value, rng)
        try:
            vouch(path, value)
        except ValueError:  # no JSON at all, such as an infinity
            manifest.write_text(json.dumps(value))
    else:
        file = rng.choice(lines)
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        distort(rows[rng.randrange(len(rows))], rng)
        text = ""
        for row in rows:
            row.pop("check", None)
            text += canonical_json({**row, "check": short_digest(json_digest(row))})
            text += "\n"
        file.write_text(text)
    return kind


def read(path: Path, wanted: dict[str, np.ndarray], kind: str) -> int:
    """Reads all that a user reads, and returns how it went."""
    intact = verify_store(path)["intact"]
    refused = False
    wrong = False
    store = None
    try:
        store = open_store(path)
    except TlPipelineError:
        return FOUND if not intact else ERROR
    for call in (
        store.describe,
        store.has_parity,
        store.failures,
        lambda: recorded_rate(store.path),
        lambda: store.plan(toy.make_content(50), ["pool"]),
        lambda: [store.versions(shard.name) for shard in store.manifest.shards],
    ):
        try:
            call()
        except TlPipelineError:
            refused = True
    for feature in ("pool", "stage1"):
        try:
            rows = store.read(feature)
        except TlPipelineError:
            refused = True
            continue
        right = toy.compute(rows.content, feature).astype("float16")
        wrong |= not np.array_equal(rows.features, right)
        if kind == "damaged":
            wrong |= not np.array_equal(rows.features, wanted[feature])
    if wrong and kind == "vouched":  # whoever may rewrite the manifest may write rows
        return HARMLESS
    if wrong:
        return WRONG
    if kind.startswith("forged") and intact:
        return MISSED
    return FOUND if refused or not intact else HARMLESS


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--mutants", type=int, required=True)
    options.add_argument("--first", type=int, default=0)
    arguments = options.parse_args()
    base = make_base(arguments.folder / "base")
    path = arguments.folder / "mutant"
    wanted = {name: open_store(base).read(name).features for name in ("pool", "stage1")}
    (mapped,) = (
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmSize")
    )
    counts: dict[str, Counter[str]] = {}
    problems: list[str] = []
    slowest = 0.0
    for k in range(arguments.first, arguments.first + arguments.mutants):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(base, path)
        kind = mutate(path, k, random.Random(k))

        def work(kind: str = kind) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(SECONDS)
            os._exit(read(path, wanted, kind))

        start = time.perf_counter()
        _, status = os.waitpid(in_child(work), 0)
        slowest = max(slowest, time.perf_counter() - start)
        code = os.waitstatus_to_exitcode(status)
        outcome = OUTCOMES.get(code, "traceback" if code > 0 else f"signal {-code}")
        counts.setdefault(kind, Counter())[outcome] += 1
        if code not in (FOUND, HARMLESS):
            problems.append(f"{k} {kind}: {outcome}")
    json.dump({"counts": counts, "problems": problems, "slowest": slowest}, sys.stdout)


if __name__ == "__main__":
    main()
