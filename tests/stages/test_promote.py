"""The gate at the end of a run: night after night, on real rows and heads."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.cli.app import run_command
from tl_pipeline.config import make_config
from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.evaluation.gate import spend
from tl_pipeline.reporting.comparison import describe_promotion
from tl_pipeline.runs import current as in_use
from tl_pipeline.runs.current import current_file, read_current
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.promote import rollback

SIZES = {"train": 60, "val": 20, "test": 60}


class Nights:
    """A dataset that changes from night to night: a table of photographs."""

    def __init__(self, root: Path):
        self.root = root
        self.rows: list[dict[str, str]] = []
        self._rng = np.random.default_rng(0)
        (root / "photos").mkdir()
        for split, n in SIZES.items():
            self.add(split, n)

    def add(self, split: str, n: int, kind: str | None = None) -> None:
        """Adds photographs of ants and bees, hard to tell, or of another kind."""
        for i in range(n):
            target = kind or ("ants", "bees")[i % 2]
            level = {"ants": 118, "bees": 130}.get(target, 240)
            pixels = self._rng.normal(level, 80, (12, 14, 3)).clip(0, 255)
            path = f"photos/{len(self.rows)}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(self.root / path)
            site = ("day", "night")[i // 2 % 2] + split
            self.rows.append(
                {"path": path, "target": target, "split": split, "group": site}
            )

    def relabel(
        self, names: dict[str, str], split: str = "", start: int = 0, stop: int = 999
    ) -> None:
        """Renames the targets of some rows of a split, or of all."""
        rows = [row for row in self.rows if split in ("", row["split"])]
        for row in rows[start:stop]:
            row["target"] = names.get(row["target"], row["target"])

    def run(self, **sections: dict[str, Any]) -> dict[str, Any]:
        """Runs the pipeline on the table as it is now and returns the promotion."""
        lines = [",".join(self.rows[0]), *(",".join(r.values()) for r in self.rows)]
        (self.root / "insects.csv").write_text("\n".join(lines))
        summary: Any = run_local(make_config(self.config(**sections), where=""))
        self.trained = summary["train"]
        return summary["promotion"]

    def config(self, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
        values: dict[str, dict[str, Any]] = {
            "data": {"source": str(self.root / "insects.csv")},
            "backbone": {"name": "pixels"},
            "store": {"root": str(self.root / "stores")},
            "baselines": {"names": []},
            "heads": {"l2": [0.1]},
            "run": {"root": str(self.root / "runs")},
        }
        return values | {k: values.get(k, {}) | v for k, v in sections.items()}

    @property
    def current(self) -> Path:
        return current_file(self.root / "runs", "insects")


SWAPPED = {"ants": "bees", "bees": "ants"}


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


@pytest.fixture
def bad_then_good(nights: Nights) -> Nights:
    """A first head of wrong labels is in use; the labels are right again."""
    nights.relabel(SWAPPED, "train")
    nights.relabel(SWAPPED, "val")
    assert nights.run()["reason"] == "first"
    nights.relabel(SWAPPED, "train")
    nights.relabel(SWAPPED, "val")
    return nights


def test_the_first_head_is_promoted_and_an_unchanged_night_looks_at_nothing(
    nights: Nights,
):
    first = nights.run()
    assert (first["verdict"], first["consultations"]) == ("promote", 0)
    assert first["current"] == nights.trained["run"]
    assert first["previous"] is None
    again = nights.run()
    assert nights.trained["reused"]
    assert (again["verdict"], again["reason"]) == ("hold", "unchanged")
    assert again["consultations"] == 0
    photo = nights.root / nights.rows[0]["path"]
    assert predict(nights.current, photo) == predict(first["current"], photo)


def test_a_change_without_effect_is_held_and_counted_once(nights: Nights):
    first = nights.run()
    nights.relabel(SWAPPED, "train", 0, 4)
    held = nights.run()
    assert held["verdict"] == "hold"
    assert held["reason"] in ("noise", "no_gain")
    assert held["sentence"].startswith(f"Hold: {held['gain']:+.1f} over the current")
    assert held["current"] == first["current"] != nights.trained["run"]
    assert (held["consultations"], held["split"], held["n"]) == (1, 1, 60)
    assert nights.run() == held
    nights.relabel(SWAPPED, "train", 4, 8)
    assert nights.run()["consultations"] == 2
    text = "\n".join(describe_promotion(held))
    assert "looked at this test split 1 time," in text
    assert f"in use {first['current']}" in text


def test_a_real_gain_is_promoted_and_a_rollback_stays_rolled_back(
    bad_then_good: Nights,
):
    nights = bad_then_good
    bad = nights.trained["run"]
    good = nights.run()
    assert (good["verdict"], good["reason"]) == ("promote", "gain")
    assert good["sentence"].startswith(f"Promote: +{good['gain']:.1f} over the current")
    assert good["low"] > 0 and good["p_value"] <= good["level"] == 0.05 / 4
    assert (good["current"], good["previous"]) == (nights.trained["run"], bad)
    assert rollback(nights.root / "runs")["current"] == bad
    again = nights.run()
    assert (again["verdict"], again["reason"]) == ("hold", "rolled_back")
    assert again["current"] == bad
    with pytest.raises(NotFoundError, match="none was before it"):
        rollback(nights.current)
    nights.relabel(SWAPPED, "train", 0, 1)
    assert nights.run()["consultations"] == 2


def test_each_night_with_new_test_rows_is_one_more_look_at_a_smaller_level(
    nights: Nights,
):
    nights.run()
    found = []
    for night in range(4):
        nights.add("test", 2)
        nights.relabel(SWAPPED, "train", night, night + 1)
        found.append(nights.run())
    assert [one["verdict"] for one in found] == ["hold"] * 4
    assert [(one["split"], one["consultations"]) for one in found] == [
        (1, look) for look in (1, 2, 3, 4)
    ]
    levels = [spend(0.05, look=look) for look in (1, 2, 3, 4)]
    assert [one["level"] for one in found] == levels


def test_a_rollback_that_is_killed_halfway_is_not_promoted_again(
    bad_then_good: Nights, monkeypatch: pytest.MonkeyPatch
):
    nights = bad_then_good
    nights.run()

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(in_use, "roll_back", die)
        with pytest.raises(KeyboardInterrupt):
            rollback(nights.current)
    assert nights.run()["reason"] == "unchanged"  # still in use
    rollback(nights.current)
    assert nights.run()["reason"] == "rolled_back"


def test_a_rollback_to_a_run_that_is_gone_changes_nothing(bad_then_good: Nights):
    nights = bad_then_good
    bad = nights.trained["run"]
    good = nights.run()["current"]
    shutil.rmtree(bad)
    before = nights.current.read_bytes()
    with pytest.raises(NotFoundError, match=Path(bad).name):
        rollback(nights.current)
    assert nights.current.read_bytes() == before
    found = nights.run()
    assert (found["reason"], found["current"]) == ("unchanged", good)


def test_the_head_in_use_is_scored_on_todays_rows_and_labels(nights: Nights):
    nights.run()
    run = load_run(nights.trained["run"])
    nights.add("test", 20)  # rows that its run never saw
    nights.relabel(SWAPPED, "test", 0, 10)
    nights.relabel(SWAPPED, "train", 0, 6)
    found = nights.run()
    assert found["n"] == 80
    guesses = {one.id: one.label for one in predict(run.path, nights.root / "photos")}
    truth = {Path(r["path"]).name: r["target"] for r in nights.rows[-20:]}
    truth |= {Path(r["path"]).name: r["target"] for r in nights.rows[80:140]}
    right = np.mean([guesses[id] == target for id, target in truth.items()])
    new = load_run(nights.trained["run"]).metrics["test"]["accuracy"]["value"]
    assert found["gain"] == pytest.approx(100 * (new - right))


def test_only_test_examples_changed_is_the_same_head_and_no_look(nights: Nights):
    nights.run()
    nights.add("test", 4)
    nights.relabel(SWAPPED, "test", 0, 30)
    found = nights.run()
    assert not nights.trained["reused"]
    assert (found["verdict"], found["reason"]) == ("hold", "same_head")
    assert found["consultations"] == 0


def test_a_test_example_that_a_head_was_trained_on_is_left_out(nights: Nights):
    nights.run()
    for row in nights.rows[:10]:
        row["split"], row["group"] = "test", "moved"
    found = nights.run()
    assert found["n"] == 60
    assert "compared on 60 of today's 70 test examples" in found["notes"]


def test_a_class_that_is_new_counts_as_wrong_and_another_task_is_held(nights: Nights):
    first = nights.run()
    for split, n in SIZES.items():
        nights.add(split, n // 2, "wasps")
    found = nights.run()
    assert found["verdict"] == "promote"
    assert found["n"] == 90
    assert any("does not know wasps, and is wrong on 30" in x for x in found["notes"])
    nights.relabel({"ants": "cats", "bees": "dogs", "wasps": "birds"})
    other = nights.run()
    assert (other["verdict"], other["reason"]) == ("hold", "classes")
    assert str(nights.current) in other["sentence"]
    assert other["previous"] == first["current"]


def test_with_another_backbone_its_kept_predictions_are_compared(bad_then_good: Nights):
    nights = bad_then_good
    nights.add("test", 10)
    found = nights.run(store={"dtype": "float32"})
    assert found["verdict"] == "promote"
    assert found["n"] == 60
    assert "another backbone" in found["notes"][0]
    assert "compared on 60 of today's 70 test examples" in found["notes"]


def test_without_its_snapshot_only_examples_known_to_be_test_are_compared(
    nights: Nights,
):
    nights.run()
    shutil.move(nights.root / "stores", nights.root / "gone")
    nights.add("test", 10)
    nights.relabel(SWAPPED, "train", 0, 5)
    found = nights.run()
    assert found["n"] == 60
    assert any("snapshot of the head in use is gone" in x for x in found["notes"])


def test_a_gain_that_costs_a_group_is_held(bad_then_good: Nights):
    nights = bad_then_good
    nights.add("test", 60)
    nights.relabel(SWAPPED, "test", 0, 20)  # on which the bad head is now the better
    for i, row in enumerate(r for r in nights.rows if r["split"] == "test"):
        row["group"] = "old camera" if i < 20 else "new camera"
    found = nights.run(promotion={"alpha": 0.9})
    assert (found["verdict"], found["reason"]) == ("hold", "slice")
    assert "on old camera, worse than the -5 allowed" in found["sentence"]
    assert found["slices"][0]["slice"] == "old camera"
    allowed = nights.run(promotion={"alpha": 0.9, "max_slice_loss": 100})
    assert allowed["verdict"] == "promote"
    assert allowed["consultations"] == 2  # other rules: another look


def test_killed_before_the_switch_the_next_run_finishes_it_and_counts_no_look(
    bad_then_good: Nights, monkeypatch: pytest.MonkeyPatch
):
    nights = bad_then_good
    bad = nights.trained["run"]

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(in_use, "switch", die)
        with pytest.raises(KeyboardInterrupt):
            nights.run()
    before = read_current(nights.current)
    assert before and str(before.folder) == bad
    found = nights.run()
    assert (found["verdict"], found["consultations"]) == ("promote", 1)
    assert found["current"] == nights.trained["run"]
    assert found["previous"] == bad


def test_a_run_in_use_that_is_gone_fails_with_the_way_out(nights: Nights):
    first = nights.run()
    shutil.rmtree(first["current"])
    nights.relabel(SWAPPED, "train", 0, 4)
    with pytest.raises(RunDamagedError, match=r"is gone.*rollback.*delete"):
        nights.run()
    nights.current.unlink()
    assert nights.run()["reason"] == "first"


def test_the_gate_can_be_left_out(nights: Nights):
    assert nights.run(promotion={"enabled": False}) is None
    assert not nights.current.exists()


def test_the_commands_tell_it_and_a_held_promotion_is_done(
    bad_then_good: Nights, capsys: pytest.CaptureFixture[str]
):
    nights = bad_then_good
    bad = nights.trained["run"]
    nights.run()
    good = nights.trained["run"]
    toml = nights.root / "pipeline.toml"
    toml.write_text(
        "\n".join(
            f"[{section}]\n"
            + "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
            for section, keys in nights.config().items()
        )
    )

    def ask(*words: object) -> int:
        return run_command([*map(str, words)])

    assert ask("run", toml, "--engine", "local") == 0
    out = capsys.readouterr().out
    assert "Hold: nothing changed, the head in use stays\n" in out
    assert "the gate has looked at this test split 1 time" in out
    assert ask("compare", bad, nights.current, "--json") == 0
    assert json.loads(capsys.readouterr().out)["second"]["run"] == good
    assert ask("rollback", nights.root / "runs" / "insects", "--json") == 0
    assert json.loads(capsys.readouterr().out)["current"] == bad
    assert ask("rollback", nights.root / "runs" / "insects") == 2
    assert "none was before it" in capsys.readouterr().err
