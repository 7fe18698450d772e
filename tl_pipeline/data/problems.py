"""What is wrong with a table or a file of arrays, gathered and said at once."""

from collections.abc import Iterable

from tl_pipeline.errors import DatasetError

SHOWN = 5  # rows listed in a line
MAX_SHOWN_TEXT = 60  # characters of a value


class Problems:
    """Problems by kind, each with the rows that have it; rows count from 1.

    Example:
      >>> problems = Problems("Table t.csv")
      >>> problems.add("without an id", 3)
      >>> problems.check(advice="Mend it.")
      Traceback (most recent call last):
      ...
      tl_pipeline.errors.DatasetError: Table t.csv cannot be used as a dataset:
        1 row without an id: row 3
      Mend it.
    """

    def __init__(self, what: str):
        """Takes how the message names the file."""
        self._what = what
        self._rows: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._others: list[str] = []

    def add(self, kind: str, row: int, value: str | None = None) -> None:
        """Notes that a row has a problem.

        Args:
          kind: What such rows are, as in "3 rows KIND".
          row: Which one, from 1.
          value: What it holds instead.
        """
        self._counts[kind] = self._counts.get(kind, 0) + 1
        shown = self._rows.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append(f"row {row}" + ("" if value is None else f" {show(value)}"))

    def add_sentence(self, text: str) -> None:
        """Notes a problem of the file as a whole."""
        self._others.append(text)

    def check(self, *, advice: str) -> None:
        """Raises if there is any problem.

        Args:
          advice: What to do, a sentence.

        Raises:
          DatasetError: With every kind of problem, how many rows have it, and which.
        """
        lines = self._others + [
            f"{_count(self._counts[kind])} {kind}: {', '.join(shown)}"
            f"{_and_more(self._counts[kind])}"
            for kind, shown in self._rows.items()
        ]
        if lines:
            listed = "\n".join(f"  {line}" for line in lines)
            raise DatasetError(
                f"{self._what} cannot be used as a dataset:\n{listed}\n{advice}"
            )


def show(value: str) -> str:
    """Quotes a value for a message; of a long one its beginning."""
    more = len(value) > MAX_SHOWN_TEXT
    return repr(value[:MAX_SHOWN_TEXT]) + ("..." if more else "")


def show_names(names: Iterable[str]) -> str:
    """Lists the names of columns or arrays; of very many the first ones."""
    known = list(names)
    most = 20
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(map(show, known[:most])) or "none") + more


def _count(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"


def _and_more(n: int) -> str:
    return f" and {n - SHOWN:,} more" if n > SHOWN else ""
