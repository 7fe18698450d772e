import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import dinov2, registry
from tl_pipeline.errors import BackboneError

sys.path.append(str(Path(__file__).parent))

from golden_cases import (  # noqa: E402
    TOLERANCE,
    check_case,
    check_names,
    load_golden,
    run_case,
)
from seeded import sample  # noqa: E402

GOLDEN = load_golden("dinov2")
TINY = dinov2._shape(64, 3, 4, 0)._replace(patch=8, grid=4)
ROWS = {
    "plain": ("dinov2_tiny", TINY),
    "registers": ("dinov2_tiny_registers", TINY._replace(registers=4)),
}


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The table with small rows, which the same code makes."""
    for name, shape in ROWS.values():
        monkeypatch.setitem(dinov2.VARIANTS, name, shape)
        monkeypatch.setitem(registry._MODULES, name, dinov2.__name__)


def run(golden, tmp_path, **settings):
    name, _ = ROWS.get(golden["row"], (golden["row"], None))
    path = tmp_path / "w.safetensors"
    return run_case(golden, name, path, names=golden["names"], **settings)


@pytest.mark.parametrize(
    "case",
    [
        # At 32 pixels nothing is interpolated.
        pytest.param(case, marks=pytest.mark.slow if case.endswith("32") else ())
        for case in GOLDEN["cases"]
        if case != "whole"
    ],
)
def test_small_networks_are_those_of_others(tmp_path, case):
    golden = GOLDEN["cases"][case]
    check_case(run(golden, tmp_path, positions=golden["layout"]))


@pytest.mark.parametrize("others", ["transformers", "timm"])
def test_the_publishers_positions_are_not_each_others(tmp_path, others):
    golden = GOLDEN["cases"]["facebook plain at 24"]
    golden = golden | {"outputs": {"embed": golden["outputs"]["embed"]}}
    ours, theirs = run(golden, tmp_path, positions=others)["embed"]
    difference = np.abs(sample(ours) - np.float32(theirs["values"])).max()
    assert difference > 10 * TOLERANCE * theirs["largest"]


@pytest.mark.slow
def test_a_whole_network_is_timms(tmp_path):
    check_case(run(GOLDEN["cases"]["whole"], tmp_path, positions="timm"))


@pytest.mark.parametrize("which", GOLDEN["names"])
def test_each_published_file_has_a_place_for_all_it_holds(which):
    layout, name = which.split()
    check_names(name, layout, GOLDEN["names"][which])


def test_every_variant_is_checked_in_every_layout():
    names = registry._FAMILIES["dinov2"]
    layouts = ("facebook", "timm", "transformers")
    checked = {f"{layout} {name}" for layout in layouts for name in names}
    assert checked == set(GOLDEN["names"])


def test_settings_are_checked():
    with pytest.raises(BackboneError, match="positions = 'linear'; it takes facebook"):
        dinov2.make_architecture("dinov2_small", {"positions": "linear"})
    with pytest.raises(BackboneError, match="it takes multiples of its patch, 14"):
        dinov2.make_architecture("dinov2_small", {"input_size": 225})
