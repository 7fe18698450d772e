"""The stores under a root, told from their manifests and the sizes of their files."""

import os

from tl_pipeline.digest import Json
from tl_pipeline.errors import NotFoundError, StoreError
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place, find_place
from tl_pipeline.store.describe import count_bytes, count_rows, describe_feature
from tl_pipeline.store.manifest import Manifest, read_manifest
from tl_pipeline.store.schema import HISTORY, MANIFEST, SHARDS, SNAPSHOTS


def list_stores(root: str | Place) -> list[dict[str, Json]]:
    """Describes every store under a root, sorted by folder, without reading a shard.

    `intact` says that every committed file is there in its size, which is all that
    can be told at a glance: `verify_store` reads the bytes. Where it is False,
    `problem` says why; a store without a readable manifest has None for all else.

    Raises:
      NotFoundError: There is no such folder.
    """
    root = find_place(root)
    if not root.is_dir():
        raise NotFoundError(
            f"Asked for the stores under {root}, which is no folder. Name the folder "
            "that `extract` was given as its store root."
        )
    return [
        _describe(folder)
        for folder in sorted(root.iterdir(), key=str)
        if (folder / MANIFEST).is_file()
    ]


def _describe(path: Place) -> dict[str, Json]:
    manifest, problem = None, None
    try:
        manifest = read_manifest(path)
        problem = _find_problem(path, manifest)
    except StoreError as error:
        problem = str(error)
    used = [
        (path / name).stat().st_mtime
        for name in (MANIFEST, HISTORY)
        if (path / name).exists()
    ]
    return {
        "path": str(path),
        "last_use": max(used),
        "intact": problem is None,
        "problem": problem,
        **(dict.fromkeys(_summary_keys()) if manifest is None else _summary(manifest)),
    }


def _find_problem(path: Place, manifest: Manifest) -> str | None:
    wrong = []
    for folder, entries in (
        (SHARDS, manifest.shards),
        (SNAPSHOTS, manifest.snapshots),
    ):
        sizes = _list_sizes(path / folder)
        wrong += [e.name for e in entries if sizes.get(e.name) != e.bytes]
    if not wrong:
        return None
    return (
        f"{len(wrong)} committed file{'s' * (len(wrong) > 1)} missing or of another "
        f"size, the first {wrong[0]}"
    )


def _list_sizes(folder: Place) -> dict[str, int]:
    if isinstance(folder, ObjectPath):
        return {found.path.name: found.size for found in folder.list_objects()}
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as files:
        return {file.name: file.stat().st_size for file in files}


def _summary_keys() -> tuple[str, ...]:
    return ("name", "digest", "backbone", "features", "rows", "bytes", "datasets")


def _summary(manifest: Manifest) -> dict[str, Json]:
    values = (
        manifest.name,
        manifest.digest,
        manifest.spec.get("backbone"),
        {name: describe_feature(manifest, name) for name in manifest.features},
        count_rows(manifest),
        count_bytes(manifest),
        sorted({entry.dataset for entry in manifest.snapshots}),
    )
    return dict(zip(_summary_keys(), values, strict=True))
