"""What cached views gain at few examples a class, on real photographs.

    python tests/benchmarks/cached_views.py --photos FOLDER --weights FILE
        [--backbone mobilenet_v2] [--examples 10] [--views 8] [--subsets 5]

FOLDER has class folders. Each subset draws so many training examples of each class;
all others are test. Heads train on plain rows, and on views too, strengths chosen by
cross-validation inside train; both are scored on the same test rows. Prints a Markdown
row a recipe and kind of head: accuracies in percent, and the gain with its standard
error over the subsets.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.train import train
from tl_pipeline.stages.views import make_views

RECIPES = {
    "light": {},
    "light, rotation 15, no flip": {"rotation": 15.0, "horizontal_flip": 0.0},
    "strong": {},
}
KINDS = ("linear", "mlp")


def write_table(folder: Path, photos: Path, n: int, seed: int) -> Path:
    """Writes the table of a subset."""
    rng = np.random.default_rng(seed)
    path = folder / f"subset {seed}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for of_class in sorted(one for one in photos.iterdir() if one.is_dir()):
            files = sorted(one for one in of_class.iterdir() if one.is_file())
            train_rows = set(rng.permutation(len(files))[:n].tolist())
            for i, one in enumerate(files):
                split = "train" if i in train_rows else "test"
                writer.writerow([one.resolve(), of_class.name, split])
    return path


def main() -> None:
    """Measures, and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--examples", type=int, default=10)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--subsets", type=int, default=5)
    asked = parser.parse_args()
    backbone = load_backbone(asked.backbone, weights=asked.weights)
    print("| recipe | head | plain | views | gain |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        tables = [
            write_table(Path(root), asked.photos, asked.examples, seed)
            for seed in range(asked.subsets)
        ]
        for recipe, settings in RECIPES.items():
            views = make_views(asked.views, recipe.partition(",")[0], settings)
            scores: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
            for table in tables:
                report = extract(
                    load_dataset(str(table), name=table.stem),
                    backbone,
                    features=["pool"],
                    store_root=f"{root}/stores",
                    views=views,
                )
                for kind in KINDS:
                    found = [
                        train(
                            report.store,
                            run_root=f"{root}/runs",
                            dataset=table.stem,
                            kinds=[kind],
                            selection="cv",
                            views=[n],
                        ).test["accuracy"]["value"]
                        for n in (0, asked.views)
                    ]
                    scores[kind].append(found)
            for kind, pairs in scores.items():
                plain, viewed = 100 * np.array(pairs).T
                gain = viewed - plain
                error = gain.std(ddof=1) / np.sqrt(len(gain))
                print(
                    f"| {recipe} | {kind} | {plain.mean():.1f} | {viewed.mean():.1f} | "
                    f"{gain.mean():+.1f} ± {error:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
