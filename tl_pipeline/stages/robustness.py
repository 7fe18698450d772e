"""Robustness: a run's head on corrupted test examples, through its own backbone."""

import concurrent.futures
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tl_pipeline.data.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruption,
    corrupt,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import (
    ConfigError,
    DatasetError,
    FailedError,
    NotFoundError,
    shorten,
)
from tl_pipeline.evaluation.merits import MEASURES, find_merits
from tl_pipeline.evaluation.uncertainty import paired_difference
from tl_pipeline.heads.head import Head
from tl_pipeline.places import find_place
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.reporting.sentences import count
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.stages.backbones import require_images
from tl_pipeline.stages.inputs import InputFailure, Inputs, Wanted
from tl_pipeline.stages.joined import join_computed, split_name
from tl_pipeline.stages.lanes import Batches
from tl_pipeline.stages.originals import find_recorded, load_again
from tl_pipeline.stages.predict import load_network
from tl_pipeline.stages.run_page import show_measured

Kind = tuple[str, int]  # a corruption and its severity


def measure_robustness(
    run: str | Path,
    *,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    data: str | Path | None = None,
    weights: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Json]:
    """Scores a run's head on its test examples as they are, and corrupted.

    The run's page shows it from then on, where the run may be written.

    Inputs are corrupted at the size in which the backbone takes them, and the rows are
    computed as the store's were, and rounded as it rounds. Every example is corrupted
    the same way each time. Intervals are over examples: of the mean over corruptions,
    an example's scores under all of them are drawn together.

    Args:
      run: A run's folder, or a `.current.json`.
      corruptions: Of `CORRUPTIONS`.
      severities: Of 1 to 5.
      data: Where the dataset is; by default where it was when it was extracted.
      weights: The backbone's weights; by default from where the run had them.
      workers: Threads that decode and corrupt; by default one a core.
      progress: What to tell as it goes on.

    Returns:
      Plain data: `run`, `measure`, `n`, `clean`, `corruptions` by name and severity,
      `means` by name, `mean` over all, `loss` against clean, `notes`. Each figure has
      `value`, `low` and `high`.

    Raises:
      ConfigError: An unknown corruption or severity, or none.
      NotFoundError: There is no such run, or nobody knows where its data is.
      DatasetError: No labeled test example can be had any more.
      RequestError: The run's features were made elsewhere.
    """
    kinds = list(itertools.product(dict.fromkeys(corruptions), sorted(set(severities))))
    if not kinds:
        raise ConfigError(
            "Asked for robustness to no corruption. Name one at least, and a severity."
        )
    for name, severity in kinds:
        check_corruption(name, severity)
    loaded = load_run(run)
    predictions = loaded.predictions()
    rows = [
        row
        for row in np.flatnonzero(predictions.labeled).tolist()
        if predictions.splits[row] == "test"
    ]
    inputs = _find_inputs(loaded, rows, data)
    progress = progress or NoProgress()
    progress.start("examples", len(inputs.contents()))
    try:
        outputs = dict(_compute(loaded, inputs, kinds, weights, workers, progress))
    finally:
        progress.finish()
    kept = [row for row in rows if predictions.content[row].tobytes() in outputs]
    if not kept:
        raise DatasetError(
            f"Asked for the robustness of run {loaded.path}: none of its "
            f"{count(len(rows), 'labeled test example')} can be read from "
            f"{data or 'where it was'} as it was. Say where they are with --data."
        )
    notes: list[str] = []
    if len(kept) < len(rows):
        notes.append(
            f"{len(kept):,} of the run's {len(rows):,} test examples are scored: the "
            "others are gone, or not what they were"
        )
    given = np.stack([outputs[predictions.content[row].tobytes()] for row in kept])
    merits = find_merits(
        predictions.task,
        predictions.targets[kept],
        np.moveaxis(given, 1, 0),
        thresholds=predictions.thresholds,
    )
    found: dict[str, Json] = {
        "run": str(loaded.path),
        "measure": MEASURES[predictions.task.kind],
        "n": len(kept),
        **_describe(merits[0], dict(zip(kinds, merits[1:], strict=True))),
        "notes": notes,
    }
    try:
        show_measured(loaded, {"robustness": found})
    except (FailedError, OSError) as error:  # a run of others, which may be read alone
        notes.append(f"the run's page does not show it: {shorten(error)}")
    return found


