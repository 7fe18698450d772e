"""What a fine-tuning is fed: inputs from a dataset, or rows cached at a cut."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from tl_pipeline.backbones.recordings import count_frames
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.front_ends import fit_window
from tl_pipeline.data.tokenizing import PADDING
from tl_pipeline.errors import DatasetError
from tl_pipeline.preprocess import AudioPreprocess, Preprocess, TextPreprocess
from tl_pipeline.stages.inputs import InputFailure, Inputs, Wanted
from tl_pipeline.stages.windows import measure_windows

# Decoded inputs are kept up to here, and decoded once; of more each epoch decodes
# its own, in threads, ahead of the device.
MOST_KEPT = 2**31  # bytes
# Batches of texts are filled up to the first of these that holds the longest one: each
# is a compilation of the whole update, which takes longer than some padding.
LENGTHS = (16, 32, 64, 128, 256, 512, 1024)
_MEASURED = 32  # recordings that are decoded together, to see how long they are


class PreparedInputs:
    """Examples decoded and prepared as the backbone's, by row."""

    def __init__(
        self,
        dataset: Dataset,
        items: Mapping[bytes, Sequence[Item]],
        content: np.ndarray,
        preprocess: Preprocess,
        *,
        workers: int | None = None,
        most_kept: int = MOST_KEPT,
    ):
        """Takes N content digests [N, 32]; the dataset has them all."""
        self._inputs = Inputs(dataset, items)
        self._content = [row.tobytes() for row in content]
        self._preprocess = preprocess
        self._workers = workers
        self._room = most_kept
        self._kept: dict[bytes, np.ndarray] = {}

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the inputs [B, ...] of each batch's rows [B], in order.

        Of texts token ids [B, T], T the first of `LENGTHS` that holds all of them. Of
        recordings their windows [B, W, ...], W a power of two; windows that one has
        not are NaN.

        Raises:
          DatasetError: An example cannot be decoded any more.
        """
        taken = list(batches)
        order = [self._content[row] for rows in taken for row in rows.tolist()]
        known = self._kept.keys() & set(order)
        wanted = (Wanted(c, (self._preprocess,)) for c in order if c not in known)
        loaded = self._inputs.stream(wanted, workers=self._workers)
        for rows in taken:
            batch: list[np.ndarray] = []
            for row in rows.tolist():
                content = self._content[row]
                if content in known:
                    batch.append(self._kept[content])
                    continue
                found = self._check(*next(loaded))
                self._keep(content, found)
                batch.append(found)
            yield self._stack(batch)

    def _keep(self, content: bytes, found: np.ndarray) -> None:
        if content not in self._kept and found.nbytes <= self._room:
            self._room -= found.nbytes
            self._kept[content] = found

    def _stack(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        if isinstance(self._preprocess, AudioPreprocess):
            return _stack_windows(batch)
        if not isinstance(self._preprocess, TextPreprocess):
            return np.stack(batch)
        longest = max(int((ids != PADDING).sum()) for ids in batch)
        length = next((n for n in LENGTHS if n >= longest), longest)
        length = min(length, self._preprocess.max_length)
        stacked = np.full((len(batch), length), PADDING, self._preprocess.dtype)
        for row, ids in zip(stacked, batch, strict=True):
            row[: min(len(ids), length)] = ids[:length]
        return stacked

    def _check(self, content: bytes, found: Mapping[Preprocess, object]):
        prepared = found[self._preprocess]
        if isinstance(prepared, InputFailure):
            raise DatasetError(
                f"Asked to fine-tune on {self._inputs.ids(content)[0]}: "
                f"{prepared.reason}. Extract the dataset again, train, and fine-tune "
                "from that run."
            )
        assert isinstance(prepared, np.ndarray)
        return prepared


class CachedTokens:
    """Tokens of N texts at a cut of the network, beside the texts themselves.

    What follows a cut takes the tokens, and which of them there are.
    """

    def __init__(self, rows: np.ndarray, inputs: PreparedInputs):
        """Takes [N, longest, D] floating, and the N texts."""
        self._rows = rows
        self._inputs = inputs

    def stream(
        self, batches: Iterable[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields float32 [B, T, D] and token ids [B, T] of each batch, in order."""
        taken = list(batches)
        for rows, ids in zip(taken, self._inputs.stream(taken), strict=True):
            yield self._rows[rows, : ids.shape[1]].astype(np.float32), ids


class CachedFrames:
    """Frames of N recordings at a cut of the network, and which of them there are.

    A recording is one window. It is decoded once, to see how long it is.
    """

    def __init__(
        self, rows: np.ndarray, inputs: PreparedInputs, preprocess: AudioPreprocess
    ):
        """Takes [N, longest, D] floating, and the N recordings."""
        self._rows = rows
        self._inputs = inputs
        self._preprocess = preprocess
        self._sizes = np.zeros(len(rows), np.int64)

    def stream(
        self, batches: Iterable[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields float32 [B, T, D], and which of a window there is, [B, L] bool.

        L is the window's frames, or samples.
        """
        taken = list(batches)
        self._measure(np.unique(np.concatenate(taken)) if taken else np.zeros(0, int))
        for rows in taken:
            sizes = self._sizes[rows]
            length = fit_window(int(sizes.max()), self._preprocess)
            is_mel = self._preprocess.bins > 0
            n = self._rows.shape[1] if is_mel else count_frames(length)
            there = np.arange(length) < sizes[:, None]
            yield self._rows[rows, :n].astype(np.float32), there

    def _measure(self, rows: np.ndarray) -> None:
        new = rows[self._sizes[rows] == 0]
        parts = [new[at : at + _MEASURED] for at in range(0, len(new), _MEASURED)]
        for part, windows in zip(parts, self._inputs.stream(parts), strict=True):
            self._sizes[part] = measure_windows(windows[:, 0])


class CachedRows:
    """Activations of N examples at a cut of the network, as the store holds them.

    Row N * v + i is view v of example i; view 0 is the plain one.
    """

    def __init__(self, rows: np.ndarray, views: Sequence[np.ndarray] = ()):
        """Takes [N, ...] floating, and V arrays [N, ...] of their views."""
        self._views = (rows, *views)

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields [B, ...] float32 of each batch's rows [B], in order."""
        n = len(self._views[0])
        for rows in batches:
            taken = [self._views[row // n][row % n] for row in rows.tolist()]
            yield np.stack(taken).astype(np.float32)

    def draw(self, rows: np.ndarray, step: int, *, seed: int) -> np.ndarray:
        """Draws a view of each row [B] for a step: the plain one or one of V."""
        rng = np.random.default_rng([seed, step, 1])
        n = len(self._views[0])
        return rows + n * rng.integers(0, len(self._views), len(rows))


def _stack_windows(batch: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the windows of recordings, [W, T, ...] each, as [B, W, T, ...]."""
    most = 1 << (max(len(windows) for windows in batch) - 1).bit_length()
    longest = max(windows.shape[1] for windows in batch)
    shape = (len(batch), most, longest, *batch[0].shape[2:])
    stacked = np.full(shape, np.nan, batch[0].dtype)
    for row, windows in zip(stacked, batch, strict=True):
        row[: len(windows), : windows.shape[1]] = windows
    return stacked
