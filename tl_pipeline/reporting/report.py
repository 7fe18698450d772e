"""What a report is made of: plain data, the same that a run's JSON files hold."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class ReportData(TypedDict):
    """Everything that the page of a run tells, as `make_report` takes it by keyword.

    Attributes:
      asked: What the run was asked for; the run's identity is its digest: `version` of
        the package, `spec` and `snapshot` (digests), `features`, `heads` (`kinds`,
        `l2`, `n_seeds`), and, where there are any, `baselines` (each with its `name`)
        and `shots`.
      provenance: `dataset`, `store`, `weights` (as they were asked for),
        `weights_origin` (facts by name; None is "not recorded"), `versions` (of what
        computed the rows, by name), and `extraction`: None, or what it reported:
        `examples`, `rows_reused`, `rows_computed`, `duplicates`, `failures` (each
        `{id, reason}`), `seconds`, `seconds_saved`, `parity`, `notes` (sentences), and
        `conflicts` and `leaks` (groups of ids).
      spec: The feature spec's JSON.
      metrics: `chosen` (`kind`, `settings`), `val` and `test` (metric → `value`, `low`,
        `high`), `classes`, `confusion` ([C, 3] counts of pairs on test),
        `counts` (labeled examples by split), `candidates` (each `kind`, `feature`,
        `chosen`, `converged`, its metrics on val, and settings such as `l2` and `C`),
        `comparison` (a row for the backbone and each baseline) and `transfer` (the
        verdict, or None).
      mistakes: Wrongly predicted test examples, the surest first: `id`, `target`,
        `predicted`, `probability`.
      since: What was measured of the run afterwards: `robustness`, as
        `measure_robustness` returns it, and `finetune`, as `FinetuneReport.to_json()`.
    """

    asked: Mapping[str, Any]
    provenance: Mapping[str, Any]
    spec: Mapping[str, Any]
    metrics: Mapping[str, Any]
    mistakes: Sequence[Mapping[str, Any]]
    since: NotRequired[Mapping[str, Any]]
