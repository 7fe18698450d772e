"""Kills writers with SIGKILL, at random moments or at every step, and checks the rest.

Run by `test_crashes.py` as a process of its own, which forks a writer a kill: starting
an interpreter for each would take longer than all of them. Prints a JSON report.
"""

import argparse
import io
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import toy

from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store


class Steps:
    """Counts the steps of a writer, and kills it at one of them."""

    def __init__(self, fatal: int | None):
        self.count = 0
        self.fatal = fatal
        self.names: list[str] = []

    def step(self, name: str) -> None:
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        self.names.append(name)

    def install(self) -> None:
        for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
            setattr(os, name, self._around(name, getattr(os, name)))
        steps = self

        class File(io.FileIO):
            halves = 0

            def write(self, data):
                if self.halves:
                    return super().write(data)
                steps.step("before write")
                self.halves = super().write(memoryview(data)[: len(data) // 2 or 1])
                steps.step("within write")
                return self.halves

        opens = pathlib.Path.open

        def open_(path, mode="r", *args, **kwargs):
            if mode != "wb":
                return opens(path, mode, *args, **kwargs)
            steps.step("before open")
            return File(str(path), "w")

        pathlib.Path.open = open_

    def _around(self, name: str, call: Callable) -> Callable:
        def around(*args, **kwargs):
            self.step(f"before {name}")
            result = call(*args, **kwargs)
            self.step(f"after {name}")
            return result

        return around


def in_child(work: Callable[[], None]) -> int:
    """Forks a process that does some work, and returns its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    return pid


def log_range(log: Path) -> None:
    with log.open("a") as file:
        file.write("range\n")


def count_ranges(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def check_state(path: Path) -> list[str]:
    """Returns what is wrong with a store whose writer was killed."""
    if not (path / "store.json").exists():
        return []
    report = verify_store(path)
    problems = list(report["problems"])
    store = open_store(path)
    for feature in store.manifest.features:
        rows, content = store.rows(feature)
        if not np.array_equal(rows, toy.compute(content, feature).astype("float16")):
            problems.append(f"wrong rows of {feature}")
    return problems


def check_end(path: Path, wanted: dict[str, bytes]) -> list[str]:
    """Returns what differs from a store whose writer was never killed."""
    found = toy.read_files(path)
    names = sorted(
        name for name in found.keys() | wanted if found.get(name) != wanted.get(name)
    )
    strange = {file.name for file in path.iterdir()} - {
        *("store.json", "shards", "snapshots", "failures.jsonl", ".lock"),
    }
    return [f"{name} differs" for name in names] + sorted(strange)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--random", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", action="store_true")
    options.add_argument("--every", type=int, default=1, help="at each N-th step")
    options.add_argument("--examples", type=int, required=True)
    arguments = options.parse_args()
    folder = arguments.folder
    content = toy.make_content(arguments.examples)
    content[0, 0] = 3  # does not decode
    content[1, 2] = 5  # cannot be read, now or later
    content[2, 1] = 1  # overflows float16

    log = folder / "reference.log"
    start = time.perf_counter()
    reference = toy.extract(
        folder / "reference", content, on_range=lambda: log_range(log)
    )
    seconds = time.perf_counter() - start
    wanted = toy.read_files(reference.path)
    n_ranges = count_ranges(log)
    problems: list[str] = []
    kills = 0

    def attempt(name: str, stop: Callable[[Callable[[], None]], int]) -> None:
        nonlocal kills
        root, log = folder / name, folder / f"{name}.log"
        path = root / reference.path.name

        def work() -> None:
            toy.extract(root, content, on_range=lambda: log_range(log))

        n_kills = stop(work)
        kills += n_kills
        found = check_state(path)
        _, status = os.waitpid(in_child(work), 0)
        if status:
            found.append(f"the rerun ended with {status}")
        found += check_end(path, wanted)
        if count_ranges(log) > n_ranges + n_kills:
            found.append("more than one range computed again")
        problems.extend(f"{name}: {problem}" for problem in found)
        shutil.rmtree(root, ignore_errors=True)
        log.unlink(missing_ok=True)

    rng = random.Random(arguments.seed)

    def stop_at_random(work: Callable[[], None]) -> int:
        n_kills = 0
        for _ in range(rng.choice([1, 1, 2, 3])):
            pid = in_child(work)
            time.sleep(rng.uniform(0, 1.1 * seconds))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            n_kills += os.WIFSIGNALED(status)
        return n_kills

    while kills < arguments.random:
        attempt(f"random-{kills}", stop_at_random)

    names: list[str] = []
    if arguments.steps:
        counting = Steps(None)
        reader, writer = os.pipe()

        def count() -> None:
            counting.install()
            toy.extract(folder / "counted", content)
            os.write(writer, json.dumps(counting.names).encode())

        os.waitpid(in_child(count), 0)
        names = json.loads(os.read(reader, 2**20))

        for k in range(len(names))[:: arguments.every]:

            def stop_at_step(work: Callable[[], None], k: int = k) -> int:
                def killed() -> None:
                    Steps(k).install()
                    work()

                _, status = os.waitpid(in_child(killed), 0)
                return int(os.WIFSIGNALED(status))

            attempt(f"step-{k}-{names[k].replace(' ', '-')}", stop_at_step)

    json.dump(
        {
            "kills": kills,
            "problems": problems,
            "ranges": n_ranges,
            "steps": sorted(set(names)),
            "shards": len(reference.manifest.shards),
            "failed": len(reference.manifest.failed),
            "retry": len(reference.manifest.retry),
            "seconds": seconds,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
