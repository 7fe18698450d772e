"""The explore page, as somebody with a mouse or a keyboard meets it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.stages.explore_server import ExploreServer

Serve = Callable[..., ExploreServer]


def hover(browser: Any, id: str) -> None:
    x, y = place_of(browser, id)
    browser.mouse("mouseMoved", 2, 400)
    browser.mouse("mouseMoved", x, y)


def place_of(browser: Any, id: str) -> tuple[float, float]:
    """Returns where on the page a point is drawn."""
    script = f"""(() => {{
      const box = $("marks").getBoundingClientRect();
      const [x, y] = view.at(data.id.indexOf({id!r}));
      return [x + box.left, y + box.top];
    }})()"""
    x, y = browser.run(script)
    return x, y


def pixels_of(browser: Any, selector: str) -> np.ndarray:
    """Returns the pixels of a picture on the page, [H, W, 3]."""
    browser.wait_for(f"document.querySelector({selector!r})?.naturalWidth > 0")
    width, height, values = browser.run(f"""(() => {{
      const image = document.querySelector({selector!r});
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d"); context.drawImage(image, 0, 0);
      const found = context.getImageData(0, 0, canvas.width, canvas.height).data;
      return [canvas.width, canvas.height, [...found]];
    }})()""")
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def point_color(browser: Any, id: str) -> list[int]:
    """Returns the color of the pixel in the middle of a point; zeros where none is."""
    return browser.run(f"""(() => {{
      view.draw(state.drawn, state.codes, state.shown, state.faint);
      const [x, y] = view.at(data.id.indexOf({id!r}));
      return [...view.context.getImageData(Math.round(x), Math.round(y), 1, 1).data];
    }})()""")


def choose_color(browser: Any, mode: str) -> None:
    browser.run(
        f"$('color').value = {mode!r}; $('color').dispatchEvent(new Event('change'))"
    )


def test_a_hovered_point_shows_its_own_picture_and_what_is_known(
    browser: Any, serve: Serve, store: Path, photos: Path, run: Path
):
    browser.open(serve(store, run=run).url)
    assert "1 failed" in browser.run("$('about').textContent")
    for id in ("test/bees/02.png", "val/ants/04.png"):
        hover(browser, id)
        browser.wait_for(
            f"!$('tip').hidden && $('tip').dataset.row == data.id.indexOf({id!r})"
        )
        wanted = np.asarray(Image.open(photos / id))
        np.testing.assert_array_equal(pixels_of(browser, "#tip img"), wanted)
        split, target, _ = id.split("/")
        text = browser.run("$('tip').innerText")
        for words in (id, f"target {target}", f"split {split}", f"predicted {target}"):
            assert words in text
    browser.mouse("mouseMoved", 2, 2)
    browser.wait_for("$('tip').hidden")
    assert browser.errors == []


def test_nothing_is_asked_of_any_other_place(browser: Any, serve: Serve, store: Path):
    server = serve(store)
    browser.open(server.url)
    hover(browser, "test/bees/02.png")
    pixels_of(browser, "#tip img")
    asked = [url for url in browser.requested if not url.startswith(("blob:", "data:"))]
    assert len(asked) >= 4
    assert all(url.startswith(server.url) for url in asked)


def test_a_clicked_point_lists_its_nearest_neighbors(
    browser: Any, serve: Serve, store: Path
):
    server = serve(store)
    browser.open(server.url)
    browser.click(*place_of(browser, "train/bees/03.png"))
    browser.wait_for("$('chosen').querySelectorAll('button').length == 12")
    shown = browser.run(
        "[...$('chosen').querySelectorAll('button')].map((b) => b.title)"
    )
    points: Any = server.exploration.points
    row = points["id"].index("train/bees/03.png")
    near: Any = server.exploration.neighbors(row)
    assert shown == [points["id"][one["row"]] for one in near]
    browser.run("$('chosen').querySelector('button').click()")
    browser.wait_for(f"state.chosen == {near[0]['row']}")


def test_search_finds_ids_and_targets(browser: Any, serve: Serve, store: Path):
    browser.open(serve(store).url)
    browser.press("/")
    browser.write("T/ants")
    browser.wait_for("$('found').textContent == '5 found'")
    listed = browser.run(
        "[...$('results').querySelectorAll('button')].map((b) => b.title)"
    )
    assert listed == [f"test/ants/{i:02d}.png" for i in range(5)]
    assert point_color(browser, "train/bees/00.png")[3] < 60
    assert point_color(browser, "test/ants/00.png")[3] > 200
    browser.run("$('results').querySelectorAll('button')[2].click()")
    browser.wait_for("data.id[state.chosen] == 'test/ants/02.png'")
    browser.press("Escape")
    assert browser.run("$('search').value + state.chosen") == "-1"
    clouds = make_points(40, 3)  # whose ids do not hold the target
    browser.open(serve(clouds).url)
    browser.press("/")
    browser.write("Class 2")
    count = clouds.points["target"].count(2)
    browser.wait_for(f"$('found').textContent == '{count} found'")


def test_color_follows_what_is_asked_for(
    browser: Any, serve: Serve, store: Path, run: Path
):
    browser.open(serve(store, run=run).url)
    seen: dict[str, Any] = {}
    for mode in ("target", "split", "prediction", "outcome"):
        choose_color(browser, mode)
        seen[mode] = [
            point_color(browser, id)[:3]
            for id in ("train/bees/00.png", "test/bees/02.png")
        ]
    same = pytest.approx(seen["target"][1], abs=4)  # points below shine through
    assert seen["target"][0] == same
    assert seen["split"][0] != pytest.approx(seen["split"][1], abs=20)
    assert seen["prediction"][0] != same
    assert seen["prediction"][1] == same
    legend = browser.run("$('legend').innerText")
    assert "right" in legend and "not predicted" in legend
    browser.open(serve(store).url)
    assert browser.run("$('color').options.length") == 2


def test_the_legend_takes_classes_away_and_brings_them_back(
    browser: Any, serve: Serve, store: Path
):
    browser.open(serve(store).url)
    bee, ant = "test/bees/02.png", "test/ants/02.png"
    assert point_color(browser, bee)[3] > 200
    bees = "[...$('legend').children].find((row) => row.title == 'bees')"
    browser.run(f"{bees}.click()")
    assert browser.run(f"{bees}.getAttribute('aria-pressed')") == "false"
    assert point_color(browser, bee)[3] == 0 < point_color(browser, ant)[3]
    hover(browser, bee)
    assert browser.run("data.id[state.hover] ?? ''") != bee
    browser.run("$('none').click()")
    assert "switched off" in browser.run("$('note').textContent")
    browser.run("$('all').click()")
    assert point_color(browser, bee)[3] > 200


def test_a_file_that_is_gone_or_changed_says_so(
    browser: Any, serve: Serve, store: Path, photos: Path
):
    browser.open(serve(store).url)
    gone, changed = photos / "test/bees/01.png", photos / "test/bees/03.png"
    kept = gone.read_bytes(), changed.read_bytes()
    try:
        gone.unlink()
        changed.write_bytes(kept[0])
        for path, words in ((gone, "is gone"), (changed, "has changed since")):
            hover(browser, path.relative_to(photos).as_posix())
            browser.wait_for(f"$('tip').innerText.includes({words!r})")
            assert browser.run("document.querySelectorAll('#tip img').length") == 0
    finally:
        gone.write_bytes(kept[0])
        changed.write_bytes(kept[1])


def test_the_keyboard_moves_zooms_and_chooses(browser: Any, serve: Serve, store: Path):
    browser.open(serve(store).url)
    browser.run("$('marks').focus()")
    left, scale = browser.run("[view.left, view.scale]")
    browser.press("ArrowLeft")
    browser.press("+")
    assert browser.run("view.scale") > scale
    browser.press("0")
    assert browser.run("[view.left, view.scale]") == [left, scale]
    browser.press("Enter")
    first = browser.wait_for("state.chosen >= 0 && data.id[state.chosen]")
    browser.press("ArrowRight", modifiers=8)
    second = browser.run("data.id[state.chosen]")
    assert second != first
    assert place_of(browser, second)[0] > place_of(browser, first)[0]


def test_names_are_text_and_never_markup(browser: Any, serve: Serve):
    name = "<img src=x onerror=window.hit=1><b>bold"
    browser.open(serve(make_points(40, 3, name=name)).url)
    assert browser.run("window.hit ?? 0") == 0
    assert browser.run("$('legend').querySelectorAll('b, img').length") == 0
    assert name in browser.run("$('legend').children[0].title")
    assert browser.errors == []


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_points_are_in_the_middle(browser: Any, serve: Serve, n: int):
    browser.open(serve(make_points(n, 1)).url)
    x, y = browser.run("[view.at(0)[0] / view.width, view.at(0)[1] / view.height]")
    assert 0 < x < 1 and 0.3 < y < 0.7


def test_a_hundred_thousand_points_load_and_follow_the_mouse(
    browser: Any, serve: Serve
):
    browser.open(serve(make_points(100_000, 100)).url)
    assert browser.run("data.id.length") == 100_000
    left = browser.run("view.left")
    browser.run("state.begin = [state.frames, performance.now()]; 0")
    browser.mouse("mousePressed", 300, 300, button="left", clickCount=1)
    for step in range(1, 31):
        x = 300 + 5 * step
        browser.mouse("mouseMoved", x, 300, button="left", buttons=1)
    browser.mouse("mouseReleased", 450, 300, button="left", clickCount=1)
    assert browser.run("view.left") == pytest.approx(left + 150)
    frames, span = browser.run(
        "[state.frames - state.begin[0], performance.now() - state.begin[1]]"
    )
    assert frames >= 2
    drawing = browser.run("""(() => {
      const begin = performance.now();
      for (let i = 0; i < 10; i++)
        view.draw(state.drawn, state.codes, state.shown, state.faint);
      return (performance.now() - begin) / 10;
    })()""")
    # Shown by `pytest -s`, and not asserted: cores are shared.
    print(f"{1000 * frames / span:.0f} frames a second, {drawing:.1f} ms of drawing")


def make_points(n: int, k: int, *, name: str = "class") -> Any:
    """Returns an exploration of n points in k clouds, as the server takes it."""
    rng = np.random.default_rng(0)
    classes = [f"{name} {i}" for i in range(k)]
    target = rng.integers(-1 if n > 2 else 0, k, n)
    places = rng.random((k + 1, 2))[target] + rng.normal(0, 0.02, (n, 2))
    places -= places.min(axis=0)
    places /= places.max() or 1
    points = {
        "store": "toy-0123456789ab",
        "dataset": "clouds",
        "feature": "pool",
        "averaged": False,
        "method": "PCA",
        "rows": n,
        "of": n,
        "failed": 0,
        "axes": ["component 1, 50.0 % of variance", "component 2"],
        "run": None,
        "classes": classes,
        "splits": ["train", "val", "test"],
        "id": [f"a/long/way/down/{i:06d}.jpg" for i in range(n)],
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "target": target.tolist(),
        "split": rng.integers(0, 3, n).tolist(),
        "prediction": [],
        "probability": [],
    }
    return SimpleNamespace(points=points, neighbors=lambda row: [])
