"""The gate at the end of a pipeline: a new head takes over, or the one in use stays."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.evaluation.gate import Rules, judge
from tl_pipeline.places import Place
from tl_pipeline.runs import current as in_use
from tl_pipeline.runs.current import Current
from tl_pipeline.runs.ledger import LOOK, ROLLBACK, Ledger
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.stages.rescore import Rescored, rescore
from tl_pipeline.store.store import open_store

_OF_THE_DAY = ("snapshot", "dataset")  # what differs between equal heads of two nights


@dataclasses.dataclass(frozen=True)
class PromotionReport:
    """What the gate decided.

    Attributes:
      verdict: `promote` or `hold`.
      reason: Why: `first`, `gain`; `unchanged`, `same_head`, `rolled_back`, `classes`,
        `drift`, `no_common`, `no_gain`, `noise`, `small_gain`, `slice`.
      sentence: What a person can repeat.
      current: The folder of the run in use from here on.
      previous: The folder of the run to which `rollback` would return.
      consultations: Looks at this test split so far, this one included.
      alpha: The chance of ever promoting noise that is allowed.
      split: Which test split of the pipeline it is.
      metric: What was compared, a point being a hundredth; None without a comparison.
      n: Test examples that were compared.
      gain: Points by which the new head is better.
      low: The lower end of its 95 % interval.
      high: The upper end.
      p_value: One-sided, of a gain as large by chance.
      level: What it had to be at most at this look.
      slices: The comparison by group, the worst first.
      notes: What could not be compared, and why.
    """

    verdict: Literal["promote", "hold"]
    reason: str
    sentence: str
    current: str
    previous: str | None
    consultations: int
    alpha: float
    split: int | None = None
    metric: str | None = None
    n: int = 0
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    level: float | None = None
    slices: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def promote(
    run: str | Path,
    store: str | Place,
    *,
    rules: Rules | None = None,
    hold: str = "",
) -> PromotionReport:
    """Promotes a run to the one in use, or holds it back.

    The head in use is first scored anew, on the test rows and labels of the new run's
    snapshot. Asking again with nothing changed repeats the verdict and counts no look;
    so does asking after a crash, which also finishes what was begun.

    Args:
      run: The new run's folder; the file that says which run is in use lies beside it.
      store: The store that it was trained on, as it is today.
      rules: What a promotion takes.
      hold: Why the head in use stays in any case, a sentence; "": no such reason.

    Raises:
      NotFoundError: There is no such run, store or snapshot.
      RunDamagedError: A run is not as it was written, the one in use is gone, or what
        is known of them cannot be read.
      StoreDamagedError: A file of the store is not the one that was committed.
    """
    rules = rules or Rules()
    new = load_run(run)
    path = in_use.current_file(new.path.parent, str(new.provenance["dataset"]))
    with in_use.hold_gate(path):
        ledger = Ledger(in_use.ledger_file(path))
        current = in_use.read_current(path)
        if current is None:
            sentence = "Promote: the first head of this dataset"
            report = _without_look("first", sentence, rules)
        elif hold and new.identity != current.now.identity:
            report = _without_look("drift", f"Hold: {hold}", rules)
        else:
            report = _decide(new, current, store, ledger, rules)
        if report.verdict == "promote":
            current = in_use.switch(
                path,
                str(new.provenance["dataset"]),
                run=new.path.name,
                identity=new.identity,
            )
        assert current is not None
        return dataclasses.replace(
            report,
            current=str(current.folder),
            previous=str(current.previous) if current.previous else None,
        )


def rollback(where: str | Path) -> dict[str, Json]:
    """Puts the run before the one in use into use again.

    The run that is left is not promoted again, however often it is found unchanged.

    Args:
      where: The `.current.json`, RUN_ROOT/DATASET, or a root with one dataset's runs.

    Returns:
      `current` and `left`, folders of runs, and `file`, which says so from now on.

    Raises:
      NotFoundError: No run is in use, none was before it, or that one is gone.
      RunDamagedError: The run to return to is not as it was written.
    """
    path = in_use.find_current(Path(where))
    with in_use.hold_gate(path):
        was = in_use.require_current(path)
        if was.previous is not None:
            load_run(was.previous)  # before anything changes
            # Recorded first: a rollback that is lost would be promoted again.
            Ledger(in_use.ledger_file(path)).record_rollback(
                {"run": was.now.identity, "when": in_use.now()}
            )
        current = in_use.roll_back(path)
    return {
        "current": str(current.folder),
        "left": str(was.folder),
        "file": str(path),
    }


def _decide(
    new: Run, current: Current, store: str | Place, ledger: Ledger, rules: Rules
) -> PromotionReport:
    opened = open_store(store)
    examples = opened.snapshot(digest=str(new.head["snapshot"]))
    tests = examples.content[[split == "test" for split in examples.splits]]
    so_far = ledger.next_look(tests).number - 1
    if new.identity == current.now.identity:
        sentence = "Hold: nothing changed, the head in use stays"
        return _without_look("unchanged", sentence, rules, so_far)
    last = ledger.last(new.identity)
    if last and last["event"] == ROLLBACK:
        when = str(last["when"])[:10]
        sentence = f"Hold: this head was in use, and rolled back on {when}"
        return _without_look("rolled_back", sentence, rules, so_far)
    if (
        last
        and last["event"] == LOOK
        and last["against"] == current.now.identity
        and last["rules"] == rules.to_json()
    ):
        found = {**last["report"], "consultations": so_far}
        for key in ("slices", "notes"):
            found[key] = tuple(found[key])
        return PromotionReport(**found)
    old = _load_in_use(current)
    if _is_same_head(new, old):
        return _without_look(
            "same_head", "Hold: the same head as the one in use", rules, so_far
        )
    scored = rescore(old, new, opened, examples)
    if not scored.known_classes:
        sentence = (
            "Hold: the head in use knows none of today's classes, so this is another "
            f"task; delete {current.path} to begin anew"
        )
        return _without_look("classes", sentence, rules, so_far)
    if not len(scored.content):
        sentence = (
            "Hold: no test example of today can be scored by the head in use; delete "
            f"{current.path} to begin anew"
        )
        return _without_look("no_common", sentence, rules, so_far, scored.notes)
    report, look = _judge(scored, ledger, rules)
    ledger.record_look(
        look,
        {
            "run": new.identity,
            "against": current.now.identity,
            "when": in_use.now(),
            "rules": rules.to_json(),
            "report": report.to_json(),
        },
    )
    return report


def _judge(
    scored: Rescored, ledger: Ledger, rules: Rules
) -> tuple[PromotionReport, Any]:
    look = ledger.next_look(scored.content)
    judgment = judge(
        scored.current,
        scored.new,
        metric=scored.metric,
        look=look.number,
        split=look.split,
        rules=rules,
        rng=np.random.default_rng([0, len(scored.content)]),
        groups=scored.groups,
    )
    gain, low, high = (100 * figure for figure in judgment.paired.difference)
    report = PromotionReport(
        verdict=judgment.verdict,
        reason=judgment.reason,
        sentence=judgment.sentence,
        current="",
        previous=None,
        consultations=look.number,
        alpha=rules.alpha,
        split=look.split,
        metric=scored.metric,
        n=judgment.paired.n,
        gain=gain,
        low=low,
        high=high,
        p_value=judgment.p_value,
        level=judgment.level,
        slices=tuple(one.to_json() for one in judgment.slices),
        notes=scored.notes,
    )
    return report, look


def _without_look(
    reason: str,
    sentence: str,
    rules: Rules,
    consultations: int = 0,
    notes: tuple[str, ...] = (),
) -> PromotionReport:
    """Returns a report that needed no look at the test split."""
    return PromotionReport(
        verdict="promote" if reason == "first" else "hold",
        reason=reason,
        sentence=sentence,
        current="",
        previous=None,
        consultations=consultations,
        alpha=rules.alpha,
        notes=notes,
    )


def _load_in_use(current: Current) -> Run:
    try:
        return load_run(current.folder)
    except NotFoundError:
        raise RunDamagedError(
            f"{current.path} says that {current.folder} is in use, and that run is "
            "gone. Restore it, roll back with `tl-pipeline rollback`, or delete the "
            "file to begin anew."
        ) from None


def _is_same_head(new: Run, old: Run) -> bool:
    """Tells whether two runs ended in one head, as when only test examples changed."""
    about, before = (
        {key: value for key, value in run.head.items() if key not in _OF_THE_DAY}
        for run in (new, old)
    )
    if about != before:
        return False
    arrays, others = new.head_arrays(), old.head_arrays()
    return arrays.keys() == others.keys() and all(
        np.array_equal(arrays[name], others[name]) for name in arrays
    )
