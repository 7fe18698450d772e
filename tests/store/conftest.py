"""The toy stage one, for every test of the store."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

collect_ignore = [
    "crash_loop.py",
    "gc_loop.py",
    "mutant_loop.py",
]  # scripts, run in own processes


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module `toy.py`, which lies beside this file."""
    found = importlib.util.spec_from_file_location(
        "store_toy", Path(__file__).with_name("toy.py")
    )
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules["store_toy"] = module
    found.loader.exec_module(module)
    return module
