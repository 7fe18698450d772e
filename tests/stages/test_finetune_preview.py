"""The preview of a fine-tuning: what training would see is drawn, and no more done."""

import io
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.augmentation.augment import make_augment
from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recipe import make_recipe
from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.cli.app import run_command
from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.reporting.contact_sheet import GAP
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune_preview import MOST_EXAMPLES, preview_finetune
from tl_pipeline.stages.finetune_start import load_start
from tl_pipeline.stages.train import train

SIDE = 16  # pixels of a digit


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose weights are gone: a preview needs none."""
    root = tmp_path_factory.mktemp("preview")
    weights = root / "w.safetensors"
    weights.write_bytes(BUNDLED.read_bytes())
    extracted = extract(
        load_dataset("builtin:digits-shifted"),
        load_backbone("digits_cnn", weights=str(weights)),
        features=["pool"],
        store_root=root / "stores",
    )
    run = train(extracted.store, run_root=root / "runs", l2=[0.003]).run
    weights.unlink()
    return run


def cells(sheet: bytes) -> np.ndarray:
    """Cuts the sheet into its pictures: [rows, columns, H, W]."""
    pixels = np.asarray(Image.open(io.BytesIO(sheet)))[..., 0]
    step = SIDE + GAP
    top = pixels.shape[0] - MOST_EXAMPLES * step
    rows = [pixels[top + i * step :][:SIDE] for i in range(MOST_EXAMPLES)]
    return np.stack(
        [[row[:, GAP + k * step :][:, :SIDE] for k in range(9)] for row in rows]
    )


def test_it_shows_train_examples_of_all_classes_and_the_views_of_the_recipe(run: str):
    settings = {"rotation": 20.0}
    found = cells(preview_finetune(run, augment_settings=settings, seed=3))
    data = load_start(run).data
    dataset = load_dataset("builtin:digits-shifted")
    preprocess = ImagePreprocess.from_json(load_run(run).spec["preprocess"])
    images = {
        item.id: preprocess_image(decode_image(dataset.read(item)), preprocess)
        for item in dataset.items
    }
    shown = [
        next(
            i
            for i, id in enumerate(data.ids)
            if np.array_equal(images[id][..., 0], picture)
        )
        for picture in found[:, 0]
    ]
    assert set(data.splits[shown]) == {"train"}
    assert set(data.targets[shown]) == set(data.targets)
    augment = make_augment(make_recipe("light", settings))
    plain = jnp.asarray(found[:, 0, ..., None], jnp.float32) / 255
    for view in (1, 8):
        keys = make_keys(3, data.content[shown], view)
        made = augment(keys, plain, jnp.eye(len(shown)))[0][..., 0]
        np.testing.assert_allclose(found[:, view], made * 255, atol=1)
    assert (found[:, 1] != found[:, 8]).any()


def test_the_command_writes_the_picture_and_trains_nothing(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = sorted(Path(run).parent.iterdir())
    out = tmp_path / "out.png"
    argv = ["finetune", run, "--augment", "strong", "--preview", str(out), "--json"]
    assert run_command(argv) == 0
    assert json.loads(capsys.readouterr().out) == {"preview": str(out)}
    strong, light = cells(out.read_bytes()), cells(preview_finetune(run))
    np.testing.assert_array_equal(strong[:, 0], light[:, 0])
    assert (strong[:, 1:] != light[:, 1:]).mean() > 0.3
    assert sorted(Path(run).parent.iterdir()) == before


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--preview", "out.jpg"], "Name a .png file"),
        (["--preview", "nowhere/out.png"], "Name a .png file"),
        (["--preview", "out.png", "--ways", "split"], "none is augmented"),
        (["--preview", "out.png", "--augment", "faint"], "augment"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(
    run: str,
    argv: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert run_command(["finetune", run, *argv]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
