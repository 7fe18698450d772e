"""What the explore page shows of a store: points, thumbnails, neighbors."""

import io
import threading
from pathlib import Path

import numpy as np

from tl_pipeline.data.decoding import DecodeError, decode_image
from tl_pipeline.data.recordings import decode_recording
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.texts import decode_text
from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, DatasetError, NotFoundError
from tl_pipeline.evaluation.likeness import nearest_rows
from tl_pipeline.evaluation.projection import METHODS, project
from tl_pipeline.examples import SPLITS
from tl_pipeline.places import Place
from tl_pipeline.preprocess import find_taken
from tl_pipeline.stages.guesses import match_guesses, sort_names
from tl_pipeline.stages.originals import Originals, find_recorded
from tl_pipeline.stages.picture import METHOD_NAMES
from tl_pipeline.stages.vectors import choose_feature, load_vectors
from tl_pipeline.store.store import open_store

# Points that a page moves smoothly, and that the slow methods place in a minute.
MOST_ROWS = {"pca": 100_000, "tsne": 5_000, "umap": 20_000}
THUMBNAIL = 192  # pixels of the longer side
EXCERPT = 400  # characters
_NEIGHBORS = 12
_BLOCK = 8192  # rows compared at once


class Exploration:
    """Rows of a snapshot, ready to be looked at.

    Attributes:
      points: Plain data: what is shown, and a value a row for id, place in the plane,
        target, split, and what the run predicts, with what they are called.
    """

    def __init__(
        self,
        store: str | Place,
        *,
        data: str | Path | None = None,
        run: str | Path | None = None,
        method: str = "pca",
        feature: str | None = None,
        dataset: str | None = None,
        snapshot: str | None = None,
        most_rows: int | None = None,
        seed: int = 0,
    ):
        """Reads and projects the rows.

        Args:
          store: The store's folder.
          data: Where the dataset is now; by default where it was when extracted.
          run: A run whose predictions to show.
          method: `"pca"`, `"tsne"` or `"umap"`.
          feature: Which feature; by default the only one, or `pool`.
          dataset: Which dataset; needed where the store has several.
          snapshot: Which snapshot, by the start of its digest; by default the latest.
          most_rows: Rows drawn where there are more; by default as `MOST_ROWS`.
          seed: Of the drawing, and where the method begins.

        Raises:
          ConfigError: The method is unknown, or its package is not installed.
          DatasetError: No example has a row, or `data` is no dataset.
          NotFoundError: The store, snapshot, feature or run is not there.
          RequestError: The run scored none of the rows.
        """
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise ConfigError(
                f"Asked to explore with the method {method!r}; known are {known}."
            )
        if data is not None:
            load_dataset(data)  # to be told now, and not at the first thumbnail
        opened = open_store(store)
        examples = opened.snapshot(dataset, snapshot)
        name = choose_feature(opened, feature)
        most = MOST_ROWS[method] if most_rows is None else most_rows
        if most < 1:
            raise ConfigError(f"Asked for {most} rows: ask for one at least.")
        vectors = load_vectors(opened, name, examples, most_rows=most, seed=seed)
        rows = vectors.rows
        self._features = rows.features
        self._takes = find_taken(opened.spec)
        self._lock = threading.Lock()
        row_of = {id: row for row, id in enumerate(examples.ids)}
        self._rows = [row_of[id] for id in rows.ids]
        recorded = find_recorded(opened.path, examples.dataset)
        self._originals = Originals(examples, data, recorded)
        places, axes = _place(rows.features, method, seed)
        guesses = match_guesses(run, rows) if run is not None else None
        said = [guess and guess.label for guess in guesses or ()]
        classes = sort_names((*rows.targets, *said))
        code = {None: -1, **{one: i for i, one in enumerate(classes)}}
        self.points: dict[str, Json] = {
            "store": opened.path.name,
            "dataset": examples.dataset,
            "snapshot": examples.digest,
            "feature": name,
            "averaged": vectors.averaged,
            "method": METHOD_NAMES[method],
            "rows": len(rows.ids),
            "of": len(examples),
            "failed": len(rows.failed),
            "axes": list(axes),
            "run": Path(run).name if run is not None else None,
            "classes": list(classes),
            "splits": list(SPLITS),
            "id": list(rows.ids),
            "x": places[:, 0].tolist(),
            "y": places[:, 1].tolist(),
            "target": [code[target] for target in rows.targets],
            "split": [SPLITS.index(split) for split in rows.splits],
            "prediction": [code[label] for label in said],
            "probability": [
                guess and round(guess.probability, 4) for guess in guesses or ()
            ],
        }

    def show(self, row: int) -> tuple[str, bytes]:
        """Returns what a row's example looks like, and the media type of that.

        Raises:
          NotFoundError: Its bytes cannot be had, or are not what the store is of.
        """
        if self._takes == "images":
            return "image/png", self.thumbnail(row)
        told = self.excerpt if self._takes == "texts" else self.describe
        return "text/plain; charset=utf-8", told(row).encode()

    def excerpt(self, row: int) -> str:
        """Returns the beginning of a row's text.

        Raises:
          NotFoundError: Its bytes cannot be had, or are no text.
        """
        self._check(row)
        try:
            text = decode_text(self._originals.read(self._rows[row]))
        except DecodeError as error:
            raise NotFoundError(f"There is no text of it: {error}.") from error
        return text if len(text) <= EXCERPT else f"{text[:EXCERPT]} ..."

    def describe(self, row: int) -> str:
        """Returns what a row's recording is: how long, of how many samples a second.

        Raises:
          NotFoundError: Its bytes cannot be had, or are no recording.
        """
        self._check(row)
        try:
            recording = decode_recording(self._originals.read(self._rows[row]))
        except DecodeError as error:
            raise NotFoundError(f"There is no recording of it: {error}.") from error
        n = recording.channels
        channels = f"{n} channels" if n > 1 else "mono"
        return f"{recording.seconds:.3g} s, {recording.rate:,} Hz, {channels}"

    def thumbnail(self, row: int) -> bytes:
        """Returns a small picture of a row's example, PNG.

        Raises:
          NotFoundError: Its bytes cannot be had, or are no picture.
        """
        self._check(row)
        data = self._originals.read(self._rows[row])
        try:
            picture = decode_image(data)
        except DecodeError as error:
            raise NotFoundError(f"There is no picture of it: {error}.") from error
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def neighbors(self, row: int) -> list[Json]:
        """Returns the rows of highest cosine among those shown, the nearest first.

        Raises:
          NotFoundError: There is no such row.
        """
        self._check(row)
        starts = range(0, len(self._features), _BLOCK)
        with self._lock:  # one at a time: each takes all cores
            found, similarity = nearest_rows(
                self._features[row],
                (self._features[start : start + _BLOCK] for start in starts),
                k=_NEIGHBORS + 1,
            )
        pairs = zip(found.tolist(), similarity.tolist(), strict=True)
        listed: list[Json] = [
            {"row": other, "similarity": round(cosine, 4)}
            for other, cosine in pairs
            if other != row
        ]
        return listed[:_NEIGHBORS]

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self._rows):
            raise NotFoundError(f"There is no row {row}; there are {len(self._rows)}.")


def _place(
    features: np.ndarray, method: str, seed: int
) -> tuple[np.ndarray, tuple[str, str]]:
    """Returns [N, 2] places, in the unit square with their proportions kept."""
    try:
        points, axes = project(features, method=method, seed=seed)
    except DatasetError:  # one or two rows: side by side
        points = np.stack([np.arange(len(features)), np.zeros(len(features))], 1) * 1.0
        axes = ("", "")
    points = points - points.min(axis=0)
    return (points / (points.max() or 1.0)).round(5), axes
