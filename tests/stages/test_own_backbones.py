"""A network of the user's own, from its factory to a prediction."""

import importlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import tl_pipeline as tl
from tl_pipeline.backbones.registry import describe_backbone
from tl_pipeline.errors import BackboneError, SpecMismatchError, WeightsError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
(EXAMPLE,) = (
    block
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    if "OwnBackbone" in block
)
Write = Callable[..., str]
NUMBERS = itertools.count()  # a module of a name is imported once in a process


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the README's module, edited, and returns the name of its factory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def write(*edits: tuple[str, str]) -> str:
        text = EXAMPLE
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        name = f"own_net_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return f"{name}:make"

    return write


def module_of(name: str) -> Any:
    return importlib.import_module(name.partition(":")[0])


def write_photos(folder: Path, n: int = 24) -> None:
    rng = np.random.default_rng(0)
    for level, name in enumerate(("ants", "bees")):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.normal(90 + 60 * level, 40, (20, 24, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        # As an installed command, which does not look into the current directory.
        [sys.executable, "-P", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_example_of_the_readme_goes_from_its_file_to_predictions(tmp_path: Path):
    home, photos = tmp_path / "home", tmp_path / "home" / "photos"
    write_photos(photos)
    (home / "tiny_net.py").write_text(EXAMPLE)
    run(home, "tiny_net.py")
    (commands,) = (
        block
        for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
        if "tiny_net:make" in block
    )
    cli = ("-m", "tl_pipeline.cli")
    for line in commands.replace("\\\n", " ").splitlines():
        if line.startswith("tl-pipeline"):
            run(home, *cli, *shlex.split(line, comments=True)[1:])
    (store,) = (home / "stores").glob("tiny_net_make-*")
    run(home, *cli, "train", "--store", str(store), "--run-root", "runs", "--l2", "0.1")
    (trained,) = (path for path in (home / "runs").iterdir() if path.is_dir())
    said = run(home, *cli, "predict", str(trained), "photos/bees/0.png")
    assert "0.png  bees" in said


def test_a_module_beside_the_configuration_runs_the_whole_pipeline(tmp_path: Path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    write_photos(tmp_path / "photos")
    home.mkdir()
    elsewhere.mkdir()
    (home / "tiny_net.py").write_text(EXAMPLE)
    run(home, "tiny_net.py")
    (home / "pipeline.toml").write_text(
        '[data]\nsource = "../photos"\n'
        '[backbone]\nname = "tiny_net:make"\nweights = "../home/tiny.safetensors"\n'
        '[heads]\nl2 = [0.1]\n[baselines]\nshots = []\nnames = ["random:0"]\n'
    )
    words = ("-m", "tl_pipeline.cli", "run", "../home/pipeline.toml")
    said = run(elsewhere, *words, "--engine", "local")
    assert "baseline random:0: computed" in said and "Promote" in said


def test_weights_are_those_of_the_file_and_features_the_network_s(write: Write):
    from flax import nnx

    name = write()
    network = module_of(name).Tiny(nnx.Rngs(7))
    tl.save_weights(network, "w.safetensors")
    backbone = tl.load_backbone(name, weights="w.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    found = backbone.make_forward(["pool", "grid"])(images)
    wanted = network((images / np.float32(255) - 0.5) / 0.5)
    for feature in ("pool", "grid"):
        np.testing.assert_allclose(found[feature], wanted[feature], atol=1e-5)
    assert backbone.feature_shapes() == {"grid": (32, 32, 16), "pool": (32,)}


def test_one_number_of_the_weights_is_another_digest(write: Write):
    from flax import nnx

    name = write()
    tl.save_weights(module_of(name).Tiny(nnx.Rngs(0)), "a.safetensors")
    arrays = load_file("a.safetensors")
    arrays["dense.bias"][0] += 1e-6
    save_file(arrays, "b.safetensors")
    a, b = (tl.load_backbone(name, weights=f"{x}.safetensors") for x in "ab")
    assert a.weights_digest != b.weights_digest and a.source == b.source


EDITS = {
    "a comment": (("+ TABLE", "+ TABLE  # why"), True),
    "a local name": (("half", "side"), True),
    "an operation": (("nnx.relu(", "nnx.gelu("), False),
    "a number": (("grid.mean((1, 2))", "grid.mean((1, 2)) * 2"), False),
    "a table": (("jnp.arange(", "1 + jnp.arange("), False),
    "a feature's name": (('"grid"', '"map"'), False),
}


@pytest.mark.parametrize("what", EDITS)
def test_code_that_computes_something_else_is_another_source(what: str, write: Write):
    edit, same = EDITS[what]
    table = "TABLE = jnp.arange(32 * 32 * 16.0).reshape(32, 32, 16)"
    imports = (
        "from flax import nnx",
        f"import jax.numpy as jnp\nfrom flax import nnx\n{table}",
    )
    plain = ("nnx.relu(self.conv(x))", "nnx.relu(self.conv(x)) + TABLE")
    names = write(imports, plain), write(imports, plain, edit)
    a, b = (tl.load_backbone(name, weights="random:0") for name in names)
    assert a.weights_digest == b.weights_digest
    assert (a.source == b.source) is same


def test_a_table_that_the_module_keeps_belongs_to_its_source(write: Write):
    def made(table: str) -> str:
        layer = "self.dense = nnx.Linear(16, 32, rngs=rngs)"
        kept = f"{layer}\n        self.table = jnp.asarray({table})"
        imports = "import jax.numpy as jnp\nfrom flax import nnx"
        used = ("grid.mean((1, 2))", "grid.mean((1, 2)) + self.table")
        return write(("from flax import nnx", imports), (layer, kept), used)

    a, b = (
        tl.load_backbone(made(table), weights="random:0") for table in ("1.0", "2.0")
    )
    assert a.weights_digest == b.weights_digest and a.source != b.source


def test_the_source_is_the_same_in_every_process(write: Write, tmp_path: Path):
    name = write()
    program = (
        "import tl_pipeline as tl\n"
        f"print(tl.load_backbone({name!r}, weights='random:0').source)"
    )
    seen = {tl.load_backbone(name, weights="random:0").source}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout.strip())
    assert len(seen) == 1


def test_dropout_and_batch_statistics_are_frozen(write: Write):
    layer = "self.dense = nnx.Linear(16, 32, rngs=rngs)"
    more = (
        f"{layer}\n        self.norm = nnx.BatchNorm(16, rngs=rngs)"
        "\n        self.drop = nnx.Dropout(0.5, rngs=rngs)"
    )
    used = ("nnx.relu(self.conv(x))", "self.drop(self.norm(self.conv(x)))")
    name = write((layer, more), used)
    backbone = tl.load_backbone(name, weights="random:0")
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    forward = backbone.make_forward(["pool"])
    whole = np.asarray(forward(images)["pool"])
    alone = np.concatenate([forward(images[i : i + 1])["pool"] for i in range(4)])
    np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=1e-6)


def test_settings_are_the_factory_s_arguments(write: Write):
    name = write()
    backbone = tl.load_backbone(name, weights="random:0", settings={"image_size": 32})
    assert backbone.settings == {"image_size": 32}
    assert backbone.feature_shapes()["grid"] == (16, 16, 16)
    with pytest.raises(BackboneError, match="setting 'size'; it has image_size"):
        tl.load_backbone(name, weights="random:0", settings={"size": 32})


def test_parameters_that_the_factory_trained_need_no_file(write: Write):
    name = write(("how)", "how, pretrained=True)"))
    backbone = tl.load_backbone(name)
    assert backbone.weights_origin["kind"] == "pretrained"
    same = tl.load_backbone(name, weights="random:0")
    assert backbone.weights_digest == same.weights_digest
    other = tl.load_backbone(name, weights="random:1")
    assert backbone.weights_digest != other.weights_digest


def test_parameters_that_nobody_trained_are_not_called_pretrained(write: Write):
    with pytest.raises(WeightsError, match="does not say that it returns trained ones"):
        tl.load_backbone(write())


def test_a_file_of_another_network_lists_what_does_not_fit(write: Write):
    save_file({"conv.kernel": np.zeros((3, 3, 3, 8), np.float32)}, "w.safetensors")
    with pytest.raises(
        WeightsError, match=r":make \(image_size = 64\): of 4 parameters 3"
    ):
        tl.load_backbone(write(), weights="w.safetensors")


def test_a_run_refuses_a_network_whose_code_was_changed(write: Write, tmp_path: Path):
    write_photos(tmp_path / "photos")
    name = write()
    dataset = tl.load_dataset(tmp_path / "photos")
    options = {"features": ["pool"], "store_root": tmp_path / "stores"}
    backbone = tl.load_backbone(name, weights="random:0")
    store = tl.extract(dataset, backbone, **options).store
    trained = tl.train(store, run_root=tmp_path / "runs", l2=[0.1]).run
    path = tmp_path / f"{module_of(name).__name__}.py"
    path.write_text(path.read_text().replace("nnx.relu", "nnx.gelu"))
    del sys.modules[path.stem]
    with pytest.raises(SpecMismatchError, match="source  stored .*, wanted "):
        tl.predict(trained, tmp_path / "photos")


def test_show_says_what_is_known_of_it(write: Write):
    facts = describe_backbone(write())
    assert facts["features"] == {"grid": [32, 32, 16], "pool": [32]}
    assert facts["parameters"] == 3 * 3 * 3 * 16 + 16 + 16 * 32 + 32


MISTAKES = {
    "no colon's end": (None, "own_net:", "is named as package.module:factory"),
    "no module": (None, "no_such.net:make", "no module no_such in .*PYTHONPATH"),
    "no factory": (None, "{module}:build", "has no 'build'; its functions are make"),
    "broken module": (
        ("from flax import nnx", "import flaks"),
        None,
        r"importing own_net_\d+ failed with ModuleNotFoundError: .*'flaks'",
    ),
    "no rngs": (("make(rngs, image", "make(*, rngs=0, image"), None, "no nnx.Rngs"),
    "no default": (("image_size=64)", "image_size)"), None, "argument image_size has"),
    "a failure": (
        ("image_size // 2", "image_size // 0"),
        None,
        r"make\(rngs, image_size=64\) failed with ZeroDivisionError",
    ),
    "another object": (
        ("return tl.OwnBackbone(", "return ("),
        None,
        "its factory returned tuple; return tl_pipeline.OwnBackbone",
    ),
    "no preprocess": (("how)", "{})"), None, "its preprocess is a dict"),
    "no module of Flax": (
        ("(Tiny(rngs),", "(Tiny,"),
        None,
        "its network is a ModuleMeta",
    ),
    "another shape": (
        ("(half, half, 16)", "(half, half, 8)"),
        None,
        r"declares the features grid \[B, 32, 32, 8\].* returns grid \[B, 32, 32, 16\]",
    ),
    "a feature more": (('"pool": (32,)', '"pool": (32,), "x": (1,)'), None, r"x \[B, "),
    "one batch's axis": (
        ("grid.mean((1, 2))", "grid.mean((0, 1, 2))"),
        None,
        r"returns grid .*, pool \[B\]",
    ),
    "no dictionary": (
        ("return {", "return [x] or {"),
        None,
        "it returned a list, no dictionary",
    ),
    "another input": (
        ("nnx.Conv(3,", "nnx.Conv(1,"),
        None,
        r"cannot be called on \[2, 64, 64, 3\] float32",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_with_what_to_do(mistake: str, write: Write):
    edit, name, words = MISTAKES[mistake]
    written = write(*([edit] if edit else []))
    name = name and name.format(module=written.partition(":")[0])
    with pytest.raises(BackboneError, match=words):
        tl.load_backbone(name or written, weights="random:0")
