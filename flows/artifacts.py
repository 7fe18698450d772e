"""What a run leaves in the UI: pages, tables, pictures, links and lineage."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE

from tl_pipeline.places import is_url
from tl_pipeline.reporting.markdown import make_markdown
from tl_pipeline.stages.run_picture import draw_run


def leave_artifacts(summary: Mapping[str, Any], *, is_new: bool = True) -> None:
    """Leaves the summary, the heads, the report's place and a picture of confusions.

    Args:
      summary: As `run --json` writes it.
      is_new: Whether anything is; otherwise the picture is the one that was left last,
        and drawing takes longer than all that an unchanged night does.
    """
    trained = summary["train"]
    create_markdown_artifact(make_markdown(summary), key="run", description="The run")
    create_table_artifact(
        trained["candidates"], key="heads", description="The heads that were compared"
    )
    create_link_artifact(
        Path(trained["report"]).resolve().as_uri(),
        link_text="report.html",
        key="report",
        description="The report, on the machine that wrote it",
    )
    picture = draw_run(trained["run"]) if is_new else None
    if picture is not None:
        url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        create_image_artifact(url, key="confusion", description="Confusions on test")


def record_lineage(summary: Mapping[str, Any]) -> None:
    """Materializes the store, and the run's head that came of it, as assets.

    Args:
      summary: As `run --json` writes it.
    """
    trained = summary["train"]
    store, head = (
        Asset(
            key=_address(trained[kind]),
            properties=AssetProperties(name=Path(trained[kind]).name, description=what),
        )
        for kind, what in (("store", "Feature store"), ("run", "Head and its run"))
    )
    facts = {"examples": summary["extract"]["examples"]}
    _materialize(store, facts, [])
    scores = {name: found["value"] for name, found in trained["test"].items()}
    _materialize(head, scores, [store])


def _address(place: str) -> str:
    return place if is_url(place) else Path(place).resolve().as_uri()


def _materialize(asset: Asset, facts: dict[str, Any], of: list[Asset | str]) -> None:
    @materialize(
        asset,
        asset_deps=of,
        cache_policy=NO_CACHE,
        persist_result=False,
        name="record lineage",
        task_run_name=f"record {asset.properties.name if asset.properties else ''}",
    )
    def record() -> None:
        asset.add_metadata(facts)

    record()
