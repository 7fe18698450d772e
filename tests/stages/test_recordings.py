"""Folders and tables of recordings through both stages."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import registry, whisper
from tl_pipeline.cli.app import run_command
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import RequestError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.check_backbone import check_backbone
from tl_pipeline.stages.explore import Exploration
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.plan import plan
from tl_pipeline.stages.views import make_views
from tl_pipeline.store.store import open_store

sys.path.append(str(Path(__file__).parents[1] / "data"))

from sounds import encode  # noqa: E402

FORMATS = ("WAV", "FLAC", "OGG")


@pytest.fixture(autouse=True)
def row(monkeypatch):
    """Whisper's table with a small row, whose windows are of a second."""
    shape = whisper.VARIANTS["whisper_tiny"]._replace(
        width=48, depth=2, heads=4, length=100
    )
    monkeypatch.setitem(whisper.VARIANTS, "whisper_row", shape)
    monkeypatch.setitem(registry._MODULES, "whisper_row", whisper.__name__)


def make_sound(kind: str, number: int) -> tuple[np.ndarray, int]:
    """Returns a sound of a class, of 0.3 to 2.2 seconds, and its rate."""
    rng = np.random.default_rng([number, len(kind)])
    rate = (16_000, 22_050, 8_000)[number % 3]
    n = round(rng.uniform(0.3, 2.2) * rate)
    seconds, pitch = np.arange(n) / rate, rng.uniform(300, 900)
    sounds = {
        "tone": np.sin(2 * np.pi * pitch * seconds),
        "chirp": np.sin(2 * np.pi * (pitch + 1_200 * seconds) * seconds),
        "noise": rng.standard_normal(n) / 3,
    }
    return 0.3 * sounds[kind] + 0.003 * rng.standard_normal(n), rate


