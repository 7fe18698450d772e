"""What an extraction leaves for a training by the same configuration, on its own day.

A small file beside the stores holds the last report by the sections that decide it, so
that heads are trained, on another machine even, without data, backbone or weights.
"""

import json
from typing import Any

from tl_pipeline.config import PipelineConfig
from tl_pipeline.digest import Json, canonical_json, json_digest
from tl_pipeline.errors import NotFoundError
from tl_pipeline.files import write_atomically
from tl_pipeline.places import Place, find_place

_SECTIONS = ("data", "backbone", "store", "baselines")


def leave_extracted(config: PipelineConfig, extracted: dict[str, Json]) -> None:
    """Keeps what an extraction reported; `ExtractReport.to_json()`."""
    write_atomically(_place(config), canonical_json(extracted).encode())


def find_extracted(config: PipelineConfig) -> dict[str, Any]:
    """Returns what the last extraction by this configuration reported.

    Raises:
      NotFoundError: There was none, or its store is gone.
    """
    place = _place(config)
    try:
        extracted = json.loads(place.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(
            f"Asked to train on what was extracted from {config.data.source} with "
            f"{config.backbone.name}: {place.parent} knows of no such extraction. Run "
            "`python -m flows.extract` or `tl-pipeline run` with the same [data], "
            "[backbone], [store] and [baselines] first."
        ) from None
    if not find_place(extracted["store"]).is_dir():
        raise NotFoundError(
            f"Asked to train on the store {extracted['store']}, which the last "
            "extraction filled: it is gone. Extract again."
        )
    return extracted


def _place(config: PipelineConfig) -> Place:
    plain = config.to_json()
    digest = json_digest({name: plain[name] for name in _SECTIONS})
    return find_place(config.store.root) / f"extracted-{digest[:12]}.json"
