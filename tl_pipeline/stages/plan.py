"""What an extraction would do and take, without doing it.

Nothing is written but the cache of digests, nothing is locked, no store is made.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tl_pipeline.data.contents import make_examples
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.digest import Json
from tl_pipeline.errors import RoomError
from tl_pipeline.places import Place, find_place
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.stages.backbones import Backbone
from tl_pipeline.stages.baselines import Baseline
from tl_pipeline.stages.calibration import Calibration, calibrate
from tl_pipeline.stages.extract import (
    baseline_part,
    check_request,
    digest_dataset,
    find_stat_cache,
    items_by_content,
    list_failures,
)
from tl_pipeline.stages.extraction import count_changes
from tl_pipeline.stages.inputs import Inputs
from tl_pipeline.stages.room import check_room, measure_room
from tl_pipeline.stages.targets import Target, open_target
from tl_pipeline.stages.views import Views
from tl_pipeline.store.history import recorded_rate
from tl_pipeline.store.plan import Group
from tl_pipeline.store.space import ShardSpace, measure_shards

# A recorded rate counts from so many batches on: below, it is mostly compilation.
RECORDED_BATCHES = 20
# float16 ends at 65,504; new examples may well reach 16 times what was seen.
LARGE = 4096.0


@dataclasses.dataclass(frozen=True)
class PlanReport:
    """What an extraction would do; sizes in bytes, times in seconds.

    Attributes:
      dataset: The dataset's name.
      takes: What the backbone takes: `"images"`, `"texts"` or `"recordings"`.
      examples: Examples of the dataset.
      changes: As in `ExtractReport`; None where the store has no snapshot of it.
      duplicates: Examples with the bytes of another one.
      failures: `remembered`: examples known to give no row, which are not tried;
        `retried`: such that are; `unreadable`: files that cannot be read now.
      inputs_hashed: Files read for a content digest.
      rows_to_compute: Examples of the first store whose rows are to be computed.
      rows_reused: Examples of it whose rows are there.
      views_to_compute: Rows of augmented views to be computed beside these.
      stores: The backbone's store, then the baselines': `name`, `store`, `exists`,
        `rows_to_compute`, `features` (each `rows_to_compute`, `rows_reused`, `bytes`),
        `shards`, `shard_rows`, `shard_bytes` (of its first new shard), `bytes` (of all
        new shards), `snapshot_bytes`.
      bytes: All bytes to write.
      disk: `free`, `margin`, by `root`.
      host: `needed`, `free` (None where the system does not say).
      device: `kind`, `needed`, `limit`, the largest store's; None without one.
      seconds: Predicted; None where nothing could be timed.
      rate: `source` (`recorded`, `calibrated` or None), `images_a_second`, and the
        `calibration`.
      largest: Largest magnitude by feature, of stored rows and of the calibration.
      fits: Whether `run` and `extract` would begin.
      warnings: Sentences for the user.
    """

    dataset: str
    takes: str
    examples: int
    changes: dict[str, int] | None
    duplicates: int
    failures: dict[str, int]
    inputs_hashed: int
    rows_to_compute: int
    rows_reused: int
    views_to_compute: int
    stores: tuple[dict[str, Any], ...]
    bytes: int
    disk: dict[str, Any]
    host: dict[str, int | None]
    device: dict[str, Any] | None
    seconds: float | None
    rate: dict[str, Any]
    largest: dict[str, float]
    fits: bool
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def plan(
    dataset: Dataset,
    backbone: Backbone,
    *,
    features: Sequence[str],
    store_root: str | Place,
    store_dtype: str = "float16",
    batch_size: int = 32,
    val_size: float = 0.15,
    test_size: float = 0.15,
    baselines: Sequence[Baseline] = (),
    n_train: int = 2000,
    n_test: int = 2000,
    retry_failed: bool = False,
    workers: int | None = None,
    views: Views | None = None,
    progress: Progress | None = None,
) -> PlanReport:
    """Says what `extract` with these arguments would do and take.

    Rows are known by their content, so every file that changed is read once, for its
    digest; `extract` will not read it for that again.

    Raises:
      DatasetError: The dataset has no readable example, or of another kind than the
        backbone takes.
      RequestError: Views are asked for, of texts.
      BackboneError: A feature name is unknown.
      SpecMismatchError: The store holds another classifier's logits.
      StoreDamagedError: A store's files are not the committed ones.
    """
    progress = progress or NoProgress()
    root = find_place(store_root)
    check_request(dataset, backbone, views)
    contents = digest_dataset(dataset, find_stat_cache(root), workers, progress)
    examples = make_examples(dataset, contents, val_size=val_size, test_size=test_size)
    items = items_by_content(contents)
    part = baseline_part(examples, n_train=n_train, n_test=n_test)
    options = {"root": root, "store_dtype": store_dtype, "batch_size": batch_size}
    targets = [open_target(backbone, features, examples, **options)]
    targets += [open_target(b.backbone, b.features, part, **options) for b in baselines]
    plans = [target.plan(retry_failed) for target in targets]
    viewed = targets[0].list_views(views)
    view_plans = [target.plan(retry_failed) for target in viewed]
    everything, every_plan = [*targets, *viewed], [*plans, *view_plans]
    room = measure_room(everything, every_plan, root=root, workers=workers)
    warnings = []
    try:
        check_room(room, root=root)
    except RoomError as error:
        warnings.append(str(error))
    fits = not warnings
    main = targets[0]
    planned = {row.tobytes() for group in plans[0] for row in group.content}
    known = list_failures(main, contents, items)
    tried = [
        f for f in known if f["content"] and bytes.fromhex(f["content"]) in planned
    ]
    unreadable = sum(1 for f in known if not f["content"])
    remembered = {f["content"] for f in known if f["content"] and f not in tried}
    inputs = Inputs(dataset, items)
    # Where it cannot fit, running it for a moment may be what brings the machine down.
    rate, seconds = (
        _predict(everything, every_plan, inputs, workers, progress)
        if fits
        else ({"source": None, "images_a_second": None, "calibration": None}, None)
    )
    largest = _find_largest(main, rate["calibration"])
    if main.store.dtype == "float16":
        warnings += [
            f"{name} reaches {value:,.0f}, and float16 ends at 65,504: an example "
            "beyond fails. Ask for float32 with --store-dtype ([store] dtype)."
            for name, value in largest.items()
            if value > LARGE
        ]
    return PlanReport(
        dataset=dataset.name,
        takes=backbone.preprocess.takes,
        examples=len(dataset),
        changes=count_changes(main.store, main.examples),
        duplicates=len(examples) - len(items),
        failures={
            "remembered": len(remembered),
            "retried": len({f["content"] for f in tried}),
            "unreadable": unreadable,
        },
        inputs_hashed=contents.hashed,
        rows_to_compute=len(planned),
        rows_reused=len(items) - len(planned) - len(remembered),
        views_to_compute=sum(len(g.content) for plan in view_plans for g in plan),
        stores=tuple(
            _describe(name, target, plan, space, snapshot_bytes)
            for name, target, plan, space, snapshot_bytes in zip(
                (backbone.name, *(baseline.name for baseline in baselines)),
                targets,
                plans,
                room.shards[: len(targets)],
                room.snapshots[: len(targets)],
                strict=True,
            )
        ),
        bytes=room.disk_bytes,
        disk={"root": str(root), "free": room.disk_free, "margin": room.disk_margin},
        host={"needed": room.host_bytes, "free": room.host_free},
        device=_measure_device(targets, plans) if fits else None,
        seconds=seconds,
        rate=rate,
        largest=largest,
        fits=fits,
        warnings=tuple(warnings),
    )


def _describe(
    name: str,
    target: Target,
    plan: Sequence[Group],
    space: ShardSpace,
    snapshot_bytes: int,
) -> dict[str, Any]:
    distinct = {row.tobytes().hex() for row in target.examples.content}
    features = {}
    for feature in target.features:
        missing = {
            row.tobytes().hex()
            for group in plan
            if feature in group.features
            for row in group.content
        }
        settled = {
            content
            for content, scopes in target.store.manifest.failed.items()
            if content in distinct and {"", feature} & set(scopes)
        }
        features[feature] = {
            "rows_to_compute": len(missing),
            "rows_reused": len(distinct - missing - settled),
            "bytes": space.features.get(feature, 0),
        }
    first = [dataclasses.replace(g, ranges=g.ranges[:1]) for g in plan[:1]]
    return {
        "name": name,
        "store": str(target.store.path),
        "exists": target.store.path.exists(),
        "rows_to_compute": sum(len(group.content) for group in plan),
        "features": features,
        "shards": space.shards,
        "shard_rows": target.store.manifest.shard_rows,
        "shard_bytes": measure_shards(
            first, target.infos, spec=target.store.spec, versions=target.versions
        ).bytes,
        "bytes": space.bytes,
        "snapshot_bytes": snapshot_bytes,
    }


def _predict(
    targets: Sequence[Target],
    plans: Sequence[Sequence[Group]],
    inputs: Inputs,
    workers: int | None,
    progress: Progress,
) -> tuple[dict[str, Any], float | None]:
    """Returns how fast rows come and by whose word, and the seconds they will take."""
    # A view of an example takes as long as the example does.
    of_store: dict[Place, tuple[Target, list[Group]]] = {}
    for target, plan in zip(targets, plans, strict=True):
        of_store.setdefault(target.store.path, (target, []))[1].extend(plan)
    lacking = [
        (target, max(groups, key=lambda group: len(group.content)), rows)
        for target, groups in of_store.values()
        if (rows := sum(len(group.content) for group in groups))
    ]
    rate: dict[str, Any] = dict.fromkeys(("source", "images_a_second", "calibration"))
    if not lacking:
        return rate, 0.0
    recorded = [
        recorded_rate(
            target.store.path,
            versions=target.versions,
            least=RECORDED_BATCHES * target.store.batch_size,
        )
        for target, _, _ in lacking
    ]
    if all(recorded):
        # Each store's record is of a whole extraction, the other stores' rows included.
        seconds = max(
            rows / (found or 1)
            for (_, _, rows), found in zip(lacking, recorded, strict=True)
        )
        return {**rate, "source": "recorded", "images_a_second": recorded[0]}, seconds
    lacking.sort(key=lambda one: -one[2])
    found: Calibration | None = calibrate(
        [target for target, _, _ in lacking],
        [group for _, group, _ in lacking],
        inputs,
        workers=workers,
        progress=progress,
    )
    if found is None:
        return rate, None
    seconds = found.start_seconds + sum(
        rows * each
        for (_, _, rows), each in zip(lacking, found.row_seconds, strict=True)
    )
    return {
        "source": "calibrated",
        "images_a_second": found.images_a_second,
        "calibration": found.to_json(),
    }, seconds


def _find_largest(main: Target, calibration: Json) -> dict[str, float]:
    """Returns the largest magnitude seen of each feature of the first store."""
    found: dict[str, float] = {}
    seen = [shard.largest for shard in main.store.manifest.shards]
    if isinstance(calibration, dict):
        seen.append(calibration["largest"])
    for largest in seen:
        for name in main.features:
            if name in largest:
                found[name] = max(found.get(name, 0.0), largest[name])
    return found


def _measure_device(
    targets: Sequence[Target], plans: Sequence[Sequence[Group]]
) -> dict[str, Any] | None:
    """Returns the memory that the hungriest network takes; the others follow it."""
    if not any(target.backbone.needs_accelerator for target in targets):
        return None
    import jax  # loaded by the backbone already

    from tl_pipeline.backbones.network import NetworkBackbone

    needed = [
        target.backbone.measure_memory(plan[0].features, target.store.batch_size)
        for target, plan in zip(targets, plans, strict=True)
        if plan and isinstance(target.backbone, NetworkBackbone)
    ]
    device = jax.devices()[0]
    return {
        "kind": device.device_kind,
        "needed": max((n for n in needed if n is not None), default=None),
        "limit": (device.memory_stats() or {}).get("bytes_limit"),
    }
