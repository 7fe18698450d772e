"""Shared by all tests: where real data is, and quiet, strict libraries."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real weights, images and text, named by the environment."""
    folder = os.environ.get("TL_PIPELINE_REALDATA")
    if not folder:
        pytest.skip("TL_PIPELINE_REALDATA does not name a folder with real data")
    return Path(folder)
