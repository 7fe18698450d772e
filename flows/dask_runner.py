"""Work as Prefect tasks on Dask: workers here, or on many machines.

Ranges of an extraction: the flow keeps the stores' locks and commits what workers have
written. Sweeps of a training: workers read the store and return the heads. A worker
that dies is another one's task; Dask and what builds on it are loaded only where there
is something to compute.
"""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Generator, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.tasks import Task

from tl_pipeline.allocation import keep_variables
from tl_pipeline.compilation import keep_compiled_programs
from tl_pipeline.errors import RequestError, WorkersError, shorten
from tl_pipeline.stages.jobs import Job, Outcome, do_job

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

    from tl_pipeline.stages.sweep import Candidate
    from tl_pipeline.stages.sweep_jobs import SweepJob

CORES = "NPROC"  # how many threads XLA takes on the CPU; by default as many as cores
AHEAD = 2  # jobs a worker: the next one is there when one is done
SECONDS_FOR_WORKERS = 60.0


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="extract {job.label}",
)
def compute_rows(job: Job) -> Outcome:
    """Computes a range of missing rows, and writes it beside the store's shards."""
    keep_compiled_programs()  # a worker elsewhere has not begun as this process did
    cores = os.environ.get(CORES)
    return do_job(job, workers=int(cores) if cores else None)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="fit {job.label}",
)
def fit_heads(job: "SweepJob") -> "list[Candidate]":
    """Fits the heads of one kind on one feature, whose rows it reads."""
    keep_compiled_programs()
    from tl_pipeline.stages.sweep_jobs import do_sweep

    return do_sweep(job)


def find_extract_runner(config: Mapping[str, Any]) -> "DaskRunner[Job, Outcome] | None":
    """Returns what `[extract]` asks for; None for this process.

    Args:
      config: `PipelineConfig.to_json()`.

    Raises:
      RequestError: It asks for Dask, which is not installed.
    """
    return _find_runner(config, "extract", compute_rows)


def find_sweep_runner(
    config: Mapping[str, Any],
) -> "DaskRunner[SweepJob, list[Candidate]] | None":
    """Returns what `[sweep]` asks for; None for this process; errors likewise."""
    return _find_runner(config, "sweep", fit_heads)


J = TypeVar("J")  # a job
R = TypeVar("R")  # what becomes of it


def _find_runner(
    config: Mapping[str, Any], section: str, work: Task[[J], R]
) -> "DaskRunner[J, R] | None":
    asked = config[section]
    if asked["runner"] != "dask":
        return None
    if importlib.util.find_spec("prefect_dask") is None:
        raise RequestError(
            f'Asked for runner = "dask" in [{section}]: prefect-dask is not installed. '
            "Install it with: pip install 'tl-pipeline[dask]'"
        )
    return DaskRunner(work, asked["dask_address"], n_workers=asked["dask_workers"])


class DaskRunner(Generic[J, R]):
    """Does jobs on the workers of a scheduler, or of a cluster that it starts here."""

    def __init__(
        self, work: Task[[J], R], address: str | None = None, *, n_workers: int = 2
    ):
        """Takes where the workers are; nothing is started before there is a job.

        Args:
          work: The task that does a job, its argument `job`.
          address: Of the scheduler; None: workers are started here.
          n_workers: How many, which share the cores of this machine.
        """
        self._work = work
        self._address = address
        self._n_workers = n_workers

    def run(self, jobs: Iterator[J]) -> Generator[tuple[int, R]]:
        """Yields outcomes as they come; see `Runner` and `SweepRunner`.

        Raises:
          WorkersError: There is no worker, or one job was the death of several.
        """
        from distributed import KilledWorker, as_completed

        with self._start() as runner:
            client = runner.client
            numbers: dict[str, int] = {}
            coming = as_completed(loop=client.loop, with_results=True)
            upcoming = enumerate(jobs)
            try:
                while True:
                    room = AHEAD * _count_threads(client)
                    for number, job in islice(upcoming, max(0, room - len(numbers))):
                        future = _submit(runner, self._work, job)
                        numbers[future.key] = number
                        coming.add(future)
                    if not numbers:
                        return
                    future, state = next(coming)
                    number = numbers.pop(future.key)
                    del future  # its worker may forget it
                    yield number, state.result()
            except KilledWorker as error:
                raise WorkersError(
                    "Asked to compute with Dask: several workers died of the same "
                    f"job ({shorten(error)}). Look at their logs, and at the memory "
                    "that they have; what is committed stays."
                ) from error
            finally:
                client.cancel(list(coming.futures))

    @contextlib.contextmanager
    def _start(self) -> Iterator["DaskTaskRunner"]:
        from prefect_dask.task_runners import DaskTaskRunner

        # Dask tells of each connection by default; what fails is told by itself.
        for name in ("distributed", "distributed.nanny"):
            logging.getLogger(name).setLevel(logging.WARNING)
        kwargs: dict[str, Any] = {
            "n_workers": self._n_workers,
            "threads_per_worker": 1,
            "memory_limit": 0,  # Dask would kill a worker that has 95 % of it
            "dashboard_address": "127.0.0.1:0",
        }
        cores = max(1, (os.cpu_count() or 1) // self._n_workers)
        with _surround(cores), contextlib.ExitStack() as started:
            try:
                runner = DaskTaskRunner(address=self._address)
                if self._address is None:
                    runner = DaskTaskRunner(cluster_kwargs=kwargs)
                started.enter_context(runner)
                runner.client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
            except OSError as error:
                raise WorkersError(
                    f"Asked to compute with the Dask scheduler {self._address}: "
                    f"{shorten(error)}. Start it with `dask scheduler`, and on each "
                    f"machine `dask worker {self._address} --nthreads 1`."
                ) from error
            try:
                yield runner
            finally:  # one that takes its time to end is ended, and nobody need know
                logging.getLogger("distributed.nanny").setLevel(logging.ERROR)


@contextlib.contextmanager
def _surround(cores: int) -> Iterator[None]:
    """Sets what workers find as they start here, and leaves this process as it was."""
    import dask.config

    key = "distributed.nanny.pre-spawn-environ"
    said = {CORES: str(cores), "DASK_LOGGING__DISTRIBUTED": "error"}
    said |= keep_variables()  # Dask has threads before anything of ours is loaded
    before = dict(os.environ)
    with dask.config.set({key: dask.config.get(key) | said}):
        try:
            yield
        finally:  # Dask sets it for this process too, as often as one starts
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)


def _count_threads(client: Any) -> int:
    """Returns how many jobs all workers can do at a time, now: they come and go."""
    return max(1, sum(client.nthreads().values()))


def _submit(runner: "DaskTaskRunner", work: Task[..., Any], job: Any) -> Any:
    """Submits a job, and returns the Dask future of its state."""
    with temporary_settings(_find_server()):
        return runner.submit(work, {"job": job}).wrapped_future


def _find_server() -> dict[Any, str]:
    """Returns the setting that leads workers to this flow's own temporary server."""
    if PREFECT_API_URL.value():
        return {}
    from prefect.server.api.server import SubprocessASGIServer

    return {PREFECT_API_URL: SubprocessASGIServer().api_url}
