"""Stage one: a dataset through frozen backbones, once, into feature stores.

Only rows that no committed shard holds are computed. Baselines ride on the same
decoding: an example is opened once, whatever number of stores wants it.
"""

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tl_pipeline.data.contents import Contents, digest_items, make_examples
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.sources import PREFIX
from tl_pipeline.data.stat_cache import StatCache
from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.fewshot import stratified_part
from tl_pipeline.examples import (
    SPLITS,
    Examples,
    find_conflicts,
    find_duplicates,
    find_leaks,
)
from tl_pipeline.files import cache_folder
from tl_pipeline.places import Place, absolute, find_place
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.stages.backbones import Backbone, require_images
from tl_pipeline.stages.baselines import Baseline
from tl_pipeline.stages.extraction import ExtractReport, count_changes
from tl_pipeline.stages.inputs import Inputs
from tl_pipeline.stages.lanes import count_examples, fill_lanes
from tl_pipeline.stages.room import check_room, measure_room
from tl_pipeline.stages.runner import Pass, Runner, run_jobs
from tl_pipeline.stages.targets import Target, open_target
from tl_pipeline.stages.views import Views
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.history import recorded_rate

_STAT_CACHE = ".stat-cache.sqlite"


def extract(
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
    wait: bool = True,
    examples: Examples | None = None,
    views: Views | None = None,
    runner: Runner | None = None,
    progress: Progress | None = None,
) -> ExtractReport:
    """Computes the rows of a dataset that its feature store does not hold yet.

    Args:
      dataset: From `load_dataset`.
      backbone: From `load_backbone`.
      features: Feature names, such as `"pool"` or `"stage3:avg"`.
      store_root: The folder that holds stores; made where it is missing.
      store_dtype: `"float16"` or `"float32"`.
      batch_size: B, fixed when a store is made; an existing store keeps its own.
      val_size: Share of validation, where the data has no split.
      test_size: Share of test, where the data has no split.
      baselines: Backbones to extract beside it, on a stratified part.
      n_train: Train examples of that part.
      n_test: Validation, and test, examples of that part.
      retry_failed: Whether to try again what failed to decode before.
      workers: Decoding threads; by default one a core.
      wait: Whether to wait for another process that writes one of the stores.
      examples: The snapshot to make; by default of all examples, split as above.
      views: Augmented views of the training examples to compute beside them, from
        `make_views`.
      runner: Whose processes compute the rows; by default this one does.
      progress: What to tell as it goes on.

    Returns:
      What was done, with every count.

    Raises:
      DatasetError: The dataset has no readable example, or of another kind than the
        backbone takes.
      RequestError: Views are asked for, of texts.
      BackboneError: A feature name is unknown.
      SpecMismatchError: The store holds another classifier's logits.
      ParityError: Committed rows differ from the same rows computed now.
      RoomError: What is missing does not fit on the disk or in memory.
      StoreLockedError: Another process writes a store, and `wait` is False.
      StoreError: The store cannot be written.
    """
    begin = time.perf_counter()
    progress = progress or NoProgress()
    root = find_place(store_root)
    check_request(dataset, backbone, views)
    contents = digest_dataset(dataset, find_stat_cache(root), workers, progress)
    items = items_by_content(contents)
    if examples is None:
        examples = make_examples(
            dataset, contents, val_size=val_size, test_size=test_size
        )
    else:
        known = {row.tobytes() for row in examples.content}
        items = {content: found for content, found in items.items() if content in known}
    part = baseline_part(examples, n_train=n_train, n_test=n_test)
    options = {"root": root, "store_dtype": store_dtype, "batch_size": batch_size}
    main = open_target(backbone, features, examples, **options)
    others = [open_target(b.backbone, b.features, part, **options) for b in baselines]
    viewed = main.list_views(views)
    targets, everything = [main, *others], [main, *viewed, *others]
    # Before a store is made: what its first request was, like its batch size, stays.
    plans = [target.plan(retry_failed) for target in everything]
    if any(plans):
        room = measure_room(everything, plans, root=root, workers=workers)
        check_room(room, root=root)
    for target in targets:
        target.make_store()
    for target in viewed:
        target.store = main.store
    inputs, parity_inputs = Inputs(dataset, items), Inputs(dataset, items)
    with ExitStack() as locks:
        # In one order everywhere, so that two extractions never wait for each other.
        for target in sorted(targets, key=lambda target: target.store.path):
            locks.enter_context(target.store.lock(wait=wait))
        # Again: another process may have held a lock until now.
        passes = plan_passes(everything, retry_failed=retry_failed)
        growing = {target.store.path for one in passes for target, _ in one}
        # Once before anything is added to old rows, and once after.
        for target in targets:
            if target.store.manifest.shards and target.store.path in growing:
                target.check_parity(parity_inputs, viewed if target is main else ())
        changes = count_changes(main.store, main.examples)
        if runner is None:
            _compute(passes, inputs, workers, progress)
        else:
            run_jobs(passes, inputs, runner, progress)
        for target in targets:
            if not target.store.has_parity():
                own = viewed if target is main else ()
                found = target.check_parity(parity_inputs, own)
                target.store.record_parity(found)
            target.merge()
            target.store.commit_snapshot(target.examples)
        main.store.record_unreadable(dataset.name, contents.unreadable)
        seconds = time.perf_counter() - begin
        views_computed = sum(target.computed for target in viewed)
        for target in targets:
            rows = target.computed + (views_computed if target is main else 0)
            if rows:
                target.record_extraction(
                    rows, seconds, source=_locate(dataset), roles=dataset.roles
                )
    failures = list_failures(main, contents, items)
    n_failed = sum(1 for failure in failures if failure["content"])
    reused = len(items) - main.computed - n_failed
    rate = recorded_rate(main.store.path)
    return ExtractReport(
        store=str(main.store.path),
        digest=main.store.digest,
        dataset=dataset.name,
        snapshot=examples.digest,
        features=tuple(main.features),
        examples=len(dataset),
        changes=changes,
        rows_reused=reused,
        rows_computed=main.computed,
        views_computed=views_computed,
        duplicates=len(examples) - len(items),
        failures=tuple(failures),
        inputs_hashed=contents.hashed,
        inputs_opened=inputs.opened,
        inputs_cut=inputs.cut,
        words=inputs.words,
        words_unknown=inputs.unknown,
        parity_inputs=parity_inputs.opened,
        parity=main.parity,
        seconds=seconds,
        seconds_saved=reused / rate if rate else None,
        shards_merged=main.merged.shards,
        notes=dataset.notes,
        duplicate_ids=tuple(map(tuple, find_duplicates(examples))),
        conflicts=tuple(map(tuple, find_conflicts(examples))),
        leaks=tuple(map(tuple, find_leaks(examples))),
        weights=backbone.weights,
        weights_origin=dict(backbone.weights_origin),
        baselines=tuple(
            {
                "name": baseline.name,
                "store": str(target.store.path),
                "digest": target.store.digest,
                "snapshot": target.examples.digest,
                "features": list(target.features),
                "rows_computed": target.computed,
            }
            for baseline, target in zip(baselines, others, strict=True)
        ),
    )