def write_sounds(root, *, each=12):
    """Writes class folders of all three formats; returns their folder."""
    for kind in ("tone", "chirp", "noise"):
        folder = root / kind
        folder.mkdir(parents=True)
        for number in range(each):
            samples, rate = make_sound(kind, number)
            format = FORMATS[number // 3 % 3]
            file = folder / f"{number:02d}.{format.lower()}"
            file.write_bytes(encode(samples, rate, format=format))
    return root


def run(data, root, backbone=None, **options):
    return extract(
        load_dataset(data),
        backbone or load_backbone("whisper_row", weights="random:0"),
        features=["layer2:mean"],
        store_root=root,
        batch_size=8,
        **options,
    )


def test_class_folders_of_sounds_go_through_the_commands(tmp_path, capsys):
    def ask(*argv):
        assert run_command([*map(str, argv), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    sounds = write_sounds(tmp_path / "sounds", each=24)
    extracted = ask(
        *("extract", "--data", sounds, "--backbone", "whisper_row"),
        *("--weights", "random:0", "--features", "layer2:mean"),
        *("--store-root", tmp_path / "stores"),
    )
    assert (extracted["rows_computed"], extracted["failures"]) == (72, [])
    again = ask(
        *("extract", "--data", sounds, "--backbone", "whisper_row"),
        *("--weights", "random:0", "--features", "layer2:mean"),
        *("--store-root", tmp_path / "stores"),
    )
    assert (again["rows_computed"], again["inputs_opened"]) == (0, 0)
    trained = ask(
        *("train", "--store", extracted["store"], "--run-root", tmp_path / "runs"),
        *("--l2", "0.001", "0.01"),
    )
    assert trained["test"]["accuracy"]["value"] > 0.75, trained["test"]
    new = tmp_path / "new" / "all"
    new.mkdir(parents=True)
    for kind in ("tone", "noise"):
        samples, rate = make_sound(kind, 100)
        (new / f"{kind}.flac").write_bytes(encode(samples, rate, format="FLAC"))
    (new / "broken.flac").write_bytes(b"fLaC and nothing else")
    predicted = ask("predict", trained["run"], tmp_path / "new")
    found = {Path(one["id"]).stem: one for one in predicted}
    assert [found[kind]["label"] for kind in ("tone", "noise")] == ["tone", "noise"]
    assert "no WAV, FLAC or OGG, or its header" in json.dumps(found["broken"])


def test_sounds_that_cannot_be_used_are_listed_and_long_ones_cut(tmp_path):
    good = encode(*make_sound("tone", 0))
    files = {
        "cut.wav": good[: len(good) // 2],
        "empty.wav": b"",
        "header.wav": encode(np.zeros(0)),
        "short.wav": encode(np.zeros(160)),
        "text.wav": b"a sound, they said",
        "long.wav": encode(np.tile(make_sound("noise", 3)[0], 8)),
        "fine.wav": good,
    }
    folder = tmp_path / "data" / "all"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    backbone = load_backbone(
        "whisper_row", weights="random:0", settings={"max_windows": 2}
    )
    report = run(tmp_path / "data", tmp_path / "stores", backbone)
    said = {Path(one["id"]).name: one["reason"] for one in report.failures}
    assert {one["kind"] for one in report.failures} == {"decode"}
    assert said.keys() == {"cut.wav", "empty.wav", "header.wav", "short.wav"} | {
        "text.wav"
    }
    assert "it is cut short" in said["cut.wav"]
    assert said["empty.wav"] == "it is empty: 0 bytes"
    assert said["header.wav"] == "it holds no sound: 0 samples"
    assert said["short.wav"] == "it lasts 10 ms; at least 25 ms are needed"
    assert (report.rows_computed, report.inputs_cut) == (2, 1)


def test_a_store_of_sounds_is_of_its_windows_and_is_checked_live(tmp_path):
    sounds = write_sounds(tmp_path / "sounds", each=3)
    first = run(sounds, tmp_path / "stores")
    (sounds / "tone" / "more.wav").write_bytes(encode(*make_sound("tone", 50)))
    then = run(sounds, tmp_path / "stores")
    assert (then.rows_computed, then.rows_reused) == (1, 9)
    assert then.parity["rows"] >= 4 and then.store == first.store
    store = open_store(then.store)
    said = store.spec["preprocess"]
    assert (said["kind"], said["max_windows"]) == ("audio", 0)
    fewer = load_backbone(
        "whisper_row", weights="random:0", settings={"max_windows": 1}
    )
    assert run(sounds, tmp_path / "stores", fewer).store != first.store


def test_a_plan_says_what_an_extraction_of_sounds_would_take(tmp_path):
    sounds = write_sounds(tmp_path / "sounds", each=3)
    found = plan(
        load_dataset(sounds),
        load_backbone("whisper_row", weights="random:0"),
        features=["layer2:mean"],
        store_root=tmp_path / "stores",
        batch_size=4,
    ).to_json()
    assert (found["takes"], found["rows_to_compute"]) == ("recordings", 9)


def test_the_page_of_a_store_says_how_long_a_recording_is(tmp_path):
    sounds = write_sounds(tmp_path / "sounds", each=3)
    samples = np.zeros((22_050, 2)) + 0.1
    (sounds / "tone" / "00.wav").write_bytes(encode(samples, 44_100))
    report = run(sounds, tmp_path / "stores")
    page = Exploration(report.store, feature="layer2:mean")
    kind, shown = page.show(page.points["id"].index("tone/00.wav"))
    assert kind == "text/plain; charset=utf-8"
    assert shown.decode() == "0.5 s, 44,100 Hz, 2 channels"


def test_baselines_are_those_of_the_kind_of_input():
    backbone = load_backbone("whisper_row", weights="random:0")
    names = ["pixels", "bag_of_words", "random:0", "random:1"]
    found = load_baselines(names, beside=backbone, features=["layer2:mean"])
    assert [(b.name, b.features) for b in found] == [("random:1", ("layer2:mean",))]
    assert found[0].backbone.preprocess == backbone.preprocess


def test_what_is_of_images_alone_says_so(tmp_path):
    sounds = write_sounds(tmp_path / "sounds", each=3)
    with pytest.raises(RequestError, match="views: the backbone takes recordings"):
        run(sounds, tmp_path / "stores", views=make_views(2, "light"))


def test_a_check_of_weights_runs_on_seeded_sounds():
    report = check_backbone("whisper_row", weights="random:0")
    assert report.fine, report.problems
    assert report.features["layer1:mean"]["finite"]
    assert report.features["layer1:mean"]["one_by_one"] < 1e-5


def test_settings_of_the_backbone_come_from_the_command_and_the_file(tmp_path, capsys):
    sounds = write_sounds(tmp_path / "sounds", each=3)
    asked = (
        *("--data", str(sounds), "--backbone", "whisper_row", "--weights", "random:0"),
        *("--features", "layer2:mean", "--store-root", str(tmp_path / "stores")),
    )
    assert run_command(["extract", *asked, "--set", "max_windows=1", "--json"]) == 0
    store = open_store(json.loads(capsys.readouterr().out)["store"])
    assert store.spec["settings"] == {"max_windows": 1}
    # A plan of the same finds all of it there; of all windows, nothing.
    assert run_command(["plan", *asked, "--set", "max_windows=1", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert run_command(["plan", *asked, "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert [found["rows_to_compute"] for found in (same, other)] == [0, 9]

    file = tmp_path / "pipeline.toml"
    file.write_text(
        f"""
        data.source = "{sounds}"
        store.root = "{tmp_path / "stores"}"
        run.root = "{tmp_path / "runs"}"
        baselines.names = []
        [backbone]
        name = "whisper_row"
        weights = "random:0"
        features = ["layer2:mean"]
        settings = {{ max_windows = 1 }}
        """
    )
    assert run_command(["run", str(file), "--engine", "local", "--json"]) == 0
    ran = json.loads(capsys.readouterr().out)
    assert ran["extract"]["rows_computed"] == 0, ran

    assert run_command(["extract", *asked, "--set", "windows=1"]) == 2
    assert "windows" in capsys.readouterr().err
