"""Shared by all tests: where real data is, and quiet, strict libraries."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tl_pipeline.object_paths import ObjectPath

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3-compatible server of our own, on loopback."""
    script = Path(__file__).with_name("s3_server.py")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


@pytest.fixture
def s3_environment(
    s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    """What leads this process, and those it starts, to the server; a cache apart."""
    nothing = tmp_path / "aws"
    nothing.touch()
    said = {
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-must-see",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_CONFIG_FILE": str(nothing),
        "AWS_SHARED_CREDENTIALS_FILE": str(nothing),
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_CACHE_HOME": str(tmp_path / "caches"),
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    return said


@pytest.fixture
def make_bucket(s3_environment: dict[str, str]) -> Callable[[str], ObjectPath]:
    """Makes an empty bucket, whose name begins as asked for."""

    def make(prefix: str = "test") -> ObjectPath:
        made = ObjectPath(f"{prefix}-{uuid.uuid4().hex}", "")
        made._call("create_bucket")
        return made

    return make


@pytest.fixture
def bucket(make_bucket: Callable[..., ObjectPath]) -> ObjectPath:
    """An empty bucket of its own."""
    return make_bucket()
