"""Tables of examples: a row names a file, or holds a text, and its target and so on.

A path is relative to the table's folder, or absolute; it may lead upwards. Every file
that is named must exist: a table is written on purpose, so a missing file is a mistake
in it. The id is the path unless a column gives another, so that one file may stand
under several ids. The id of a text is its place in the table, from 00000000.
"""

import os
import posixpath
import stat
from collections.abc import Mapping, Sequence

from tl_pipeline.data.dataset import Item
from tl_pipeline.data.exclusion import Exclusion
from tl_pipeline.data.folders import Listing, note_splits
from tl_pipeline.data.labels import Labels, check_ids, normalize_id, settle_splits
from tl_pipeline.data.object_listing import (
    copy_table,
    find_stamp,
    resolve,
    stamp_named,
)
from tl_pipeline.data.problems import Problems
from tl_pipeline.data.roles import (
    TABLE_NAMES,
    find_content,
    find_kept,
    find_roles,
    join_targets,
)
from tl_pipeline.data.stat_cache import Stamp, stamp_file
from tl_pipeline.data.table_files import (
    Columns,
    UnreadableTable,
    open_table,
    read_columns,
)
from tl_pipeline.data.text_column import TextReader, name_member
from tl_pipeline.errors import BucketError, DatasetError, ServerError, shorten
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place

_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_ADVICE = (
    "Rows count from 1, without the header. Mend the table, or leave rows out with "
    "`exclude`."
)


