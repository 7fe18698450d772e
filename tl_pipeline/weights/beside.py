"""Preprocessing that a JSON file beside weights describes: read, or refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tl_pipeline.errors import WeightsError, shorten

MAX_BYTES = 2**22  # Whisper's first ones list all values of their filters


def read_fields(path: Path) -> Mapping[str, Any]:
    """Returns the fields of a file.

    Raises:
      WeightsError: It is no JSON object.
    """
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        refuse_field(path, "its content", shorten(error))
    if not isinstance(said, dict):
        refuse_field(path, "its content", "no object")
    return said


def refuse_field(path: Path, field: str, found: object) -> NoReturn:
    """Raises a `WeightsError` that names a field and what it says."""
    raise WeightsError(
        f"Preprocessing {path} beside the weights cannot be used: {field} is "
        f"{shorten(found)}. Correct it, or take it away for the usual one."
    )
