"""Loading holds the parameters twice at most, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "loading_memory.py"


def test_the_peak_of_loading_is_at_most_2_2_times_the_file():
    # 233 MiB, in few tensors, so that what Python and JAX take hardly shows.
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "alexnet"],
        capture_output=True,
        text=True,
        check=True,
    )
    times = [float(line.split()[-4]) for line in done.stdout.splitlines()]
    assert len(times) == 2 and max(times) <= 2.2, done.stdout
