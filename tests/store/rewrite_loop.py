"""Kills a collection, or a merge, with SIGKILL at each step or at random moments.

Run by `test_gc.py` and `test_merge.py` as a process of its own, as `crash_loop.py` is.
Prints JSON.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import toy
from crash_loop import Steps, check_state, in_child

from tl_pipeline.store.store import FeatureStore, open_store


def make_collectable(root: Path) -> FeatureStore:
    """Makes a store with shards to keep, to write anew, and to remove, also last."""
    content = toy.make_content(40)
    content[:2, 0] = 3  # do not decode: one stays in use, one does not
    store = toy.make_store(root)
    with store.lock():
        toy.fill(store, content[:24])
        store.commit_snapshot(toy.make_examples(content[:24]))
        store.record_parity({"shards": [store.manifest.shards[0].name]})
        toy.fill(store, content[24:])
        store.commit_snapshot(toy.make_examples(content[24:]))
        store.commit_snapshot(toy.make_examples(content[1:20]))
    return store


def make_mergeable(root: Path) -> FeatureStore:
    """Makes a store with many small shards, some of them checked, and a large one."""
    content = toy.make_content(28)
    content[:, :3] = 0  # none fails
    store = toy.make_store(root)
    for start, stop in (*((i, i + 2) for i in range(0, 20, 2)), (20, 28)):
        with store.lock():
            toy.fill(store, content[start:stop])
            if start == 8:
                names = [shard.name for shard in store.manifest.shards]
                store.record_parity({"shards": names})
    return store


def collect(path: Path) -> None:
    store = open_store(path)
    with store.lock():
        store.collect(keep=1)


def merge(path: Path) -> None:
    store = open_store(path)
    with store.lock():
        store.merge(most=3)


WORK = {"gc": (make_collectable, collect), "merge": (make_mergeable, merge)}


def read_all(path: Path) -> dict[str, bytes]:
    found = toy.read_files(path)
    return {**found, "history": (path / "extractions.jsonl").read_bytes()}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("what", choices=WORK)
    options.add_argument("folder", type=Path)
    options.add_argument("--random", type=int, default=0)
    options.add_argument("--every", type=int, default=1, help="at each N-th step")
    arguments = options.parse_args()
    folder = arguments.folder
    make_store, rewrite = WORK[arguments.what]
    fresh = make_store(folder / "fresh").path
    work = folder / "work"

    names: list[str] = []
    shutil.copytree(fresh, work)
    reader, writer = os.pipe()

    def count() -> None:
        steps = Steps(None)
        steps.install()
        rewrite(work)
        os.write(writer, json.dumps(steps.names).encode())

    start = time.perf_counter()
    os.waitpid(in_child(count), 0)
    seconds = time.perf_counter() - start
    names = json.loads(os.read(reader, 2**20))
    wanted = read_all(work)
    problems = check_state(work)

    kills = 0
    rng = random.Random(0)
    # Some children are done before their kill: tries until enough were hit.
    steps = range(len(names))[:: arguments.every]
    for k in range(4 * arguments.random) if arguments.random else steps:
        if arguments.random and kills == arguments.random:
            break
        shutil.rmtree(work)
        shutil.copytree(fresh, work)

        def killed(k: int = k) -> None:
            if not arguments.random:
                Steps(k).install()
            rewrite(work)

        pid = in_child(killed)
        if arguments.random:
            time.sleep(rng.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        kills += os.WIFSIGNALED(status)
        found = check_state(work)
        _, status = os.waitpid(in_child(lambda: rewrite(work)), 0)
        if status:
            found.append(f"the rerun ended with {status}")
        if read_all(work) != wanted:
            found.append("another end state")
        step = "random" if arguments.random else names[k]
        problems += [f"{k} {step}: {problem}" for problem in found]

    report = {"kills": kills, "steps": [names[k] for k in steps], "problems": problems}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
