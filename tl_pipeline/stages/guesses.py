"""A run's predictions beside the rows of a store."""

from collections.abc import Iterable
from pathlib import Path

from tl_pipeline.errors import RequestError
from tl_pipeline.runs.predictions import Guess
from tl_pipeline.runs.run import load_run
from tl_pipeline.store.rows import Rows


def match_guesses(run: str | Path, rows: Rows) -> list[Guess | None]:
    """Returns what a run's head says of each row, None where it was not scored.

    A head is not scored on the examples that it was trained on. An id whose bytes
    have changed since is another example.

    Args:
      run: The run's folder.
      rows: N rows.

    Raises:
      NotFoundError: There is no such run.
      RequestError: It scored none of the rows.
    """
    guesses = load_run(run).guesses()
    found: list[Guess | None] = []
    for id, content in zip(rows.ids, rows.content, strict=True):
        guess = guesses.get(id)
        same = guess is not None and guess.content == content.tobytes().hex()
        found.append(guess if same else None)
    if not any(found):
        raise RequestError(
            f"Asked for the predictions of run {run}: it scored {len(guesses):,} "
            f"examples, and none of the {len(rows.ids):,} shown here. Name a run on "
            "this dataset, or another snapshot."
        )
    return found


def sort_names(names: Iterable[str | None]) -> tuple[str, ...]:
    """Returns the distinct names, sorted; numbers by value, so 10 comes after 9."""
    known = {name for name in names if name is not None}
    if all(name.isdecimal() for name in known):
        return tuple(sorted(known, key=lambda name: (int(name), name)))
    return tuple(sorted(known))
