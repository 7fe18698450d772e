"""Runners: other processes that compute the ranges which an extraction commits.

Ranges are computed in any order and committed in the one order in which a single
process commits them, under the locks that the extraction holds all the while. So a
store comes out the same, byte for byte, whoever computed it.
"""

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple, Protocol

from tl_pipeline.progress import Progress
from tl_pipeline.stages.inputs import Inputs
from tl_pipeline.stages.jobs import Job, Outcome, make_lane_job
from tl_pipeline.stages.targets import Target
from tl_pipeline.store.plan import Group

# Groups that are filled side by side; see `plan_passes`.
Pass = list[tuple[Target, Group]]


class Runner(Protocol):
    """Processes that do jobs."""

    def run(self, jobs: Iterator[Job]) -> Generator[tuple[int, Outcome]]:
        """Yields each job's number, counted from 0, and its outcome, in any order.

        Jobs are taken when there is somebody to do them. A job whose process dies is
        done by another one; closing what this returns ends what still goes on.

        Args:
          jobs: What to do, best in this order; see `do_job`.
        """
        ...


class _Range(NamedTuple):
    """One range of a plan, and where its rows will come from."""

    target: Target
    group: Group
    range_index: int
    job: int
    place: int  # among the job's lanes


def run_jobs(
    passes: Sequence[Pass], inputs: Inputs, runner: Runner, progress: Progress
) -> None:
    """Fills the stores of all targets by jobs; arguments as in `extract`."""
    ranges = _list_ranges(passes)
    if not ranges:
        return
    of_job: list[list[_Range]] = []
    for one in sorted(ranges, key=lambda one: (one.job, one.place)):
        of_job += [[]] if one.job == len(of_job) else []
        of_job[one.job].append(one)
    sizes = [_size(found[0]) for found in of_job]
    arrived: dict[int, Outcome] = {}
    committed = 0
    progress.start("extract", sum(sizes))
    try:
        jobs = (_make_job(found, inputs) for found in of_job)
        with contextlib.closing(runner.run(jobs)) as outcomes:
            for job, outcome in outcomes:
                arrived[job] = outcome
                inputs.opened += outcome.opened
                inputs.cut += outcome.cut
                inputs.words += outcome.words
                inputs.unknown += outcome.unknown
                while committed < len(ranges):
                    one = ranges[committed]
                    if one.job not in arrived:
                        break
                    part = arrived[one.job].parts[one.place]
                    one.target.commit_part(one.group, one.range_index, part)
                    committed += 1
                progress.advance(sizes[job])
    finally:
        progress.finish()
    assert committed == len(ranges), "a runner yields every job"


def _list_ranges(passes: Sequence[Pass]) -> list[_Range]:
    """Lists all ranges in the order of their commits; equal ones share a job."""
    ordered = [
        (number, group.content[rows][-1].tobytes(), place, range_index, target, group)
        for number, one in enumerate(passes)
        for place, (target, group) in enumerate(one)
        for range_index, rows in enumerate(group.ranges)
    ]
    ordered.sort(key=lambda found: found[:4])
    jobs: dict[tuple[int, bytes], int] = {}
    lanes: list[int] = []
    ranges = []
    for number, _, _, range_index, target, group in ordered:
        rows = group.content[group.ranges[range_index]]
        key = number, hashlib.sha256(rows.tobytes()).digest()
        job = jobs.setdefault(key, len(jobs))
        lanes += [0] if job == len(lanes) else []
        ranges.append(_Range(target, group, range_index, job, lanes[job]))
        lanes[job] += 1
    return ranges


def _make_job(ranges: Sequence[_Range], inputs: Inputs) -> Job:
    lanes = [make_lane_job(one.target, one.group, one.range_index) for one in ranges]
    contents = [row.tobytes() for row in lanes[0].group.content]
    return Job(tuple(lanes), inputs.take(contents))


def _size(one: _Range) -> int:
    rows = one.group.ranges[one.range_index]
    return rows.stop - rows.start
