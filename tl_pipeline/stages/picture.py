"""A picture of a store: its rows as points of a plane, colored by what is known."""

from pathlib import Path

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, NotFoundError
from tl_pipeline.evaluation.projection import METHODS, project
from tl_pipeline.examples import SPLITS
from tl_pipeline.files import write_atomically
from tl_pipeline.places import Place
from tl_pipeline.reporting.scatter import FORMATS, draw_scatter
from tl_pipeline.stages.guesses import match_guesses, sort_names
from tl_pipeline.stages.vectors import choose_feature, load_vectors
from tl_pipeline.store.store import open_store

COLORS = ("target", "split", "prediction")
# Points that a picture can show, and that t-SNE places in half a minute.
MOST_ROWS = {"pca": 20_000, "tsne": 5_000, "umap": 20_000}
METHOD_NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def draw_store(
    store: str | Place,
    out: str | Path,
    *,
    method: str = "pca",
    color: str = "target",
    run: str | Path | None = None,
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    most_rows: int | None = None,
    seed: int = 0,
) -> dict[str, Json]:
    """Draws the rows of a snapshot; the same store and seed give the same picture.

    Args:
      store: The store's folder.
      out: The picture, `.png` or `.svg`; replaced if it is there.
      method: `"pca"`, `"tsne"` or `"umap"`, which is an extra.
      color: `"target"`, `"split"` or `"prediction"`.
      run: Whose predictions, for that color.
      feature: Which feature; by default the only one, or `pool`.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.
      most_rows: Rows drawn where there are more; by default as `MOST_ROWS`.
      seed: Of the drawing, and where the method begins.

    Returns:
      Plain data: the picture's path, and what it shows of what.

    Raises:
      ConfigError: A method, color or format that is not known.
      DatasetError: There are fewer than three rows.
      NotFoundError: The store, snapshot, feature or the picture's folder is not there.
    """
    out = Path(out)
    _check_choice("method", method, METHODS)
    _check_choice("color", color, COLORS)
    _check_choice("format", out.suffix.lower(), FORMATS)
    if (color == "prediction") != (run is not None):
        raise ConfigError(
            f"Asked for a picture with color {color!r} and "
            + (f"the run {run}: " if run else "no run: ")
            + "predictions are colored by `--color prediction --run runs/NAME`."
        )
    if not out.parent.is_dir():
        raise NotFoundError(
            f"Asked for the picture {out}, but there is no folder {out.parent}. Make "
            "it, or name another."
        )
    opened = open_store(store)
    examples = opened.snapshot(dataset, snapshot)
    name = choose_feature(opened, feature)
    most = MOST_ROWS[method] if most_rows is None else most_rows
    vectors = load_vectors(opened, name, examples, most_rows=most, seed=seed)
    projection = project(vectors.rows.features, method=method, seed=seed)
    order = SPLITS if color == "split" else examples.classes
    labels = vectors.rows.splits if color == "split" else vectors.rows.targets
    if run is not None:
        guesses = match_guesses(run, vectors.rows)
        labels = [guess and guess.label for guess in guesses]
        order = sort_names((*order, *labels))
    shown = len(vectors.rows.ids)
    part = f"{shown:,} of {len(examples):,}" if shown < len(examples) else f"{shown:,}"
    picture = draw_scatter(
        projection.points,
        labels,
        order=order,
        title=f"{name} of {examples.dataset}, by {color}",
        subtitle=f"{opened.path.name}, {part} rows, {METHOD_NAMES[method]}",
        axes=projection.axes,
        format=out.suffix.lower(),
    )
    write_atomically(out, picture)
    return {
        "path": str(out),
        "store": str(opened.path),
        "dataset": examples.dataset,
        "snapshot": examples.digest,
        "feature": name,
        "averaged": vectors.averaged,
        "method": method,
        "color": color,
        "rows": shown,
        "of": len(examples),
        "seed": seed,
    }


def _check_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"Asked for a picture with {what} {value!r}; known are {', '.join(known)}."
        )
