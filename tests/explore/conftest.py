"""Photographs in a store, the page that shows them, and a browser to look at it."""

import contextlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.explore import Exploration
from tl_pipeline.stages.explore_server import ExploreServer
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.train import train

LEVELS = {"ants": 70, "bees": 185}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, val and test photographs of noise around a color a class."""
    root = tmp_path_factory.mktemp("explored") / "insects"
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("val", 5), ("test", 5)):
        for name, level in LEVELS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                noise = rng.normal([level, 255 - level, 128], 40, (12, 16, 3))
                pixels = noise.clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    (root / "train" / "ants" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="session")
def store(photos: Path) -> Path:
    pixels = load_backbone("pixels", settings={"size": 8, "color": "rgb"})
    root = photos.parent / "stores"
    made = extract(load_dataset(photos), pixels, features=["pool"], store_root=root)
    return Path(made.store)


@pytest.fixture(scope="session")
def run(store: Path) -> Path:
    return Path(train(store, run_root=store.parent.parent / "runs").run)


@pytest.fixture
def serve() -> Iterator[Callable[..., ExploreServer]]:
    """Serves an exploration, or what `Exploration` takes, until the test ends."""
    with contextlib.ExitStack() as stack:

        def begin(exploration: Any, **options: Any) -> ExploreServer:
            if not hasattr(exploration, "points"):
                exploration = Exploration(exploration, **options)
            server = stack.enter_context(ExploreServer(exploration))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield begin


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = importlib.util.spec_from_file_location(
        "explore_browser", Path(__file__).with_name("browser.py")
    )
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    program = module.find_browser()
    if program is None:
        pytest.skip("there is no Chromium or Chrome to look at the page with")
    opened = module.Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
