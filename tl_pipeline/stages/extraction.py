"""What an extraction did, with every count, and whether it may be trained on."""

import dataclasses
from collections.abc import Mapping

from tl_pipeline.digest import Json
from tl_pipeline.errors import TooManyFailuresError
from tl_pipeline.evaluation.changes import compare_examples
from tl_pipeline.examples import Examples
from tl_pipeline.store.store import FeatureStore


@dataclasses.dataclass(frozen=True)
class ExtractReport:
    """What an extraction did; `examples = reused + computed + duplicate + failed`.

    Attributes:
      store: The store's folder.
      digest: The feature spec's digest.
      dataset: The dataset's name.
      snapshot: The digest of the snapshot it left in the store.
      features: The features asked for, by canonical name.
      examples: Examples of the dataset.
      changes: Examples `added`, `removed`, `changed`, `renamed`, `relabeled` and
        `moved` to another split since the dataset's last snapshot; None without one.
      rows_reused: Examples whose rows were there.
      rows_computed: Examples whose rows were computed now.
      views_computed: Rows of augmented views computed now.
      duplicates: Examples with the bytes of another one.
      failures: Examples without a row, each `{id, kind, reason}`.
      inputs_hashed: Files read for a content digest.
      inputs_opened: Examples decoded for a backbone.
      inputs_cut: Those of them that were longer than the longest input, and cut.
      words: Words of them that were looked up, where the backbone is of word vectors.
      words_unknown: Those of them that were not found.
      parity_inputs: Examples decoded for the live check.
      parity: What the live check found.
      seconds: Wall time.
      seconds_saved: Reused rows at the store's recorded rate; None without a rate.
      shards_merged: Small shards that were merged into larger ones.
      notes: Sentences on what was found odd in the dataset.
      duplicate_ids: Groups of ids with the same bytes.
      conflicts: Those of them with different targets.
      leaks: Those of them that stand in different splits.
      weights: How the backbone's weights were asked for.
      weights_origin: Where they are from: file, digest, source dataset, license.
      baselines: For each baseline `{name, store, digest, snapshot, features,
        rows_computed}`.
    """

    store: str
    digest: str
    dataset: str
    snapshot: str
    features: tuple[str, ...]
    examples: int
    changes: Mapping[str, int] | None
    rows_reused: int
    rows_computed: int
    views_computed: int
    duplicates: int
    failures: tuple[Mapping[str, str], ...]
    inputs_hashed: int
    inputs_opened: int
    inputs_cut: int
    words: int
    words_unknown: int
    parity_inputs: int
    parity: Mapping[str, Json]
    seconds: float
    seconds_saved: float | None
    shards_merged: int
    notes: tuple[str, ...]
    duplicate_ids: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    weights: str
    weights_origin: Mapping[str, Json]
    baselines: tuple[Mapping[str, Json], ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def count_changes(store: FeatureStore, examples: Examples) -> dict[str, int] | None:
    """Counts what changed since the dataset's last snapshot, or None without one."""
    dataset = examples.dataset
    if dataset not in {entry.dataset for entry in store.snapshots()}:
        return None
    changes = compare_examples(store.snapshot(dataset), examples)
    kinds = ("added", "removed", "changed", "renamed", "relabeled", "moved")
    return {kind: len(getattr(changes, kind)) for kind in kinds}


def check_failures(report: ExtractReport, max_failures: float) -> None:
    """Raises where too many examples failed to train on what is left.

    Args:
      report: What `extract` returned.
      max_failures: The share that may fail; one example always may.

    Raises:
      TooManyFailuresError: More than max(1, share) failed; names the first ones.
    """
    allowed = max(1, int(max_failures * report.examples))
    if len(report.failures) <= allowed:
        return
    first = "\n".join(f"  {f['id']}: {f['reason']}" for f in report.failures[:5])
    raise TooManyFailuresError(
        f"{len(report.failures)} of {report.examples} examples of {report.dataset} "
        f"failed, {allowed} may:\n{first}\nMend or exclude them, or raise "
        "max_failures in [data]; the rows of the others are kept."
    )
