"""A snapshot's features and targets as one plain file, for other tools.

`.h5`, `.npz` and `.parquet` hold the same columns: `id`, `content_digest` (64
hexadecimal digits), `target`, `split`, `group`, and each feature under its name. Where
an example has no target or group, Parquet has a null and the others an empty text.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from tl_pipeline.errors import RequestError
from tl_pipeline.files import write_atomically
from tl_pipeline.places import Place
from tl_pipeline.store.store import Rows, open_store

SUFFIXES = (".h5", ".npz", ".parquet")


def export_store(
    store: str | Place,
    out: str | Path,
    *,
    dataset: str | None = None,
    snapshot: str | None = None,
    features: Sequence[str] | None = None,
) -> int:
    """Writes features and targets of a snapshot's examples to one file, atomically.

    Examples that gave no row are left out. Everything is in memory once.

    Args:
      store: The store's folder.
      out: The file to write; its suffix, one of `SUFFIXES`, is the format.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.
      features: Which features; by default all that the store holds.

    Returns:
      How many examples were written.

    Raises:
      RequestError: The suffix is unknown, or the features are not of the same rows.
      NotFoundError: There is no such store, snapshot or feature.
      OSError: The file cannot be written; an old one is untouched then.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise RequestError(
            f"Asked to export to {out}: the suffix says the format, and known are "
            f"{', '.join(SUFFIXES)}."
        )
    opened = open_store(store)
    examples = opened.snapshot(dataset, digest=snapshot)
    names = tuple(features or sorted(opened.manifest.features))
    rows = {name: opened.read(name, snapshot=examples) for name in names}
    first = rows[names[0]]
    differing = [name for name in names if rows[name].ids != first.ids]
    if differing:
        raise RequestError(
            f"Asked to export {', '.join(names)} of {store}: {', '.join(differing)} "
            f"has not the examples of {names[0]}. Export them one by one, or extract "
            "all of them."
        )
    arrays = {name: rows[name].features for name in names}
    write = {".h5": _to_h5, ".npz": _to_npz, ".parquet": _to_parquet}[out.suffix]
    write_atomically(out, write(first, arrays))
    return len(first.ids)


def _to_h5(rows: Rows, arrays: dict[str, np.ndarray]) -> memoryview:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in _columns(rows).items():
            texts = [value or "" for value in values]
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
        for name, array in arrays.items():
            file[name] = array
    return buffer.getbuffer()


def _to_npz(rows: Rows, arrays: dict[str, np.ndarray]) -> memoryview:
    buffer = io.BytesIO()
    texts = {
        name: np.array([value or "" for value in values], np.str_)
        for name, values in _columns(rows).items()
    }
    np.savez(buffer, allow_pickle=False, **texts, **arrays)
    return buffer.getbuffer()


def _to_parquet(rows: Rows, arrays: dict[str, np.ndarray]) -> memoryview:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, object] = {
        name: pa.array(values, pa.string()) for name, values in _columns(rows).items()
    }
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(len(array), -1)
        columns[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(flat.ravel()), flat.shape[1]
        )
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getbuffer()


def _columns(rows: Rows) -> dict[str, list[str | None]]:
    return {
        "id": list(rows.ids),
        "content_digest": [row.tobytes().hex() for row in rows.content],
        "target": list(rows.targets),
        "split": list(rows.splits),
        "group": list(rows.groups),
    }