def _find_inputs(run: Run, rows: Sequence[int], data: str | Path | None) -> Inputs:
    """Finds the test examples in the run's dataset, by id; bytes are checked later."""
    name = str(run.provenance["dataset"])
    recorded = find_recorded(find_place(run.provenance["store"]), name)
    source = data or (recorded.source if recorded else None)
    if source is None:
        raise NotFoundError(
            f"Asked for the robustness of run {run.path}: it is not on record where "
            f"its dataset {name} lies. Say where it is with --data."
        )
    dataset = load_again(source, recorded)
    predictions = run.predictions()
    listed = {item.id: item for item in dataset.items}
    items: dict[bytes, list] = {}
    for row in rows:
        item = listed.get(predictions.ids[row])
        if item is not None:
            items.setdefault(predictions.content[row].tobytes(), []).append(item)
    return Inputs(dataset, items)


def _compute(
    run: Run,
    inputs: Inputs,
    kinds: Sequence[Kind],
    weights: str | None,
    workers: int | None,
    progress: Progress,
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yields what the head says of each example, plain and corrupted: [1 + n, K]."""
    network = load_network(run, weights=weights)
    preprocess = require_images(network.preprocess, asked="corruptions")
    head = Head.from_arrays(run.head, run.head_arrays())
    batch_size = int(run.provenance["batch_size"])
    batches = Batches(
        network.make_forward(split_name(head.feature)),
        batch_size=batch_size,
    )
    wanted = [Wanted(row.tobytes(), (preprocess,)) for row in inputs.contents()]
    workers = workers or os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        # As many examples at once as make whole batches, whatever the kinds.
        for start in range(0, len(wanted), batch_size):
            part = wanted[start : start + batch_size]
            loaded = [
                (content, outcome)
                for content, outcomes in inputs.stream(part, workers=workers)
                if not isinstance(outcome := outcomes[preprocess], InputFailure)
            ]
            versions = pool.map(
                lambda pair: _make_versions(pair[0], pair[1], kinds, preprocess),
                loaded,
            )
            for images in versions:
                for image in images:
                    batches.push(image)
            progress.advance(len(part))
            if not loaded:
                continue
            # The head was trained on stored rows: round as the store does.
            stored = {
                name: rows.astype(run.spec["store_dtype"])
                for name, rows in batches.finish().items()
            }
            outputs = head.predict(join_computed(head.feature, stored))
            shaped = outputs.reshape(len(loaded), 1 + len(kinds), -1)
            yield from zip((content for content, _ in loaded), shaped, strict=True)


def _make_versions(
    content: bytes,
    image: np.ndarray,
    kinds: Sequence[Kind],
    preprocess: ImagePreprocess,
) -> list[np.ndarray]:
    """Returns an input as it is, and corrupted in each way."""
    is_reversed = preprocess.color == "bgr"
    colors = image[..., ::-1] if is_reversed else image
    made = [corrupt(colors, *kind, content=content) for kind in kinds]
    return [image, *(one[..., ::-1] if is_reversed else one for one in made)]


def _describe(clean: np.ndarray, corrupted: dict[Kind, np.ndarray]) -> dict[str, Json]:
    """Returns every figure with its interval; merits are [N] each."""

    def figure(merits: np.ndarray, other: np.ndarray | float = 0.0) -> Json:
        # The same examples are drawn for every figure, so that they can be compared.
        rng = np.random.default_rng(0)
        base = np.broadcast_to(other, merits.shape)
        return paired_difference(merits, base, rng=rng)._asdict()

    names = list(dict.fromkeys(name for name, _ in corrupted))
    by_name = {
        name: {severity: x for (of, severity), x in corrupted.items() if of == name}
        for name in names
    }
    means = {name: np.mean(list(by_name[name].values()), axis=0) for name in names}
    overall = np.mean(list(means.values()), axis=0)
    return {
        "clean": figure(clean),
        "corruptions": {
            name: {str(severity): figure(x) for severity, x in found.items()}
            for name, found in by_name.items()
        },
        "means": {name: figure(mean) for name, mean in means.items()},
        "mean": figure(overall),
        "loss": figure(clean, overall),
    }
