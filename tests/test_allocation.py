import os
import subprocess
import sys

import pytest

# Pages mapped for what is allocated again after it was freed, of 128 MiB: 32,768.
PROGRAM = """
import resource
from tl_pipeline.allocation import keep_freed_memory
keep_freed_memory()
kept = bytearray(2**27)
del kept
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
kept = bytearray(2**27)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
@pytest.mark.parametrize(
    ("said", "is_kept"),
    [
        ({}, True),
        ({"MALLOC_TRIM_THRESHOLD_": "65536"}, True),  # as Dask has its workers
        ({"MALLOC_TRIM_THRESHOLD_": "65537"}, False),
        ({"MALLOC_TOP_PAD_": "0"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.top_pad=0"}, False),
    ],
)
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise(
    said: dict[str, str], is_kept: bool
):
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k} | said
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert (int(done.stdout) < 1000) == is_kept
