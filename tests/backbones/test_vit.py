import sys
from pathlib import Path

import pytest

from tl_pipeline.backbones import published, registry, vit
from tl_pipeline.backbones.vision_transformer import Shape
from tl_pipeline.errors import BackboneError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.weights.safetensors import write_safetensors

sys.path.append(str(Path(__file__).parent))

from golden_cases import check_case, check_names, load_golden, run_case  # noqa: E402
from seeded import draw_all, unfold_names  # noqa: E402

GOLDEN = load_golden("vit")
SLOW = ("timm at 48", "timm distilled")  # others interpolate, and have two tokens
TINY = Shape(width=64, depth=3, heads=4, patch=8, grid=4)
ROWS = {
    "tiny": ("vit_tiny_patch8", TINY),
    "tiny distilled": ("deit_tiny_distilled_patch8", TINY._replace(distilled=True)),
}


@pytest.fixture
def rows(monkeypatch):
    """The table with small rows, which the same code makes."""
    for name, shape in ROWS.values():
        some = vit.VARIANTS["vit_tiny_patch16"]._replace(shape=shape, size=32)
        monkeypatch.setitem(vit.VARIANTS, name, some)
        monkeypatch.setitem(registry._MODULES, name, vit.__name__)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow if case in SLOW else ())
        for case in GOLDEN["cases"]
        if case != "whole"
    ],
)
def test_small_networks_are_those_of_others(rows, tmp_path, case):
    golden = GOLDEN["cases"][case]
    name, _ = ROWS[golden["row"]]
    path = tmp_path / "w.safetensors"
    check_case(run_case(golden, name, path, names=golden["names"]))


def test_a_name_that_every_repository_uses_says_nothing_of_the_origin(
    rows, tmp_path, monkeypatch
):
    known = [{"hub": "timm/vit_tiny_patch8", "license": "Apache-2.0"}]
    monkeypatch.setitem(published._read_checkpoints(), "vit_tiny_patch8", known)
    golden = GOLDEN["cases"]["timm at 32"]
    drawn = draw_all(unfold_names(golden["names"]), small=1.0)
    path = tmp_path / "model.safetensors"
    write_safetensors(path, drawn, metadata={})
    checkpoints = vit.make_architecture("vit_tiny_patch8").checkpoints
    assert checkpoints[0]["file"] == path.name and checkpoints[0]["source_dataset"]
    backbone = load_backbone("vit_tiny_patch8", weights=path)
    assert backbone.weights_origin["source_dataset"] is None


@pytest.mark.slow
def test_a_whole_network_is_timms(tmp_path):
    golden = GOLDEN["cases"]["whole"]
    path = tmp_path / "w.safetensors"
    check_case(run_case(golden, golden["row"], path, names=golden["names"]))


@pytest.mark.parametrize("which", GOLDEN["names"])
def test_each_published_file_has_a_place_for_all_it_holds(which):
    layout, name = which.split()
    if layout == "timm":
        name = name if name in vit.VARIANTS else name.removesuffix("_384")
    check_names(name, layout, GOLDEN["names"][which])


def test_every_variant_is_checked_against_timm():
    checked = {which.split()[1] for which in GOLDEN["names"] if which[:4] == "timm"}
    assert checked == set(vit.VARIANTS)


def test_the_registry_has_every_variant():
    assert set(registry._FAMILIES["vit"]) == set(vit.VARIANTS)


@pytest.mark.parametrize("size", [100, 0, 2064, -16])
def test_the_input_is_a_multiple_of_the_patch(size):
    words = f"input_size = {size}; it takes multiples of its patch, 16"
    with pytest.raises(BackboneError, match=words):
        load_backbone("vit_tiny_patch16", settings={"input_size": size})


def test_each_layout_has_its_own_preprocessing():
    vit_base = vit.make_architecture("vit_base_patch16")
    assert vit_base.preprocess.resize_size == 248
    assert vit_base.preprocesses["transformers"].resize == "exact"
    deit = vit.make_architecture("deit_base_patch16")
    assert deit.preprocesses["transformers"].resize_size == 256
    assert deit.preprocess.mean[0] == 0.485
