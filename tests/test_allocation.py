import os
import subprocess
import sys

import pytest

from tl_pipeline.allocation import keep_variables

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
@pytest.mark.parametrize("said", ["", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"])
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise(said):
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
    if said:
        environment |= {said: "glibc.malloc.top_pad=0" if "GLIBC" in said else "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert (int(done.stdout) < 1000) == (not said)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_process_that_starts_with_the_variables_keeps_memory_by_itself(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in [name for name in os.environ if "MALLOC" in name]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    mapped = []
    for variables in (keep_variables(), {}):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("\nkeep_freed_memory()", "")],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | variables,
        )
        mapped.append(int(done.stdout))
    assert mapped[0] < 1000 < mapped[1]
    monkeypatch.setenv("MALLOC_TOP_PAD_", "0")
    assert keep_variables() == {}
