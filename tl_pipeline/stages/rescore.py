"""The head in use on today's test examples, beside the new one: scores of both."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tl_pipeline.errors import NotFoundError, StoreDamagedError, StoreError
from tl_pipeline.evaluation.merits import MEASURES, find_merits
from tl_pipeline.examples import Examples
from tl_pipeline.heads.head import Head
from tl_pipeline.reporting.sentences import count
from tl_pipeline.runs.run import Run
from tl_pipeline.stages.joined import join_rows, split_name
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.tasks import Task, decide


@dataclasses.dataclass(frozen=True)
class Rescored:
    """Scores of two heads on the same test examples, by today's labels.

    Attributes:
      metric: What a mean score is.
      current: [N] scores of the head in use; higher is better.
      new: [N] scores of the new head.
      content: [N, 32] uint8 content digests, no two the same.
      groups: N groups; None where an example has none.
      known_classes: Today's classes, labels or targets that the head in use knows.
      notes: What could not be compared, and why.
    """

    metric: str
    current: np.ndarray
    new: np.ndarray
    content: np.ndarray
    groups: tuple[str | None, ...]
    known_classes: tuple[str, ...]
    notes: tuple[str, ...]


def rescore(
    current: Run, new: Run, store: FeatureStore, examples: Examples
) -> Rescored:
    """Scores the head in use on today's test rows and labels, beside the new one.

    A class that the head in use does not know it gets wrong, as it would in use.
    Examples of which either head saw the bytes in train or val are left out, and the
    same bytes count once. Where the rows that the head in use takes are not in today's
    store, because backbone or features changed, the predictions in its run are judged
    by today's labels instead, on the test examples that they hold.

    Args:
      current: The run in use.
      new: The new run.
      store: The new run's store.
      examples: The new run's snapshot.

    Raises:
      StoreDamagedError: A file of the store is not the one that was committed.
    """
    notes: list[str] = []
    predictions = new.predictions()
    task = predictions.task
    known = tuple(map(str, current.head["classes"]))
    outputs = _predict(current, store, examples, notes)
    seen = _seen(examples) | _seen_by(current, store, outputs, notes)
    group_of = dict(zip(examples.ids, examples.groups, strict=True))
    is_labeled = predictions.labeled
    rows: dict[bytes, int] = {}
    n_test = 0
    for row, split in enumerate(predictions.splits):
        if split == "test" and is_labeled[row]:
            n_test += 1
            content = predictions.content[row].tobytes()
            if content in outputs and content not in seen:
                rows.setdefault(content, row)
    kept = list(rows.values())
    if len(kept) < n_test:
        notes.append(f"compared on {len(kept):,} of today's {n_test:,} test examples")
    targets = predictions.targets[kept]
    theirs = np.array([outputs[content] for content in rows]).reshape(-1, len(known))
    thresholds = current.head.get("thresholds", ())
    if not task.is_single_class:
        same = current.head["task"] == task.kind and known == task.names
        known_today = task.names if same else ()
        if same:
            theirs = find_merits(
                task,
                targets,
                theirs,
                thresholds=thresholds,
            )
        else:
            theirs = np.zeros(len(kept))
    else:
        known_today = tuple(name for name in task.names if name in known)
        guesses = decide(Task(current.head["task"], known), theirs, thresholds)
        theirs = _find_right(guesses, known, targets, task.names, notes)
    return Rescored(
        metric=MEASURES[task.kind],
        current=theirs,
        new=find_merits(
            task,
            targets,
            predictions.outputs[kept],
            thresholds=predictions.thresholds,
        ),
        content=predictions.content[kept],
        groups=tuple(group_of.get(predictions.ids[row]) for row in kept),
        known_classes=known_today,
        notes=tuple(notes),
    )


def _find_right(
    guesses: np.ndarray,
    known: Sequence[str],
    targets: np.ndarray,
    names: Sequence[str],
    notes: list[str],
) -> np.ndarray:
    """Returns [N] float64: 1 where the class guessed, by name, is the target."""
    truth = [str(names[target]) for target in targets.tolist()]
    unknown = sorted(set(truth) - set(known))
    if unknown:
        n = sum(name in unknown for name in truth)
        notes.append(
            f"the head in use does not know {', '.join(unknown)}, and is wrong on "
            f"{count(n, 'test example')} of it"
        )
    right = [known[i] == name for i, name in zip(guesses, truth, strict=True)]
    return np.array(right, np.float64)


def _predict(
    run: Run, store: FeatureStore, examples: Examples, notes: list[str]
) -> dict[bytes, np.ndarray]:
    """Returns [K] outputs by content, by today's rows where there are any."""
    if run.head["spec_digest"] != store.digest:
        notes.append("the head in use is of another backbone or preprocessing")
    else:
        tests = examples.take(
            [row for row, split in enumerate(examples.splits) if split == "test"]
        )
        try:
            head = Head.from_arrays(run.head, run.head_arrays())
            parts = [
                store.read(name, snapshot=tests) for name in split_name(head.feature)
            ]
            common = set(parts[0].ids).intersection(*(part.ids for part in parts[1:]))
            kept = [np.array([id in common for id in part.ids], bool) for part in parts]
            outputs = head.predict(
                join_rows([p.features[k] for p, k in zip(parts, kept, strict=True)])
            )
            content = parts[0].content[kept[0]]
            return dict(zip(map(bytes, content), outputs, strict=True))
        except StoreDamagedError:
            raise
        except (NotFoundError, StoreError):
            feature = run.head["feature"]
            notes.append(f"today's store lacks rows of {feature}, the feature in use")
    notes.append("its kept predictions were judged by today's labels")
    kept = run.predictions()
    return dict(zip(map(bytes, kept.content), kept.outputs, strict=True))


def _seen(examples: Examples) -> set[bytes]:
    """Returns the contents that a head of these examples was trained or chosen on."""
    return {
        content.tobytes()
        for content, split in zip(examples.content, examples.splits, strict=True)
        if split != "test"
    }


def _seen_by(
    run: Run, store: FeatureStore, outputs: dict[bytes, np.ndarray], notes: list[str]
) -> set[bytes]:
    """Returns which of some contents the head in use saw, or may have seen."""
    snapshot = str(run.head["snapshot"])
    try:
        same = run.head["spec_digest"] == store.digest
        opened = store if same else open_store(run.provenance["store"])
        return _seen(opened.snapshot(digest=snapshot))
    except StoreDamagedError:
        raise
    except (NotFoundError, StoreError):
        notes.append("the snapshot of the head in use is gone: only its test examples")
    predictions = run.predictions()
    tested = {
        content.tobytes()
        for content, split in zip(predictions.content, predictions.splits, strict=True)
        if split == "test"
    }
    return outputs.keys() - tested
