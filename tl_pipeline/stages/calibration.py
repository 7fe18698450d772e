"""How fast an extraction goes: a few real inputs through the real backbone, timed."""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.preprocess import AudioPreprocess, TextPreprocess
from tl_pipeline.progress import Progress
from tl_pipeline.stages.inputs import Inputs, Wanted
from tl_pipeline.stages.lanes import Batches
from tl_pipeline.stages.targets import Target
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import row_magnitudes

BATCHES = 4  # timed; one more comes before them, whose compilation is timed apart


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
      images: Inputs timed.
      images_a_second: From a file to a row of the first store, decoding ahead.
      row_seconds: Of each store, seconds a row: of the first one with decoding, of
        the others of the forward alone, for they ride on the same decoding.
      start_seconds: First batches of all stores: mostly compilation.
      largest: Largest magnitude seen, by feature of the first store.
    """

    images: int
    images_a_second: float
    row_seconds: tuple[float, ...]
    start_seconds: float
    largest: dict[str, float]

    def to_json(self) -> dict[str, Json]:
        """Returns the figures as plain data."""
        return dataclasses.asdict(self)


def calibrate(
    targets: Sequence[Target],
    groups: Sequence[Group],
    inputs: Inputs,
    *,
    workers: int | None,
    progress: Progress,
) -> Calibration | None:
    """Times a few batches; the first of each store is a warm-up.

    Args:
      targets: Stores that lack rows, the one that lacks most first.
      groups: The longest group of each.
      inputs: The dataset.
      workers: Decoding threads; by default one a core.
      progress: What to tell as it goes on.

    Returns:
      The figures, or None where none of the inputs can be decoded.
    """
    progress.start("calibrate", len(targets) * (1 + BATCHES))
    try:
        first, *others = zip(targets, groups, strict=True)
        start, per_row, images, largest = _time(
            first[0], first[1], inputs, workers, progress
        )
        if not images:
            return None
        row_seconds = [per_row]
        for target, group in others:
            begin, per_row, _, _ = _time(target, group, None, workers, progress)
            start += begin
            row_seconds.append(per_row)
    finally:
        progress.finish()
    return Calibration(images, 1 / row_seconds[0], tuple(row_seconds), start, largest)


def _time(
    target: Target,
    group: Group,
    inputs: Inputs | None,
    workers: int | None,
    progress: Progress,
) -> tuple[float, float, int, dict[str, float]]:
    """Returns seconds to start, seconds a row, rows, and the largest magnitudes.

    Without inputs the forward is timed alone, on zeros: its work is the same.
    """
    size = target.store.batch_size
    preprocess = target.backbone.preprocess
    batches = Batches(
        target.backbone.make_forward(group.features),
        batch_size=size,
        windowed=preprocess.windowed,
    )
    begin = time.perf_counter()
    # Texts and sounds have several lengths, each with a compilation of its own.
    takes_lengths = isinstance(preprocess, TextPreprocess | AudioPreprocess)
    for example in _examples(target, group, inputs if takes_lengths else None, workers):
        batches.push(example)
        if not takes_lengths:
            break
    batches.finish()
    progress.advance(1)
    warm = time.perf_counter()
    n, told = 0, 0
    for example in _examples(target, group, inputs, workers):
        batches.push(example)
        n += 1
        if n // size > told:
            told += 1
            progress.advance(1)
    rows = batches.finish()
    seconds = time.perf_counter() - warm
    largest = {name: float(row_magnitudes(x).max()) for name, x in rows.items()}
    return warm - begin, seconds / max(n, 1), n, largest


def _examples(
    target: Target, group: Group, inputs: Inputs | None, workers: int | None
) -> Iterator[np.ndarray]:
    """Yields inputs of the missing rows, whose order is that of their digests."""
    preprocess = target.backbone.preprocess
    n = BATCHES * target.store.batch_size
    if inputs is None:
        blank = np.zeros(preprocess.input_shape, preprocess.dtype)
        blank = blank[None] if preprocess.windowed else blank
        for _ in range(n):
            yield blank
        return
    wanted = [Wanted(row.tobytes(), (preprocess,)) for row in group.content[:n]]
    for _, outcomes in inputs.stream(wanted, workers=workers):
        if isinstance(outcome := outcomes[preprocess], np.ndarray):
            yield outcome
