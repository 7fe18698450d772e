import sys
from pathlib import Path

import pytest

from tl_pipeline.backbones import convnext, registry
from tl_pipeline.errors import BackboneError

sys.path.append(str(Path(__file__).parent))

from golden_cases import check_case, check_names, load_golden, run_case  # noqa: E402

GOLDEN = load_golden("convnext")


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The table with a small row, which the same code makes."""
    row = convnext.VARIANTS["convnext_tiny"]._replace(
        depths=(1, 1, 2, 1), widths=(8, 16, 32, 64)
    )
    monkeypatch.setitem(convnext.VARIANTS, "convnext_test", row)
    monkeypatch.setitem(registry._MODULES, "convnext_test", convnext.__name__)


def run(golden, tmp_path):
    path = tmp_path / "w.safetensors"
    return run_case(golden, golden["row"], path, names=golden["names"])


@pytest.mark.parametrize(
    "case",
    [
        "timm",
        "torchvision",
        "ConvNextForImageClassification",
        pytest.param("ConvNextModel", marks=pytest.mark.slow),  # no classifier
    ],
)
def test_small_networks_are_those_of_others(tmp_path, case):
    check_case(run(GOLDEN["cases"][case], tmp_path))


@pytest.mark.slow
def test_a_whole_network_is_timms(tmp_path):
    check_case(run(GOLDEN["cases"]["whole"], tmp_path))


@pytest.mark.parametrize("which", GOLDEN["names"])
def test_each_published_file_has_a_place_for_all_it_holds(which):
    layout, name = which.split()
    check_names(name, layout, GOLDEN["names"][which])


def test_every_variant_is_checked_in_every_layout():
    layouts = ("timm", "torchvision", "transformers")
    names = registry._FAMILIES["convnext"]
    checked = {f"{layout} {name}" for layout in layouts for name in names}
    assert checked == set(GOLDEN["names"])


def test_torchvision_resizes_each_variant_in_its_own_way():
    for name, resized in (("tiny", 236), ("small", 230), ("base", 232)):
        made = convnext.make_architecture(f"convnext_{name}")
        assert made.preprocesses["torchvision"].resize_size == resized
        assert made.preprocess.resize_size == 256


def test_the_input_is_not_too_small():
    with pytest.raises(BackboneError, match="input_size = 16; it takes 32 to 2048"):
        convnext.make_architecture("convnext_tiny", {"input_size": 16})