def check_request(dataset: Dataset, backbone: Backbone, views: Views | None) -> None:
    """Raises where a backbone does not take what a dataset holds, or has no views.

    Raises:
      DatasetError: It takes another kind of input.
      RequestError: It takes none of which there are views.
    """
    takes = backbone.preprocess.takes
    if dataset.holds not in ("", takes):
        raise DatasetError(
            f"Asked for features of {dataset.source} by {backbone.name}: it holds "
            f"{dataset.holds}, and the backbone takes {takes}. Name a backbone of "
            f"{dataset.holds}, from `tl-pipeline backbone ls`, or other data."
        )
    if views is not None:
        require_images(backbone.preprocess, asked="views")


def find_stat_cache(root: Place) -> Path:
    """Returns the file of remembered content digests of those who fill a store root.

    It lies in the root; of a bucket, in this user's folder of caches.
    """
    if isinstance(root, Path):
        return root / _STAT_CACHE
    return cache_folder("digests") / _STAT_CACHE.lstrip(".")


def digest_dataset(
    dataset: Dataset, cache_path: Path, workers: int | None, progress: Progress
) -> Contents:
    """Finds the content digests, telling how many are left.

    Raises:
      DatasetError: None of the examples can be read.
    """
    told = 0

    def tell(done: int, _: int) -> None:
        nonlocal told
        progress.advance(done - told)
        told = done

    progress.start("hash", len(dataset))
    try:
        with StatCache(cache_path) as cache:
            contents = digest_items(dataset, cache, workers=workers, progress=tell)
    finally:
        progress.finish()
    if not contents.items:
        raise DatasetError(
            f"Asked to extract {dataset.source}: none of its {len(dataset)} examples "
            "can be read. Check the files and their permissions."
        )
    return contents


