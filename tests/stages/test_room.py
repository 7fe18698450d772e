"""What cannot fit is refused before anything is computed, with the numbers."""

import collections
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_pipeline.config import make_config
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import RoomError
from tl_pipeline.stages import room
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.pipeline import run_local

DATASET = load_dataset("builtin:digits-shifted")
PIXELS = load_backbone("pixels", settings={"size": 32, "color": "rgb"})
# 896 rows of 3,072 float16 values come in 6 chunks of 170 rows.
ROW_BYTES = 6 * 170 * 3072 * 2


def run(root: Path) -> Any:
    return extract(DATASET, PIXELS, features=["pool"], store_root=root)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how much the disk has free, by what Python asks the system."""
    Usage = collections.namedtuple("Usage", "total used free")

    def disk(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free, 0, free))

    return disk


def test_what_does_not_fit_on_the_disk_is_refused_and_leaves_no_store(
    disk: Any, tmp_path: Path
):
    disk(ROW_BYTES)
    with pytest.raises(
        RoomError, match=r"write 6\.1 MiB.*6\.0 MiB are free.*too few"
    ) as told:
        run(tmp_path / "stores")
    assert told.value.exit_code == 1
    assert not list(tmp_path.rglob("store.json"))
    disk(ROW_BYTES + 2 * room.MARGIN_BYTES)
    assert run(tmp_path / "stores").rows_computed == 896


def test_a_run_with_nothing_to_compute_is_never_refused(disk: Any, tmp_path: Path):
    run(tmp_path)
    disk(0)
    assert run(tmp_path).rows_reused == 896


def test_what_does_not_fit_in_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(room, "find_host_free", lambda: 10**6)
    with pytest.raises(RoomError, match=r"MiB of memory.*976\.6 KiB can be had"):
        run(tmp_path)
    assert not list(tmp_path.rglob("store.json"))


def test_baselines_count_too(disk: Any, tmp_path: Path):
    config = make_config(
        {
            "data": {"source": "builtin:digits-shifted"},
            "backbone": {"name": "digits_cnn"},
            "store": {"root": str(tmp_path / "stores")},
            "run": {"root": str(tmp_path / "runs")},
        },
        where="of a test",
    )
    # 896 rows of 64 values and, for the baselines, of 256 and of 64.
    disk(room.MARGIN_BYTES + 896 * 2 * (64 + 64))
    with pytest.raises(RoomError, match="Asked to write"):
        run_local(config)


def test_the_flow_refuses_in_the_same_words(disk: Any, tmp_path: Path):
    from flows.pipeline import extract_features

    disk(1000)
    config = make_config(
        {
            "data": {"source": "builtin:digits-shifted"},
            "backbone": {"name": "pixels"},
            "store": {"root": str(tmp_path / "stores")},
        },
        where="of a test",
    )
    with pytest.raises(RoomError) as by_flow:
        extract_features.fn(config.to_json())
    with pytest.raises(RoomError) as locally:
        run_local(config)
    assert str(by_flow.value) == str(locally.value)


def test_a_really_small_file_system_is_refused_with_exit_code_1(tmp_path: Path):
    mount = f"mount -t tmpfs -o size=6m none {tmp_path}"
    if subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False
    ).returncode:
        pytest.skip("user namespaces may not mount a tmpfs here")
    argv = f"extract --data builtin:digits-shifted --store-root {tmp_path}/stores"
    command = f"{sys.executable} -m tl_pipeline.cli {argv} --backbone pixels --json"
    script = f"{mount} && {command}; code=$?; ls -A {tmp_path}/stores; exit $code"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"(6\.0|5\.\d) MiB are free", done.stderr), done.stderr
    assert "nothing was computed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "pixels-" not in done.stdout


def test_memory_is_what_linux_says_and_what_a_container_may_have(tmp_path: Path):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    assert room.find_host_free(meminfo, limit) == 5000 * 1024
    limit.write_text("max\n")
    assert room.find_host_free(meminfo, limit) == 5000 * 1024
    limit.write_text("4096\n")
    assert room.find_host_free(meminfo, limit) == 4096
    limit.unlink()
    everything = room.find_host_free(tmp_path / "none", limit)
    assert everything is not None and everything > 2**28


def test_the_disk_of_a_folder_to_be_made_is_its_nearest_ancestors(tmp_path: Path):
    free = room.find_disk_free(tmp_path / "not" / "yet")
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
