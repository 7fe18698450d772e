"""The toy stage one and the loss of power, for every test of the store."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module `toy.py`, which lies beside this file."""
    return _load("toy")


@pytest.fixture(scope="session")
def power_loss() -> ModuleType:
    """The module `power_loss.py`, which lies beside this file."""
    return _load("power_loss")


def _load(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(
        f"store_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module
