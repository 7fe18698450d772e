"""What was measured of a run after it was written, and its page made anew.

    <run>/since.json   figures by name, and the digests of the pages that may be there

A run's own files stay as they are, and its identity says nothing of these. The page is
replaced after the figures, each by one rename: killed between the two, a run has its
page of before, which the digests know too.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tl_pipeline.digest import Json, bytes_digest, file_digest
from tl_pipeline.files import write_atomically, write_json
from tl_pipeline.runs.lock import hold_lock

SINCE = "since.json"
_LOCK = ".since.lock"


class Since(NamedTuple):
    """What was measured of a run after it was written.

    Attributes:
      measured: Plain data by name.
      pages: SHA-256 of the pages that may be there; none: the run's first one.
    """

    measured: Mapping[str, Json]
    pages: tuple[str, ...]


def read_since(folder: Path) -> Since:
    """Reads what was measured of a run.

    Raises:
      ValueError, KeyError, TypeError: The file is not as it was written.
    """
    path = folder / SINCE
    if not path.exists():
        return Since({}, ())
    found = json.loads(path.read_bytes())
    return Since(dict(found["measured"]), tuple(map(str, found["pages"])))


def add_measured(
    page: Path,
    measured: Mapping[str, Json],
    *,
    make_page: Callable[[Mapping[str, Json]], str],
) -> None:
    """Adds figures to a run, in the place of those of the same names.

    Args:
      page: The run's page, in the run's folder.
      measured: Plain data by name.
      make_page: Makes the page that shows all that was measured.

    Raises:
      FailedError: The folder cannot be locked.
      OSError: It cannot be written; the run stays as it was.
    """
    folder = page.parent
    with hold_lock(folder / _LOCK, of=folder, needs="Adding to a run"):
        found = {**read_since(folder).measured, **measured}
        data = make_page(found).encode("utf-8", errors="backslashreplace")
        pages = [file_digest(page), bytes_digest(data)]
        write_json(folder / SINCE, {"measured": found, "pages": pages})
        write_atomically(page, data)
