"""Training again takes the store alone, though backbone and inputs are at hand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract

SIZE = (16, 16)  # as digits_cnn takes them

# Every import and every opened file passes by the interpreter's own audit hook.
TRAIN = """
import json, sys

denied = json.loads(sys.argv[3])

def deny(event, arguments):
    if event == "import" and arguments[0].startswith(tuple(denied["modules"])):
        raise SystemExit(f"imports {arguments[0]}")
    if event in ("open", "os.listdir", "os.scandir", "sqlite3.connect"):
        if str(arguments[0]).startswith(tuple(denied["paths"])):
            raise SystemExit(f"{event} of {arguments[0]}")

sys.addaudithook(deny)
from tl_pipeline.stages.train import train

report = train(sys.argv[1], run_root=sys.argv[2], l2=[0.1])
print(json.dumps([report.run, report.chosen["settings"]["l2"]]))
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for level, name in enumerate(("ants", "bees")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.normal(80 + 80 * level, 50, SIZE).clip(0, 255)
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_a_head_rerun_runs_no_backbone_and_opens_no_input(photos: Path):
    root = photos.parent
    store = extract(
        load_dataset(photos),
        load_backbone("digits_cnn"),
        features=["pool"],
        store_root=root / "stores",
    ).store
    denied = {
        "modules": ["PIL", "tl_pipeline.data", "tl_pipeline.backbones.network"],
        "paths": [str(photos), str(BUNDLED), str(root / "stores" / ".stat-cache")],
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, store, root / "runs", json.dumps(denied)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run, l2 = json.loads(done.stdout)
    assert l2 == 0.1
    assert (Path(run) / "head.safetensors").exists()
