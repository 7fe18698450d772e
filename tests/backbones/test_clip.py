import sys
from pathlib import Path

import pytest

from tl_pipeline.backbones import clip, registry
from tl_pipeline.errors import WeightsError

sys.path.append(str(Path(__file__).parent))

from golden_cases import check_case, check_names, load_golden, run_case  # noqa: E402

GOLDEN = load_golden("clip")


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The table with a small row, which the same code makes."""
    shape = clip._shape(64, 3, 8, 24)._replace(heads=4, grid=4)
    monkeypatch.setitem(clip.VARIANTS, "clip_tiny", shape)
    monkeypatch.setitem(registry._MODULES, "clip_tiny", clip.__name__)


def run(golden, tmp_path, *, names=None):
    name = "clip_tiny" if golden["row"] == "tiny" else golden["row"]
    path = tmp_path / "w.safetensors"
    names = names or golden["names"]
    gelu = golden["quick_gelu"]
    return run_case(golden, name, path, names=names, quick_gelu=gelu)


@pytest.mark.parametrize("case", [c for c in GOLDEN["cases"] if c != "whole"])
def test_small_towers_are_those_of_others(tmp_path, case):
    check_case(run(GOLDEN["cases"][case], tmp_path))


@pytest.mark.slow
def test_a_whole_tower_is_timms(tmp_path):
    check_case(run(GOLDEN["cases"]["whole"], tmp_path))


def test_of_the_text_tower_only_is_nothing_asked(tmp_path):
    golden = GOLDEN["cases"]["CLIPModel"]
    names = golden["names"] | {"another_tower.weight": [3]}
    assert any(name.startswith("text_model") for name in names)
    with pytest.raises(WeightsError, match=r"not in the network \(1\):\n  another_t"):
        run(golden, tmp_path, names=names)


@pytest.mark.parametrize("which", GOLDEN["names"])
def test_each_published_file_has_a_place_for_all_it_holds(which):
    layout, name = which.split()
    check_names(name, layout, GOLDEN["names"][which])


def test_every_variant_is_checked_in_every_layout():
    names = registry._FAMILIES["clip"]
    checked = {
        f"{kind} {name}" for kind in ("openai", "transformers") for name in names
    }
    assert checked == set(GOLDEN["names"])
