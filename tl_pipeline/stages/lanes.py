"""A lane: the missing rows of one store, computed batch by batch in their fixed order.

Rows come in ranges, a range becomes one shard, and a batch never crosses a range, so
that an interrupted extraction continues with the very shards it would have made. A
failed example keeps its place in its range and is simply absent.

Lanes side by side share the decoding of their examples, wherever they are filled.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tl_pipeline.backbones.backbone import Forward
from tl_pipeline.preprocess import Preprocess
from tl_pipeline.progress import Progress
from tl_pipeline.stages.inputs import InputFailure, Inputs, Wanted
from tl_pipeline.stages.windows import join_windows, measure_windows
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import find_unstorable

# Images [B, H, W, C] and content digests [B, 32] uint8 -> other images, likewise.
Draw = Callable[[np.ndarray, np.ndarray], Any]


class Batches:
    """Runs a forward in batches, one batch behind what it dispatches.

    Examples of one shape share a batch: images have one, and texts some lengths. While
    the device computes a batch, the host fetches the one before it. The windows of a
    recording are computed as examples are, and joined into its row.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        batch_size: int,
        draw: Draw | None = None,
        windowed: bool = False,
    ):
        """Takes a forward, and B, one compiled shape for each shape of an example.

        Args:
          forward: Computes the features of a batch.
          batch_size: B.
          draw: Makes a view of each input first; None: they stay as they are.
          windowed: Whether an example is the windows of a recording, [W, ...].
        """
        self._forward = forward
        self._draw = draw
        self._batch_size = batch_size
        self._windowed = windowed
        self._windows: list[np.ndarray] = []
        self._filling: dict[tuple[int, ...], _Batch] = {}
        self._pushed = 0
        self._running: tuple[np.ndarray, Mapping[str, Any]] | None = None
        self._places: list[np.ndarray] = []
        self._done: list[dict[str, np.ndarray]] = []

    def push(self, example: np.ndarray, content: bytes = bytes(32)) -> None:
        """Adds one example.

        Args:
          example: The input.
          content: Its content digest, for what draws views.
        """
        if not self._windowed:
            self._push(example, content)
            return
        self._windows.append(measure_windows(example))
        for window in example:
            self._push(window, content)

    def _push(self, example: np.ndarray, content: bytes) -> None:
        batch = self._filling.get(example.shape)
        if batch is None:
            batch = _Batch(self._batch_size, example)
            self._filling[example.shape] = batch
        batch.add(example, content, self._pushed)
        self._pushed += 1
        if batch.filled == self._batch_size:
            self._dispatch(batch)

    def finish(self) -> dict[str, np.ndarray]:
        """Computes what is left and returns all rows since the last call, in order.

        Returns:
          [n, ...] float32 a feature; empty where nothing was pushed.
        """
        for batch in self._filling.values():
            if batch.filled:
                self._dispatch(batch)
        self._fetch()
        done, self._done = self._done, []
        places, self._places, self._pushed = self._places, [], 0
        windows, self._windows = self._windows, []
        if not done:
            return {}
        order = np.concatenate(places)
        rows = {name: np.concatenate([part[name] for part in done]) for name in done[0]}
        if len(self._filling) > 1:  # else they are in order, and need no copy
            back = np.argsort(order)
            rows = {name: part[back] for name, part in rows.items()}
        return join_windows(rows, windows) if self._windowed else rows

    def _dispatch(self, batch: "_Batch") -> None:
        inputs, places = batch.take()
        if self._draw is not None:
            inputs = self._draw(inputs, batch.content)
        running = (places, self._forward(inputs))
        self._fetch()
        self._running = running

    def _fetch(self) -> None:
        if self._running is not None:
            places, outputs = self._running
            n = len(places)
            self._done.append({name: np.asarray(x)[:n] for name, x in outputs.items()})
            self._places.append(places)
            self._running = None


