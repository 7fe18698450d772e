"""Which column of a table, or array of a file, plays which role.

The roles are `path`, or of a table of texts `text`, `target`, `split`, `group` and
`id`. Each has conventional names, and may be given another; then only that one is
looked for.
"""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from tl_pipeline.data.problems import Problems, show, show_names
from tl_pipeline.errors import ConfigError

Names = Mapping[str, Sequence[str]]

TABLE_NAMES: Names = {
    "path": ("path", "image", "audio", "file"),
    "text": ("text", "sentence", "question"),
    "target": ("target", "label"),
    "split": ("split",),
    "group": ("group",),
    "id": ("id",),
}
# Of arrays, `path` is the array that holds the images themselves.
ARRAY_NAMES: Names = {
    "path": ("images", "image"),
    "target": ("targets", "target", "labels", "label"),
    "split": ("splits", "split"),
    "group": ("groups", "group"),
    "id": ("ids", "id"),
}


def find_kept(
    found: Sequence[str], asked: Sequence[str], *, kind: str, problems: Problems
) -> None:
    """Checks that every further column or array asked for is there, and once.

    Args:
      found: The names that the file has.
      asked: The names given by the user.
      kind: `"column"` or `"array"`.
      problems: Is told of every name that is not there, or twice.
    """
    counts = Counter(found)
    for name in asked:
        if name not in counts:
            problems.add_sentence(_say_missing("dataset", (name,), found, kind))
        elif counts[name] > 1:
            problems.add_sentence(
                f"{counts[name]} {kind}s are called {show(name)}: rename all but one"
            )


def join_targets(columns: Sequence[Sequence[str | None]]) -> list[str | None]:
    """Returns the one text that stands for several targets of each example.

    By it examples are counted, stratified and compared; None where all are missing.

    Example:
      >>> join_targets([["1", None], ["0", None]])
      ['1, 0', None]
    """
    return [
        ", ".join(text or "" for text in row) if any(row) else None
        for row in zip(*columns, strict=True)
    ]


def find_content(
    found: Sequence[str], asked: Mapping[str, str], problems: Problems
) -> str:
    """Returns the role of what a table's examples are: `path` or `text`.

    Where nothing is asked for, files come first: a caption may stand beside an image.

    Args:
      found: The columns that the table has.
      asked: The names given by the user, by role.
      problems: Is told where both are asked for.
    """
    both = [role for role in ("path", "text") if role in asked]
    if len(both) > 1:
        problems.add_sentence(
            f"its examples cannot be both the files of {show(asked['path'])} and the "
            f"texts of {show(asked['text'])}: name one of them"
        )
    if both:
        return both[0]
    there = {role: set(found) & set(TABLE_NAMES[role]) for role in ("path", "text")}
    return "text" if there["text"] and not there["path"] else "path"


def find_roles(
    found: Sequence[str],
    asked: Mapping[str, str],
    *,
    known: Names,
    kind: str,
    problems: Problems,
    needed: str = "path",
) -> dict[str, str]:
    """Returns the name of the column or array that plays each role it can.

    Args:
      found: The names that the file has.
      asked: The names given by the user, by role.
      known: Conventional names by role.
      kind: `"column"` or `"array"`.
      problems: Is told of every role that cannot be settled.
      needed: The role without which there are no examples.

    Raises:
      ConfigError: There is no such role.
    """
    unknown = sorted(asked.keys() - known.keys())
    if unknown:
        raise ConfigError(
            f"Asked for the {kind}s of {', '.join(unknown)}; known roles are "
            f"{', '.join(known)}."
        )
    counts = Counter(found)
    roles: dict[str, str] = {}
    for role, conventional in known.items():
        wanted = (asked[role],) if role in asked else conventional
        there = [name for name in wanted if name in counts]
        if len(there) > 1:
            problems.add_sentence(
                f"the {kind}s {' and '.join(there)} may both be the {role}: name one, "
                f"by `[data] {role}` or --{role}-column"
            )
        elif there and counts[there[0]] > 1:
            problems.add_sentence(
                f"{counts[there[0]]} {kind}s are called {show(there[0])}: rename all "
                "but one"
            )
        elif there:
            roles[role] = there[0]
        elif role in asked or role == needed:
            problems.add_sentence(_say_missing(role, wanted, found, kind))
    return roles


def _say_missing(
    role: str, wanted: Sequence[str], found: Sequence[str], kind: str
) -> str:
    folded = {name.strip().casefold(): name for name in found}
    close = [
        folded[name]
        for want in wanted
        for name in difflib.get_close_matches(want.casefold(), folded, n=1)
    ]
    hint = f"; did you mean {show(close[0])}?" if close else ""
    return (
        f"no {kind} {' or '.join(map(show, wanted))} for the {role}; found "
        f"{show_names(found)}{hint}"
    )
