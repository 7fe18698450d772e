"""Shared by all tests: where real data is, and quiet, strict libraries."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import pytest

# What one worker compiled, the others and all processes they start need not compile.
COMPILED = "JAX_COMPILATION_CACHE_DIR"


# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    # Ignored where a script started us in the background; programs started from here
    # would ignore it too, and never end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # the workers take it from the environment
        os.environ[COMPILED] = tempfile.mkdtemp(prefix="tl-pipeline-tests-compiled-")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[COMPILED], ignore_errors=True)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real weights, images and text, named by the environment."""
    folder = os.environ.get("TL_PIPELINE_REALDATA")
    if not folder:
        pytest.skip("TL_PIPELINE_REALDATA does not name a folder with real data")
    return Path(folder)