def list_table(
    path: Place,
    exclusion: Exclusion,
    columns: Mapping[str, str],
    *,
    targets: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Listing:
    """Lists a table's examples.

    Args:
      path: The table, absolute; one in a bucket is read from a local copy.
      exclusion: Which ids to leave out.
      columns: Names of columns by role, where they are not the conventional ones.
      targets: The columns of the targets, where they are several.
      keep: Further columns to keep.

    Raises:
      ConfigError: `columns` names a role that there is not.
      DatasetError: The table cannot be read, lacks a column, has no rows, or has rows
        that cannot be used; all of that is in one message.
    """
    problems = Problems(f"Table {path}")
    try:
        if isinstance(path, ObjectPath):
            copy, stamp = copy_table(path)
        else:
            copy, stamp = path, stamp_file(path)
        table = open_table(copy)
        content = find_content(table.names, columns, problems)
        other = "path" if content == "text" else "text"
        known = {role: names for role, names in TABLE_NAMES.items() if role != other}
        roles = find_roles(
            table.names,
            {role: name for role, name in columns.items() if role != other},
            known=known,
            kind="column",
            problems=problems,
            needed=content,
        )
        if targets:
            roles.pop("target", None)
        kept = tuple(dict.fromkeys((*targets, *keep)))
        find_kept(table.names, kept, kind="column", problems=problems)
        if len(table.names) == 1:
            _suspect_delimiter(table.names[0], problems)
        problems.check(
            advice="The first line of a .csv names its columns. Rename the columns, or "
            "name them by `[data] path`, `text`, `target`, ... or --path-column, ..."
        )
        fractions = {*kept, roles.get("target", "")}
        raw = [roles["text"]] if content == "text" else []
        texted = [name for role, name in roles.items() if role != "text"]
        read = read_columns(
            table,
            list(dict.fromkeys((*texted, *kept))),
            problems,
            fractions=fractions,
            raw=raw,
        )
    except (BucketError, ServerError):
        raise
    except (UnreadableTable, OSError) as error:
        raise DatasetError(
            f"Table {path} cannot be read: {shorten(error)}. Bring a table with a "
            "header in UTF-8, separated by commas (.csv), one object a line (.jsonl), "
            "or .parquet."
        ) from error
    if not read.n_rows:
        problems.add_sentence("it has no rows")
    texts = dict(read.texts)
    if targets:
        roles["target"] = ", ".join(targets)
        texts[roles["target"]] = join_targets([texts[name] for name in targets])
    labels, paths = _make_labels(
        Columns(read.n_rows, texts), roles, path, exclusion, problems
    )
    check_ids(labels, problems)
    settled = settle_splits(labels, problems)
    stamps: Mapping[str, Stamp] = {}
    if isinstance(path, ObjectPath):
        stamps = {str(path): stamp} if raw else stamp_named(path.parent, paths)
    if content == "path":
        _check_files(labels, paths, path.parent, problems, stamps)
    problems.check(advice=_ADVICE)
    rows = zip(
        labels.rows,
        labels.ids,
        paths,
        labels.targets,
        settled.splits,
        labels.groups,
        strict=True,
    )
    items = [
        Item(
            id_,
            _locate(path.parent, named),
            name_member(roles["text"], row) if raw else "",
            target,
            split,
            group,
            tuple(texts[name][row - 1] for name in kept),
        )
        for row, id_, named, target, split, group in rows
        if id_ is not None and named is not None
    ]
    items.sort(key=lambda item: item.id)
    used = ", ".join(f"{role} from `{name}`" for role, name in roles.items())
    notes = [f"Columns: {used}."]
    if keep:
        notes.append(f"Further columns: {', '.join(f'`{name}`' for name in keep)}.")
    if "target" not in roles:
        notes.append("No target column: all examples are unlabeled.")
    sample = items[0].id if items else ""
    notes += [*settled.notes, *note_splits(items)]
    return Listing(
        tuple(items),
        tuple(notes),
        settled.carve_val,
        sample,
        kept,
        holds="texts" if raw else "",
        reader=TextReader(path, raw[0], stamp, read.raw[raw[0]]) if raw else None,
        stamps=stamps,
    )


def _locate(folder: Place, named: str) -> str:
    if isinstance(folder, ObjectPath):
        return str(resolve(folder, named))
    return os.path.join(folder, named)


def _suspect_delimiter(name: str, problems: Problems) -> None:
    for mark, words in _DELIMITERS.items():
        if mark in name:
            problems.add_sentence(
                f"its one column looks like several, separated by {words}: save it "
                "with commas"
            )


def _make_labels(
    read: Columns,
    roles: Mapping[str, str],
    table: Place,
    exclusion: Exclusion,
    problems: Problems,
) -> tuple[Labels, list[str | None]]:
    """Returns the rows that are not excluded, and the path that each names.

    The path of a text is the table's own.
    """
    empty = [None] * read.n_rows
    of = {role: read.texts.get(roles.get(role, ""), empty) for role in TABLE_NAMES}
    if "text" in roles:
        of["path"] = [table.name] * read.n_rows
        if "id" not in roles:
            of["id"] = [f"{row:08d}" for row in range(read.n_rows)]
            roles = {**roles, "id": ""}
    kept: list[tuple] = []
    paths: list[str | None] = []
    for i, path in enumerate(of["path"]):
        id_ = of["id"][i] if "id" in roles else path and posixpath.normpath(path)
        id_ = id_ and normalize_id(id_)
        if id_ is not None and exclusion.matches(id_):
            continue
        if path is None:
            problems.add("without a path", i + 1)
        if path is None and "id" not in roles:
            continue
        kept.append((i + 1, id_, of["target"][i], of["split"][i], of["group"][i]))
        paths.append(path)
    labels = Labels(*zip(*kept, strict=True)) if kept else Labels((), (), (), (), ())
    return labels, paths


def _check_files(
    labels: Labels,
    paths: list[str | None],
    folder: Place,
    problems: Problems,
    stamps: Mapping[str, Stamp],
) -> None:
    for row, path in zip(labels.rows, paths, strict=True):
        if path is None:
            continue
        if isinstance(folder, ObjectPath):
            if find_stamp(stamps, folder, path) is None:
                problems.add("whose object is not in the bucket", row, path)
            continue
        try:
            mode = os.stat(os.path.join(folder, path)).st_mode
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problems.add(f"whose file cannot be had ({reason})", row, path)
            continue
        # A pipe or device would block its reader.
        if not stat.S_ISREG(mode):
            problems.add("whose path is no file", row, path)