class _Batch:
    """A batch of examples of one shape, being filled."""

    def __init__(self, size: int, example: np.ndarray):
        self.filled = 0
        self.content = np.zeros((size, 32), np.uint8)
        self._inputs = np.zeros((size, *example.shape), example.dtype)
        self._places = np.zeros(size, np.int64)

    def add(self, example: np.ndarray, content: bytes, place: int) -> None:
        self._inputs[self.filled] = example
        self.content[self.filled] = np.frombuffer(content, np.uint8)
        self._places[self.filled] = place
        self.filled += 1

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs, and which examples they are; it is empty from then on."""
        # A copy: the device may still be reading the last batch from the buffer.
        inputs, n = self._inputs.copy(), self.filled
        inputs[n:] = 0  # padding, the same whatever was there before
        self.filled = 0
        return inputs, self._places[:n].copy()


class Computed(NamedTuple):
    """The rows of one range.

    Attributes:
      content: [k, 32] uint8, the digests that gave rows, in the range's order.
      arrays: [k, ...] float32 by feature name.
      failed: The other ones, each with its reason.
    """

    content: np.ndarray
    arrays: Mapping[str, np.ndarray]
    failed: tuple[Failure, ...]


class Lane:
    """One store's missing rows of one set of features; see the module's docstring.

    Attributes:
      preprocess: What its inputs are made with.
    """

    def __init__(
        self,
        group: Group,
        *,
        forward: Forward,
        preprocess: Preprocess,
        batch_size: int,
        dtype: str,
        keep: Callable[[int, Computed], None],
        name_of: Callable[[bytes], str],
        draw: Draw | None = None,
    ):
        """Takes the rows to compute, and who keeps them.

        Args:
          group: The missing rows, in their order and ranges.
          forward: Computes the group's features of a batch.
          preprocess: Makes the forward's inputs.
          batch_size: B, the store's.
          dtype: The store's: what it cannot hold is a failure.
          keep: Called with the number of each range and its rows, in order.
          name_of: The id to name an example by, from its content digest.
          draw: Makes the group's view of each input; None: they stay as they are.
        """
        self.preprocess = preprocess
        self._group = group
        self._dtype = dtype
        self._keep = keep
        self._name_of = name_of
        self._batches = Batches(
            forward,
            batch_size=batch_size,
            draw=draw,
            windowed=preprocess.windowed,
        )
        self._range = 0
        self._position = 0
        self._rows: list[bytes] = []
        self._range_failed: list[Failure] = []

    @property
    def contents(self) -> list[bytes]:
        """The content digests it needs, in the order in which it needs them."""
        return [row.tobytes() for row in self._group.content]

    @property
    def next_content(self) -> bytes | None:
        """The content digest of the example that it takes next; None at its end."""
        if self._position == len(self._group.content):
            return None
        return self._group.content[self._position].tobytes()

    def push(self, content: bytes, outcome: np.ndarray | InputFailure) -> None:
        """Takes the next example; hands over the range that it ends."""
        assert content == self.next_content
        if isinstance(outcome, InputFailure):
            self._fail(content, kind=outcome.kind, reason=outcome.reason)
        else:
            self._rows.append(content)
            self._batches.push(outcome, content)
        self._position += 1
        if self._position == self._group.ranges[self._range].stop:
            self._finish_range()

    def _finish_range(self) -> None:
        arrays = self._batches.finish()
        rows, good = self._rows, np.ones(len(self._rows), bool)
        for row, feature, reason in find_unstorable(arrays, self._dtype):
            good[row] = False
            self._fail(rows[row], kind="value", reason=reason, feature=feature)
        content = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
        kept = {name: array[good] for name, array in arrays.items()}
        computed = Computed(content[good], kept, tuple(self._range_failed))
        self._keep(self._range, computed)
        self._range += 1
        self._rows, self._range_failed = [], []

    def _fail(
        self, content: bytes, *, kind: str, reason: str, feature: str = ""
    ) -> None:
        self._range_failed.append(
            Failure(
                content=content.hex(),
                id=self._name_of(content),
                kind=kind,
                reason=reason,
                feature=feature,
            )
        )


def fill_lanes(
    lanes: Sequence[Lane], inputs: Inputs, workers: int | None, progress: Progress
) -> None:
    """Computes lanes side by side; each example is opened once.

    Args:
      lanes: To be filled to their ends.
      inputs: The examples.
      workers: Decoding threads; by default one a core.
      progress: Advanced by each example.
    """
    for content, outcomes in inputs.stream(_merge(lanes), workers=workers):
        for lane in lanes:
            if lane.next_content == content:
                lane.push(content, outcomes[lane.preprocess])
        progress.advance(1)


def count_examples(lanes: Sequence[Lane]) -> int:
    """Returns how many examples lanes need together."""
    return len({content for lane in lanes for content in lane.contents})


def _merge(lanes: Sequence[Lane]) -> Iterator[Wanted]:
    """Yields each example that a lane needs, once, in the order of all lanes."""
    needed: dict[bytes, list[Lane]] = defaultdict(list)
    for lane in lanes:
        for content in lane.contents:
            needed[content].append(lane)
    for content in sorted(needed):
        preprocesses = dict.fromkeys(lane.preprocess for lane in needed[content])
        yield Wanted(content, tuple(preprocesses))