def _locate(dataset: Dataset) -> str:
    """Returns a dataset's source as it is named from any working directory."""
    if dataset.source.startswith(PREFIX):
        return dataset.source
    return absolute(os.path.expanduser(dataset.source))


def items_by_content(contents: Contents) -> dict[bytes, list[Item]]:
    """Returns the items of each content digest, in order."""
    items: dict[bytes, list[Item]] = defaultdict(list)
    for item, content in zip(contents.items, contents.content, strict=True):
        items[content.tobytes()].append(item)
    return items


def baseline_part(examples: Examples, *, n_train: int, n_test: int) -> Examples:
    """Returns the labeled part that baselines run on, the same from day to day."""
    rows: list[int] = []
    for split in SPLITS:
        of_split = [
            row
            for row, name in enumerate(examples.splits)
            if name == split and examples.targets[row] is not None
        ]
        picked = stratified_part(
            [str(examples.targets[row]) for row in of_split],
            examples.content[of_split],
            n_train if split == "train" else n_test,
        )
        rows += [of_split[i] for i in picked]
    return examples.take(rows)


def plan_passes(targets: Sequence[Target], *, retry_failed: bool) -> list[Pass]:
    """Plans in which order groups of missing rows are computed.

    A store's groups of different features are committed one after the other, and those
    of its views, which lack the same features, side by side. So its shards are the same
    however its extraction was interrupted. Pass k serves every store at once.
    """
    plans = [target.plan(retry_failed) for target in targets]
    pairs = [
        (target, group)
        for target, plan in zip(targets, plans, strict=True)
        for group in plan
    ]
    kinds: dict[Place, set[tuple[bool, tuple[str, ...]]]] = defaultdict(set)
    for target, group in pairs:
        kinds[target.store.path].add((group.is_later, group.features))
    ordered = {path: sorted(found) for path, found in kinds.items()}
    passes: list[Pass] = [[] for _ in range(max(map(len, kinds.values()), default=0))]
    for target, group in pairs:
        place = ordered[target.store.path].index((group.is_later, group.features))
        passes[place].append((target, group))
    return passes


def _compute(
    passes: Sequence[Pass], inputs: Inputs, workers: int | None, progress: Progress
) -> None:
    """Fills all stores in passes; in a pass each example is opened at most once."""
    for one in passes:
        lanes = [target.open_lane(group, inputs) for target, group in one]
        progress.start("extract", count_examples(lanes))
        try:
            fill_lanes(lanes, inputs, workers, progress)
        finally:
            progress.finish()


def list_failures(
    main: Target, contents: Contents, items: Mapping[bytes, Sequence[Item]]
) -> list[dict[str, str]]:
    """Lists the dataset's examples without a row of every feature asked for."""
    failures = [
        {"id": id, "kind": "io", "reason": reason, "content": "", "feature": ""}
        for id, reason in contents.unreadable
    ]
    for failure in main.store.failures():
        if failure.content and bytes.fromhex(failure.content) in items:
            if failure.feature in ("", *main.features):
                failures.append(_plain(failure))
    return sorted(failures, key=lambda failure: failure["id"])


def _plain(failure: Failure) -> dict[str, str]:
    return {key: failure._asdict()[key] for key in _FAILURE_KEYS}


_FAILURE_KEYS = ("id", "kind", "reason", "content", "feature")
