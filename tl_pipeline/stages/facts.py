"""What `config.json` beside weights says of their network, which it must not deny."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.digest import Json
from tl_pipeline.errors import MisfitError, WeightsError, shorten

CONFIG = "config.json"
MAX_BYTES = 2**20


def check_facts(architecture: Architecture, path: Path) -> None:
    """Raises where a configuration denies an architecture; one may be absent.

    Raises:
      WeightsError: It is of another architecture, or cannot be read.
    """
    said = read_config(path)
    denied = _list_denied(architecture.facts, said)
    if denied:
        listed = "\n".join(f"  {line}" for line in denied)
        raise MisfitError(
            f"Weights beside {path} are of another network than {architecture.what}:\n"
            f"{listed}\nName the backbone they belong to."
        )


def read_config(path: Path) -> Mapping[str, Any]:
    """Returns what a configuration says, of a network of several its text part's.

    Args:
      path: Where it may be.

    Raises:
      WeightsError: It is there and cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"Configuration {path} beside the weights cannot be read: "
            f"{shorten(error)}. Bring it anew, or take it away."
        ) from error
    said = said if isinstance(said, dict) else {}
    inner = said.get("text_config")
    return inner if isinstance(inner, dict) else said


def _list_denied(facts: Mapping[str, Json], said: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: the file says {shorten(json.dumps(said[key]))}, {wanted!r} is wanted"
        for key, wanted in facts.items()
        if key in said and said[key] is not None and said[key] != wanted
    ]
