"""`store` and `ls`, `show`, `gc`, `verify`, `export`, `import`."""

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console, Wait
from tl_pipeline.errors import StoreDamagedError


def ls(root: str = "stores", *, as_json: AsJson = False) -> None:
    """List the stores under a folder.

    Args:
      root: The folder that holds the stores.
    """
    from tl_pipeline.reporting.tables import format_table
    from tl_pipeline.store.catalog import list_stores

    console = Console(as_json=as_json)
    stores: list[dict[str, Any]] = list_stores(root)
    table = [
        {
            "store": store["path"],
            "backbone": store["backbone"],
            "features": ", ".join(store["features"] or ()),
            "rows": store["rows"],
            "MB": store["bytes"] / 1e6 if store["bytes"] else None,
            "datasets": ", ".join(store["datasets"] or ()),
            "last use": time.strftime("%F %R", time.localtime(store["last_use"])),
            "intact": "yes" if store["intact"] else store["problem"],
        }
        for store in stores
    ]
    console.say(format_table(table) if table else f"no store under {root}")
    console.result(stores)


def show(store: str, *, as_json: AsJson = False) -> None:
    """Show what is in a store, and where it came from.

    Args:
      store: The store's folder.
    """
    from tl_pipeline.reporting.summary import describe_store
    from tl_pipeline.store.store import open_store

    console = Console(as_json=as_json)
    facts = open_store(store).describe()
    console.say(*describe_store(facts))
    console.result(facts)


def gc(
    store: str,
    *,
    keep: int = 5,
    yes: Annotated[bool, Parameter(negative=())] = False,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Drop the rows, snapshots and failures that no kept snapshot uses.

    A dry run without --yes. Rows of an extraction that was interrupted are in no
    snapshot yet: run it again first, or they are dropped.

    Args:
      store: The store's folder.
      keep: Snapshots to keep of each dataset, the latest ones.
      yes: Drop them; else only say what would be dropped.
      wait: Wait for another process that writes the store, or fail.
    """
    from tl_pipeline.store.gc import plan_gc
    from tl_pipeline.store.store import open_store

    console = Console(as_json=as_json)
    if yes:
        opened = open_store(store)
        with opened.lock(wait=wait, on_wait=lambda said: console.note([said])):
            plan = opened.collect(keep=keep)
    else:
        plan = plan_gc(store, keep=keep)
    console.say(
        f"{'dropped' if yes else 'would drop'} {plan.rows:,} rows, "
        f"{len(plan.snapshots)} snapshots and {plan.failures} failures "
        f"({plan.bytes / 1e6:,.1f} MB): {len(plan.rewritten)} shards written anew, "
        f"{len(plan.removed)} removed"
    )
    if not yes and not plan.is_empty:
        console.say("nothing was changed; --yes drops them")
    console.result({"store": str(store), "dry_run": not yes, **plan.to_json()})


def verify(store: str, *, as_json: AsJson = False) -> None:
    """Read every byte of a store and compare it with what was committed.

    Exit code 1 where anything differs.

    Args:
      store: The store's folder.
    """
    from tl_pipeline.store.verify import verify_store

    console = Console(as_json=as_json)
    found: dict[str, Any] = verify_store(store)
    console.note(found["notes"])
    console.result(found)
    if not found["intact"]:
        problems = "\n".join(f"  {problem}" for problem in found["problems"])
        raise StoreDamagedError(
            f"Feature store {store} is not intact:\n{problems}\n"
            "Restore these files from a copy, or delete the store and extract again."
        )
    console.say(f"{store} is intact: {found['shards']} shards, {found['rows']:,} rows")


def export(
    store: str,
    out: Path,
    *,
    dataset: str | None = None,
    snapshot: str | None = None,
    features: Annotated[
        list[str] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write features and targets to one plain file.

    Args:
      store: The store's folder.
      out: The file to write: .h5, .npz or .parquet.
      dataset: Which dataset of the store; needed where it has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
      features: Which features; default: all that the store has.
    """
    from tl_pipeline.stages.plain_file import export_store

    console = Console(as_json=as_json)
    n = export_store(store, out, dataset=dataset, snapshot=snapshot, features=features)
    console.say(f"wrote {n:,} examples to {out}, {out.stat().st_size / 1e6:,.1f} MB")
    console.result({"out": str(out), "examples": n, "bytes": out.stat().st_size})


def import_(
    files: Annotated[list[Path], Parameter(consume_multiple=True, negative=())],
    *,
    backbone: str,
    weights: str,
    dataset: str,
    store_root: str = "stores",
    preprocess: str = "not stated",
    ids: Path | None = None,
    data: str | None = None,
    features: Annotated[
        list[str] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    store_dtype: str | None = None,
    val_size: float = 0.15,
    test_size: float = 0.15,
    as_json: AsJson = False,
) -> None:
    """Make a store of features that were made elsewhere, to train heads on them.

    What made them is declared, not checked; a store has one declaration.

    Args:
      files: .npz, .npy, .h5 or .parquet files with the same rows.
      backbone: What network made them, in your words.
      weights: Which weights it had, in your words.
      dataset: The dataset's name.
      store_root: The folder that holds the stores.
      preprocess: What was done to the inputs, in your words.
      ids: A .txt or .csv file of ids, for files that hold none.
      data: The examples, for keys, targets and splits that the files lack.
      features: Which arrays, each NAME or NAME=FEATURE; default: all.
      store_dtype: float16 or float32; default: the files'.
      val_size: Share of validation, where there are no splits.
      test_size: Share of test, where there are no splits.
    """
    from tl_pipeline.data.sources import load_dataset
    from tl_pipeline.reporting.summary import describe_import
    from tl_pipeline.stages.import_features import import_features

    console = Console(as_json=as_json)
    report = import_features(
        files,
        backbone=backbone,
        weights=weights,
        dataset=dataset,
        store_root=store_root,
        preprocess=preprocess,
        ids=ids,
        data=None if data is None else load_dataset(data),
        features=features,
        store_dtype=store_dtype,
        val_size=val_size,
        test_size=test_size,
        progress=console.progress(),
        on_wait=lambda sentence: console.note([sentence]),
    ).to_json()
    console.say(*describe_import(report))
    console.result(report)
