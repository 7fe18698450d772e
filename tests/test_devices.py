"""Several devices: the same figures as one device gives, and each takes its part."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tl_pipeline.devices import Placement, all_devices, share_batch

SUBJECT = Path(__file__).with_name("devices_subject.py")
N_DEVICES = 4


@pytest.fixture(scope="module")
def one_and_four(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one device computes, in this process, and four in another."""
    root = tmp_path_factory.mktemp("devices")
    with pytest.MonkeyPatch.context() as patch:
        # It watches functions by putting others in their place.
        subject = runpy.run_path(str(SUBJECT))
        for owner, name in (
            ("network", "compute_features"),
            ("linear", "advance"),
            ("lanes", "run_epochs"),
            ("lanes", "run_step"),
            ("training", "_account"),
        ):
            patch.setattr(subject[owner], name, getattr(subject[owner], name))
        run, one = subject["compute"](root / "one", None)
    flag = f"--xla_force_host_platform_device_count={N_DEVICES}"
    done = subprocess.run(
        [sys.executable, SUBJECT, root / "four", root / "four.npz", run],
        env=os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(root / "four.npz") as four:
        return one, dict(four)


def pick(kind: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in arrays.items() if name.startswith(kind)}


def places(arrays: dict[str, Any]) -> dict[str, Any]:
    return json.loads(str(arrays["places"][0]))


def test_rows_are_those_of_one_device_in_a_store_of_the_same_digest(one_and_four):
    one, four = one_and_four
    assert four["digest"] == one["digest"]
    scale = np.abs(one["rows"]).max()
    assert np.abs(four["rows"] - one["rows"]).max() <= 1e-5 * scale


def test_linear_heads_are_those_of_one_device(one_and_four):
    one, four = one_and_four
    np.testing.assert_allclose(four["linear loss"], one["linear loss"], rtol=1e-5)
    np.testing.assert_allclose(four["linear kernel"], one["linear kernel"], atol=1e-4)


@pytest.mark.parametrize("kind", ["mlp", "alone", "streamed"])
def test_heads_of_gradients_are_those_of_one_device(one_and_four, kind: str):
    one, four = (pick(kind, arrays) for arrays in one_and_four)
    assert four.keys() == one.keys() and one
    for name, array in one.items():
        np.testing.assert_allclose(four[name], array, atol=1e-5, err_msg=name)


def test_a_fine_tuned_network_is_that_of_one_device(one_and_four):
    one, four = one_and_four
    np.testing.assert_allclose(four["losses"], one["losses"], rtol=1e-5)
    before, after = pick("weights", one), pick("weights", four)
    assert before.keys() == after.keys() and before
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, atol=1e-5, err_msg=name)


def test_one_device_holds_everything_whole(one_and_four):
    found = places(one_and_four[0])
    assert [len(found[kind]) for kind in ("rows", "linear", "streamed")] == [1, 1, 1]
    assert found["finetune"] == [[1, 64, 16, 16, 1], [1, 64, 5], [1, 64]]


def test_each_device_takes_its_part(one_and_four):
    found = places(one_and_four[1])
    assert found["rows"] == [[8, 64]] * 4  # of 32 rows
    assert found["linear"] == [[2, 3, 61]] * 4  # of 241 rows, and 3 that are none
    assert found["mlp"][0] == [[2]] * 4  # of 5 heads, and 3 that are none
    assert found["mlp"][-1] == [[1]] * 4  # of the one that was not done yet
    assert found["streamed"] == [[1]] * 4
    assert found["alone"] == [[1]]
    assert found["finetune"] == [[4, 16, 16, 16, 1], [4, 16, 5], [4, 16]]


def test_a_batch_that_cannot_be_dealt_out_evenly_takes_fewer_devices(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(jax, "local_devices", lambda: list("abcdef"))
    taken = {size: len(share_batch(size).devices) for size in (32, 12, 35, 7, 1)}
    assert taken == {32: 4, 12: 6, 35: 5, 7: 1, 1: 1}
    assert len(all_devices().devices) == 6
    assert all_devices().fill_up(7) == 12 and Placement(("a",)).fill_up(7) == 7
