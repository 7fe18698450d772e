"""The original of an example: its bytes, while the dataset's own files still hold them.

An example is asked for by its id in a snapshot, never by a path; where its file is,
the listing of the dataset says. Bytes of another digest are not the example.
"""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.roles import TABLE_NAMES
from tl_pipeline.data.sources import has_same_columns, load_dataset
from tl_pipeline.errors import NotFoundError, TlPipelineError
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place, is_url
from tl_pipeline.store.history import read_history

_HOW = "say where the dataset is with --data"


class Recorded(NamedTuple):
    """Where a dataset was when rows of it were last computed.

    Attributes:
      source: As `load_dataset` takes it.
      columns: Likewise.
    """

    source: str
    columns: Mapping[str, str]


def find_recorded(store: Place, dataset: str) -> Recorded | None:
    """Returns where a dataset was, if it is on record.

    Args:
      store: The store's folder.
      dataset: The dataset's name.
    """
    for record in reversed(read_history(store)):
        source, columns = record.get("source"), record.get("columns")
        if record.get("dataset") == dataset and isinstance(source, str):
            named = columns if isinstance(columns, Mapping) else {}
            return Recorded(source, {role: str(name) for role, name in named.items()})
    return None


def load_again(
    source: str | Path,
    recorded: Recorded | None,
    *,
    name: str | None = None,
    roles: Sequence[str] = tuple(TABLE_NAMES),
) -> Dataset:
    """Loads a dataset from where it is now, by the columns that it had.

    Args:
      source: Where it is.
      recorded: Where it was; None where nobody knows.
      name: What it is called; by default by its source.
      roles: Those whose columns are looked for.
    """
    columns = {}
    if recorded is not None and has_same_columns(source, recorded.source):
        columns = {role: c for role, c in recorded.columns.items() if role in roles}
    return load_dataset(source, name=name, columns=columns)


class Originals:
    """Reads the bytes of a snapshot's examples, one at a time.

    The dataset is listed when the first one is asked for. Safe to use by threads.
    """

    def __init__(
        self,
        examples: Examples,
        source: str | Path | None,
        recorded: Recorded | None = None,
    ):
        """Takes the snapshot, where its files are now, and where they were."""
        self._examples = examples
        self._recorded = recorded
        self._source = source or (recorded.source if recorded else None)
        self._lock = threading.Lock()
        self._listed: tuple[Dataset, dict[str, Item]] | None = None

    def read(self, row: int) -> bytes:
        """Returns the bytes of the example in a row of the snapshot.

        Raises:
          NotFoundError: They cannot be had any more; the message says why.
        """
        id = self._examples.ids[row]
        dataset, items = self._list(id)
        item = items.get(id)
        if item is None:
            raise NotFoundError(f"{id} is gone from {self._source}; {_HOW}.")
        try:
            if not is_url(item.file) and not item.path.is_file():
                raise NotFoundError(f"{item.file} is gone; {_HOW} now.")
            data = dataset.read(item)
        except NotFoundError:
            raise
        except OSError as error:
            raise NotFoundError(f"{item.file} cannot be read: {error}.") from error
        if hashlib.sha256(data).digest() != self._examples.content[row].tobytes():
            raise NotFoundError(
                f"{item.file} has changed since this snapshot was taken."
            )
        return data

    def _list(self, id: str) -> tuple[Dataset, dict[str, Item]]:
        if self._source is None:
            raise NotFoundError(f"It is not on record where {id} lies; {_HOW}.")
        with self._lock:
            if self._listed is None:
                try:
                    dataset = load_again(self._source, self._recorded)
                except (TlPipelineError, OSError) as error:
                    raise NotFoundError(
                        f"{self._source} holds this dataset no more; {_HOW} now."
                    ) from error
                self._listed = dataset, {item.id: item for item in dataset.items}
            return self._listed
