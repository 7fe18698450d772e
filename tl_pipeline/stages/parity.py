"""The live check: committed rows against the same rows computed now.

A store promises that a row is what the backbone says of the example. Another library
version, device or platform could break that promise unseen; so whenever rows are
computed, a few committed ones, the oldest among them, are computed again and compared.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tl_pipeline.arrays import PARITY_TOLERANCE, row_difference
from tl_pipeline.backbones.backbone import Forward
from tl_pipeline.digest import Json
from tl_pipeline.errors import ParityError
from tl_pipeline.preprocess import Preprocess
from tl_pipeline.spec import View
from tl_pipeline.stages.inputs import Inputs, Wanted
from tl_pipeline.stages.lanes import Batches, Draw
from tl_pipeline.store.lookup import ParitySample
from tl_pipeline.store.store import FeatureStore

SAMPLE = 8  # rows a check: half of the oldest, half of the newest; one batch


def check_parity(
    store: FeatureStore,
    inputs: Inputs,
    *,
    make_forward: Callable[[Sequence[str]], Forward],
    preprocess: Preprocess,
    versions: Mapping[str, str],
    draws: Mapping[View, Draw | None],
) -> dict[str, Json]:
    """Compares a few committed rows with the same rows computed now.

    Args:
      store: The store.
      inputs: The dataset; only examples that it still has can be checked.
      make_forward: Gives the backbone's forward for some features.
      preprocess: Makes the forward's inputs.
      versions: What computes rows now.
      draws: Of which views rows are compared, and what makes them of inputs.

    Returns:
      The record: `rows` checked, `max_difference` relative to a row's largest
      magnitude, `tolerance`, `versions`, and `shards`, those that the check vouches
      for: all that are committed.

    Raises:
      ParityError: A row differs beyond the tolerance of the store's dtype; the message
        names what computed either side.
    """
    features, content = list(store.manifest.features), inputs.contents()
    dtype = str(store.spec["store_dtype"])
    worst, worst_feature, rows, shards = 0.0, "", 0, []
    for view, draw in draws.items():
        sample = store.oldest_rows(content, features, n=SAMPLE, view=view)
        shards += sample.shards
        live, usable = _compute(
            sample, inputs, make_forward, preprocess, store.batch_size, draw
        )
        for name, stored in sample.stored.items():
            kept = usable[stored.places]
            difference = row_difference(
                stored.values[kept], live[name][stored.places[kept]].astype(dtype)
            )
            rows += int(kept.sum())
            if difference > worst:
                of_view = f"view {view.number} of " if view.number else ""
                worst, worst_feature = difference, of_view + name
    if worst > PARITY_TOLERANCE[dtype]:
        raise ParityError(
            f"Feature store {store.path}: {worst_feature} of rows that were computed "
            f"by {_versions(store, shards)} differ by {worst:.2g} from the same rows "
            f"computed now by {_text(versions)}; {dtype} rows may differ by "
            f"{PARITY_TOLERANCE[dtype]:g} of their largest value. Extract with what "
            "computed them, or extract into another --store-root."
        )
    return {
        "rows": rows,
        "max_difference": worst,
        "tolerance": PARITY_TOLERANCE[dtype],
        "versions": dict(versions),
        "shards": [shard.name for shard in store.manifest.shards],
    }


def _compute(
    sample: ParitySample,
    inputs: Inputs,
    make_forward: Callable[[Sequence[str]], Forward],
    preprocess: Preprocess,
    batch_size: int,
    draw: Draw | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns live rows by feature, [k, ...], and which of them there are, [k]."""
    usable = np.zeros(len(sample.content), bool)
    if not sample.stored:
        return {}, usable
    forward = make_forward(list(sample.stored))
    batches = Batches(
        forward, batch_size=batch_size, draw=draw, windowed=preprocess.windowed
    )
    for place, content in enumerate(sample.content):
        outcome = inputs.load(Wanted(content.tobytes(), (preprocess,)))[preprocess]
        if isinstance(outcome, np.ndarray):
            usable[place] = True
            batches.push(outcome, content.tobytes())
    computed = batches.finish()
    live = {}
    for name, stored in sample.stored.items():
        live[name] = np.zeros((len(usable), *stored.values.shape[1:]), np.float32)
        if name in computed:
            live[name][usable] = computed[name]
    return live, usable


def _versions(store: FeatureStore, shards: Sequence[str]) -> str:
    return " and ".join({_text(store.versions(name)): None for name in shards})


def _text(versions: Mapping[str, Json]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
