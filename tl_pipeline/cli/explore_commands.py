"""`store explore`."""

import os
import sys
import webbrowser
from pathlib import Path

from tl_pipeline.cli.console import AsJson, Console


def explore(
    store: str,
    *,
    data: str | None = None,
    run: Path | None = None,
    method: str = "pca",
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    port: int = 0,
    browser: bool = True,
    as_json: AsJson = False,
) -> None:
    """Look at a store's rows on an interactive page, on this machine only.

    Args:
      store: The store's folder.
      data: Where the dataset is now, for thumbnails; default: where it was extracted.
      run: A run's folder, whose predictions to show.
      method: pca, tsne, or umap, which is an extra.
      feature: Which feature; default: the only one, or pool.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
      rows: Rows drawn where there are more; default: 100000, tsne 5000, umap 20000.
      seed: Where drawing rows, t-SNE and UMAP begin.
      port: Default: any free one.
      browser: Whether to open a browser.
    """
    from tl_pipeline.stages.explore import Exploration
    from tl_pipeline.stages.explore_server import ExploreServer

    console = Console(as_json=as_json)
    exploration = Exploration(
        store,
        data=data,
        run=run,
        method=method,
        feature=feature,
        dataset=dataset,
        snapshot=snapshot,
        most_rows=rows,
        seed=seed,
    )
    points = exploration.points
    with ExploreServer(exploration, port=port) as server:
        console.say(
            f"{points['rows']:,} of {points['of']:,} examples of {points['dataset']}, "
            f"{points['feature']} by {points['method']}",
            f"open {server.url} (Ctrl-C ends)",
        )
        kept = ("store", "dataset", "snapshot", "feature", "rows", "of")
        console.result({"url": server.url, **{key: points[key] for key in kept}})
        if browser and _has_screen():
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.note(["ended"])


def _has_screen() -> bool:
    """Tells whether a browser would open a window, and not take over the terminal."""
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
