"""Writers of a store in a bucket, killed before and after each of their requests.

Run by `test_object_storage.py` as a process of its own, which forks a writer a kill. It
asks the server nothing itself: a driver that is in use does not survive a fork. Prints
a JSON report.
"""

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import s3fs  # noqa: F401  (imported once for all forks)
import toy

from tl_pipeline.object_paths import ObjectPath, parse_address
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

N_EXAMPLES = 30


def make_content() -> np.ndarray:
    content = toy.make_content(N_EXAMPLES)
    content[0, 0] = 3  # does not decode
    content[1, 2] = 5  # cannot be read, now or later
    return content


class Requests:
    """Counts the requests of a writer, and kills it before or after one of them."""

    def __init__(self, fatal: int | None = None):
        self.fatal = fatal
        self.names: list[str] = []
        for name in ("_call", "_get"):
            setattr(ObjectPath, name, self._around(getattr(ObjectPath, name)))

    def _step(self, name: str) -> None:
        if len(self.names) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)

    def _around(self, ask: Callable) -> Callable:
        def around(path, *args, **kwargs):
            what = " ".join([*map(str, args), path.key])
            self._step(f"before {what}")
            try:
                return ask(path, *args, **kwargs)
            finally:
                self._step(f"after {what}")

        return around


def in_child(work: Callable[[], object], out: Path | None = None) -> int:
    """Does some work in a forked process; returns its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            result = work()
            if out:
                out.write_text(json.dumps(result))
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def write(root: ObjectPath, fatal: int | None = None) -> list[str]:
    """Runs a whole extraction, and returns where it could have been killed."""
    requests = Requests(fatal)
    toy.extract(root, make_content())
    return requests.names


def choose(names: list[str], n: int, rng: random.Random) -> list[int]:
    """Returns n moments: one after a put of each kind, then any."""
    chosen: list[int] = []
    for kind in ("store.json", "/shards/", "/snapshots/", ".lock"):
        after = [
            i
            for i, name in enumerate(names)
            if name.startswith("after put_object") and kind in name
        ]
        chosen.append(rng.choice(after))
    rest = sorted(set(range(len(names))) - set(chosen))
    return [*chosen, *rng.sample(rest, max(0, n - len(chosen)))][:n]


def check_state(root: ObjectPath) -> list[str]:
    """Returns what is wrong with a store whose writer was killed."""
    problems = []
    for path in root.iterdir():
        if not (path / "store.json").exists():
            continue
        problems += verify_store(path)["problems"]
        store = open_store(str(path))
        for name in store.manifest.features:
            rows, content = store.rows(name)
            if not np.array_equal(rows, toy.compute(content, name).astype("float16")):
                problems.append(f"wrong rows of {name}")
    return problems


def check_end(root: ObjectPath, reference: Path) -> list[str]:
    """Returns what differs from the local store of an uninterrupted writer."""
    (path,) = root.iterdir()
    (local,) = reference.iterdir()
    found, wanted = toy.read_files(path), toy.read_files(local)
    names = found.keys() | wanted
    return sorted(name for name in names if found.get(name) != wanted.get(name))


def go_on(root: ObjectPath, reference: Path) -> list[str]:
    """Checks what a kill left behind, extracts again, and checks what that made."""
    problems = check_state(root)
    toy.extract(root, make_content())
    return [*problems, *check_state(root), *check_end(root, reference)]


def sleep_holding(root: ObjectPath) -> None:
    """Holds the lease, computes a range, says so, and commits when it is told to."""
    store = toy.make_store(root)

    def wait() -> None:
        print("computed", flush=True)
        sys.stdin.readline()

    try:
        with store.lock():
            toy.fill(store, make_content(), on_range=wait, stop_after=1)
        print("committed", flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("root")
    options.add_argument("--folder", type=Path)
    options.add_argument("--moments", type=int, default=0, help="0: all of them")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    bucket = parse_address(arguments.root)
    if arguments.folder is None:
        return sleep_holding(bucket)
    reference = arguments.folder / "reference"
    toy.extract(reference, make_content())
    out = arguments.folder / "out.json"
    problems, kills = [], 0
    if in_child(lambda: write(bucket / "whole"), out):
        problems.append("the uninterrupted writer failed")
    names = json.loads(out.read_text())
    moments = list(range(len(names)))
    if arguments.moments:
        moments = choose(names, arguments.moments, random.Random(arguments.seed))
    for fatal in moments:
        root = bucket / f"killed-{fatal:04d}"
        status = in_child(lambda r=root, f=fatal: write(r, f))
        kills += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if in_child(lambda r=root: go_on(r, reference), out):
            problems.append(f"killed at {fatal}: what came after it failed")
        else:
            found = json.loads(out.read_text())
            problems += [f"killed at {fatal}: {problem}" for problem in found]
    print(json.dumps({"steps": len(names), "kills": kills, "problems": problems}))


if __name__ == "__main__":
    main()
