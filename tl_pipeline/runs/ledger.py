"""The ledger of a gate: every look at a test split that could have promoted a head.

A test split is the examples in it. It stays the same split while examples come and go:
one that shares any example with what was looked at before is that split, and its looks
count on. Only a split of which no example was ever looked at is a new one. Labels and
ids do not matter, content does.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import RunDamagedError
from tl_pipeline.files import read_jsonl, write_jsonl

LOOK, ROLLBACK = "look", "rollback"
_DIGITS = 16  # of a content digest: 64 bits tell the examples of one pipeline apart


@dataclasses.dataclass(frozen=True)
class Look:
    """Which look at which test split one is.

    Attributes:
      split: Which test split of the pipeline, from 1.
      number: Which look at it, from 1.
      new: Its examples that no look saw before.
    """

    split: int
    number: int
    new: tuple[str, ...]


class Ledger:
    """The rows of a ledger, and the file that they are in.

    Read and append while `hold_gate` is held.
    """

    def __init__(self, path: Path):
        """Reads the file; a missing one has no rows.

        Raises:
          RunDamagedError: The file cannot be understood. It is not begun anew: looks
            that are forgotten are looks that are not paid for.
        """
        self._path = path
        try:
            self._rows: list[Mapping[str, Any]] = list(read_jsonl(path))
            self._split_of: dict[str, int] = {}
            for row in self._rows:
                if row["event"] == LOOK:
                    self._know(int(row["split"]), row["examples"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunDamagedError(
                f"{path} cannot be read ({error!r}): how often the test split was "
                "looked at is not known. Restore it from a copy, or delete it, and the "
                "gate counts from the beginning."
            ) from error

    def next_look(self, content: np.ndarray) -> Look:
        """Returns which look the next one at some examples would be.

        Args:
          content: [N, 32] uint8 content digests of the test examples.
        """
        examples = [row.tobytes().hex()[:_DIGITS] for row in content]
        met = {self._split_of[one] for one in examples if one in self._split_of}
        new = tuple(dict.fromkeys(x for x in examples if x not in self._split_of))
        looks = [
            (int(row["split"]), int(row["look"]))
            for row in self._rows
            if row["event"] == LOOK
        ]
        if not met:
            return Look(max((split for split, _ in looks), default=0) + 1, 1, new)
        # Where splits have come to share examples, the looks at all of them count. No
        # look has the numbers of another one: no part of the budget is spent twice.
        taken = max(number for split, number in looks if split == min(met))
        return Look(min(met), 1 + max(taken, sum(s in met for s, _ in looks)), new)

    def last(self, identity: str) -> Mapping[str, Any] | None:
        """Returns the last row about a run: its look, or the rollback from it."""
        for row in reversed(self._rows):
            if row["run"] == identity:
                return row
        return None

    def record_look(self, look: Look, about: Mapping[str, Json]) -> None:
        """Appends a look, atomically, before anything follows from it.

        Args:
          look: From `next_look`.
          about: What was compared and found: `run` and `against`, identities, and more.
        """
        self._append(
            {
                **about,
                "event": LOOK,
                "split": look.split,
                "look": look.number,
                "examples": list(look.new),
            }
        )
        self._know(look.split, look.new)

    def record_rollback(self, about: Mapping[str, Json]) -> None:
        """Appends a rollback, atomically.

        Args:
          about: `run`, the identity of the run that was in use, and more.
        """
        self._append({**about, "event": ROLLBACK})

    def _know(self, split: int, examples: list[str] | tuple[str, ...]) -> None:
        self._split_of |= dict.fromkeys(examples, split)

    def _append(self, row: Mapping[str, Json]) -> None:
        rows = [*self._rows, json.loads(json.dumps(row))]
        # The whole file anew: an appended line could be torn, and this one is small.
        write_jsonl(self._path, rows)
        self._rows = rows
