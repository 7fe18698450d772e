"""Mutants of a table of targets: the labels that it gives, or a reason."""

import io
import random
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
from mutations import mutate_text
from verdicts import Wrong, check_message

from tl_pipeline.errors import DatasetError
from tl_pipeline.stages.relabel import relabel
from tl_pipeline.store.store import open_store

sys.path.append(str(Path(__file__).parents[1] / "store"))
import toy  # noqa: E402


class Targets:
    def __init__(self, folder: Path):
        self.folder = folder
        self.table = folder / "targets.csv"
        content = toy.make_content(6)
        self.pristine = toy.extract(folder / "pristine", content).path
        self.examples = open_store(self.pristine).snapshot()
        ids = self.examples.ids
        plain = "id,target\n" + "".join(f"{id},{id[-1]}\n" for id in ids)
        quoted = "".join(f'"{id}","a, ""{id}"""\r\n' for id in ids)
        more = "note,target,id\n" + "".join(f"x,ant,{id}\n" for id in ids)
        texts = (plain, '"id","target"\r\n' + quoted, "\ufeff" + plain, more)
        self.files = [text.encode() for text in texts]

    def make(self, rng: random.Random) -> bytes:
        return mutate_text(rng, rng.choice(self.files), self.files)

    def check(self, data: bytes) -> str:
        self.table.write_bytes(data)
        working = self.folder / "working"
        shutil.rmtree(working, ignore_errors=True)
        shutil.copytree(self.pristine, working)
        store = open_store(working)
        try:
            relabeled = relabel(store, self.examples, self.table)
        except DatasetError as error:
            check_message(error, self.table)
            return "refused"
        try:
            wanted = read_plainly(data)
        except pa.ArrowInvalid as error:
            raise Wrong(f"a plain reader refuses it: {error}") from None
        found = dict(zip(relabeled.ids, relabeled.targets, strict=True))
        before = dict(zip(self.examples.ids, self.examples.targets, strict=True))
        if found != before | wanted:
            raise Wrong(f"{found} where the table says {wanted}")
        kept = open_store(working).snapshot()
        if kept.targets != relabeled.targets:
            raise Wrong(f"kept {kept.targets}, was {relabeled.targets}")
        return "accepted"


def read_plainly(data: bytes) -> dict[str, str | None]:
    """Reads a table with Arrow's own reader, all columns as text."""
    names = pyarrow.csv.open_csv(io.BytesIO(data)).schema.names
    table = pyarrow.csv.read_csv(
        io.BytesIO(data),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            strings_can_be_null=False,
        ),
    )
    ids, targets = (table[name].to_pylist() for name in ("id", "target"))
    return {id: target or None for id, target in zip(ids, targets, strict=True)}


def open_subject(folder: Path) -> Targets:
    return Targets(folder)
