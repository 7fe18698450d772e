"""A toy stage one: rows are a function of the content digest, some examples fail.

Loaded as a module by the tests of the store, and as a script's neighbor by the crash
loop, whose processes must start in a fraction of a second.
"""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from tl_pipeline.digest import json_digest
from tl_pipeline.examples import Examples
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place
from tl_pipeline.spec import PLAIN, View
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.manifest import Manifest
from tl_pipeline.store.schema import (
    HISTORY,
    FeatureInfo,
    find_unstorable,
    folder_name,
)
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.store.writer import create_store

SPEC = {
    "backbone": "toy",
    "preprocess": {"size": [8, 8]},
    "store_dtype": "float16",
    "weights": "0" * 64,
}
FEATURES = {
    "pool": FeatureInfo((8,), "float16"),
    "stage1": FeatureInfo((3, 3, 4), "float16"),
}
VERSIONS = {"numpy": "0.0", "platform": "toy"}
SHARD_ROWS = 8


def make_content(n: int, *, salt: str = "") -> np.ndarray:
    """Returns [n, 32] uint8 digests, in no order."""
    digests = [hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(n)]
    return np.frombuffer(bytearray(b"".join(digests)), np.uint8).reshape(-1, 32)


def make_examples(content: np.ndarray, *, dataset: str = "toy") -> Examples:
    """Returns a labeled table over some digests."""
    n = len(content)
    return Examples(
        dataset,
        tuple(f"{i:05d}.png" for i in range(n)),
        content,
        tuple(None if i % 7 == 6 else f"class {i % 3}" for i in range(n)),
        tuple(("train", "val", "test")[i % 3] for i in range(n)),
        tuple("" if i % 5 == 4 else None for i in range(n)),
    )


def compute(content: np.ndarray, feature: str) -> np.ndarray:
    """Returns the feature's [n, ...] float32 rows; some overflow float16."""
    rows = [
        np.random.default_rng([*digest[:8].tolist(), len(feature)]).standard_normal(
            FEATURES[feature].shape, np.float32
        )
        for digest in content
    ]
    shape = (len(content), *FEATURES[feature].shape)
    values = np.array(rows, np.float32).reshape(shape)
    if feature == "stage1":
        values[content[:, 1] % 16 == 1] *= 1e6
    return values


def fail_some(digest: np.ndarray) -> str | None:
    """Returns how reading an example fails, or None."""
    if digest[0] % 16 == 3:
        return "decode"
    return "io" if digest[2] % 32 == 5 else None


def make_store(
    root: Place, *, shard_rows: int = SHARD_ROWS, features: Sequence[str] = ("pool",)
) -> FeatureStore:
    """Makes or opens the toy store, whose shards are small."""
    path = root / folder_name("toy", json_digest(SPEC))
    infos = {name: FEATURES[name] for name in features}
    create_store(path, Manifest("toy", SPEC, 4, shard_rows, infos))
    store = open_store(path, spec=SPEC)
    store.declare(infos)
    return store


def fill(
    store: FeatureStore,
    content: np.ndarray,
    *,
    features: Sequence[str] = ("pool",),
    fails: Callable[[np.ndarray], str | None] = fail_some,
    retry_failed: bool = False,
    view: View = PLAIN,
    on_range: Callable[[], None] = lambda: None,
    stop_after: int | None = None,
) -> int:
    """Computes what is missing, within the store's lock, and returns the row count."""
    computed = 0
    store.declare({name: FEATURES[name] for name in features})
    groups = store.plan(content, features, view=view, retry_failed=retry_failed)
    ranges = [(group, i) for group in groups for i in range(len(group.ranges))]
    for group, i in ranges[:stop_after]:
        rows = group.content[group.ranges[i]]
        kinds = [fails(digest) for digest in rows]
        failed = [
            Failure(digest.tobytes().hex(), "some.png", f"{kind} went wrong", kind)
            for digest, kind in zip(rows, kinds, strict=True)
            if kind
        ]
        rows = rows[[kind is None for kind in kinds]]
        if len(rows):
            on_range()
        arrays = {name: compute(rows, name) for name in group.features}
        good = np.ones(len(rows), bool)
        for row, name, reason in find_unstorable(arrays, "float16"):
            digest = rows[row].tobytes().hex()
            failed.append(Failure(digest, "some.png", reason, "value", name))
            good[row] = False
        store.commit(
            group,
            i,
            content=rows[good],
            arrays={name: values[good] for name, values in arrays.items()},
            failed=failed,
            versions=VERSIONS,
        )
        computed += int(good.sum())
    return computed


def extract(
    root: Place, content: np.ndarray, *, on_range: Callable[[], None] = lambda: None
) -> FeatureStore:
    """Runs a whole extraction: two requests of features, and a snapshot."""
    store = make_store(root)
    with store.lock():
        fill(store, content, on_range=on_range)
        fill(store, content, features=("pool", "stage1"), on_range=on_range)
        store.commit_snapshot(make_examples(content))
    return store


def read_files(path: Place) -> dict[str, bytes]:
    """Returns the bytes of every file that must not depend on interruptions."""
    if isinstance(path, ObjectPath):
        return {
            name: found.path.read_bytes()
            for found in path.walk()
            if (name := found.path.relative_to(path)) not in (".lock", HISTORY)
        }
    kept = ("store.json", "failures.jsonl", "shards/*", "snapshots/*", ".tmp-*")
    return {
        str(file.relative_to(path)): file.read_bytes()
        for pattern in kept
        for file in sorted(path.glob(pattern))
    }
