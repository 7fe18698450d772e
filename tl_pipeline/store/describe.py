"""What a store holds, as plain data for people and scripts."""

from collections import Counter
from collections.abc import Callable

from tl_pipeline.digest import Json
from tl_pipeline.examples import SPLITS, Examples
from tl_pipeline.places import Place
from tl_pipeline.store.failures import standing_failures
from tl_pipeline.store.history import covered_shards, read_history, recorded_rate
from tl_pipeline.store.manifest import Manifest


def describe_store(
    path: Place, manifest: Manifest, snapshot: Callable[[str], Examples]
) -> dict[str, Json]:
    """Describes a store without opening a shard.

    Args:
      path: The store's folder.
      manifest: What it holds.
      snapshot: Reads the latest snapshot of a dataset.

    Raises:
      StoreDamagedError: The failures, the history or a latest snapshot are not those
        written.
    """
    history = read_history(path)
    failures = standing_failures(path, manifest)
    covered = covered_shards(path)
    return {
        "path": str(path),
        "name": manifest.name,
        "digest": manifest.digest,
        "spec": manifest.spec,
        "batch_size": manifest.batch_size,
        "shard_rows": manifest.shard_rows,
        "features": {
            name: {**describe_feature(manifest, name), "classifier": info.classifier}
            for name, info in manifest.features.items()
        },
        "rows": count_rows(manifest),
        "bytes": count_bytes(manifest),
        "shards": [
            {
                "name": shard.name,
                "rows": shard.rows,
                "bytes": shard.bytes,
                "features": list(shard.features),
                "recipe": shard.recipe,
                "view": shard.view,
                "parity": shard.name in covered,
            }
            for shard in manifest.shards
        ],
        "snapshots": [
            {
                "dataset": entry.dataset,
                "digest": entry.digest,
                "rows": entry.rows,
                "bytes": entry.bytes,
            }
            for entry in manifest.snapshots
        ],
        "datasets": {
            name: _describe_examples(snapshot(name))
            for name in sorted({entry.dataset for entry in manifest.snapshots})
        },
        "failures": {
            "count": len({(failure.content, failure.id) for failure in failures}),
            "kinds": dict(sorted(Counter(f.kind for f in failures).items())),
            "first": [failure._asdict() for failure in failures[:10]],
        },
        "parity": all(shard.name in covered for shard in manifest.shards),
        "rate": recorded_rate(path),
        "extractions": [
            record for record in history if record.get("event") == "extraction"
        ][-10:],
    }


def _describe_examples(examples: Examples) -> dict[str, Json]:
    counts = Counter(zip(examples.targets, examples.splits, strict=True))
    unlabeled = examples.targets.count(None)
    return {
        "examples": len(examples),
        "unlabeled": unlabeled,
        "groups": len({group for group in examples.groups if group is not None}),
        "splits": {split: examples.splits.count(split) for split in SPLITS},
        "classes": [
            {"class": name, **{split: counts[name, split] for split in SPLITS}}
            for name in examples.classes
        ],
    }


def describe_feature(manifest: Manifest, name: str) -> dict[str, Json]:
    """Describes a feature: shape and dtype of a row, rows, views, magnitude.

    `rows` are those of examples as they are, `augmented` those of other views.
    """
    info = manifest.features[name]
    shards = [shard for shard in manifest.shards if name in shard.features]
    return {
        "shape": list(info.shape),
        "dtype": info.dtype,
        "rows": sum(shard.rows for shard in shards if not shard.view),
        "augmented": sum(shard.rows for shard in shards if shard.view),
        "views": sorted({shard.view for shard in shards}),
        "largest": max((shard.largest[name] for shard in shards), default=None),
    }


def count_rows(manifest: Manifest) -> int:
    """Returns the rows of the feature and view that has most."""
    rows: Counter[tuple[str, str, int]] = Counter()
    for shard in manifest.shards:
        for name in shard.features:
            rows[name, shard.recipe, shard.view] += shard.rows
    return max(rows.values(), default=0)


def count_bytes(manifest: Manifest) -> int:
    """Returns the bytes of all shards and snapshots."""
    return sum(entry.bytes for entry in (*manifest.shards, *manifest.snapshots))
