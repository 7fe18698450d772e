"""Patterns of ids to leave out, and what became of each of them."""

import fnmatch
import re
import unicodedata
from collections.abc import Sequence


class Exclusion:
    """Shell patterns on ids; `*` also crosses `/`, case counts.

    Attributes:
      count: How many ids were left out so far.

    Example:
      >>> exclusion = Exclusion(["*.gif"])
      >>> exclusion.matches("train/ants/a.gif"), exclusion.matches("train/ants/a.jpg")
      (True, False)
    """

    def __init__(self, patterns: Sequence[str]):
        """Takes the patterns; none leaves nothing out."""
        self.count = 0
        self._patterns = {
            pattern: re.compile(
                fnmatch.translate(unicodedata.normalize("NFC", pattern))
            )
            for pattern in patterns
        }
        self._unused = dict.fromkeys(patterns)

    def matches(self, id_: str) -> bool:
        """Tells whether an example is to be left out, and counts it if so."""
        if not self._patterns or not self._match(id_):
            return False
        self.count += 1
        return True

    def covers(self, name: str) -> bool:
        """Tells whether something that is no example is to be passed over.

        Args:
          name: A path within the dataset; a folder's ends in `/`, so that `junk/*`
            covers the folder `junk` even where it is empty.
        """
        return bool(self._patterns) and self._match(name)

    def notes(self, example_id: str) -> list[str]:
        """Returns sentences on what was left out, and on patterns that match nothing.

        Args:
          example_id: An id of the dataset, to show what patterns are held against.
        """
        notes = []
        if self.count:
            what = "1 example" if self.count == 1 else f"{self.count} examples"
            notes.append(f"`exclude` leaves out {what}.")
        notes += [
            f"The `exclude` pattern {pattern!r} matches nothing; ids look like "
            f"{example_id!r}."
            for pattern in self._unused
        ]
        return notes

    def _match(self, text: str) -> bool:
        found = [p for p, compiled in self._patterns.items() if compiled.match(text)]
        for pattern in found:
            self._unused.pop(pattern, None)
        return bool(found)
