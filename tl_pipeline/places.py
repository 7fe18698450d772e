"""Places where bytes are kept: a folder on this machine, or an address in a bucket."""

import os
from pathlib import Path

from tl_pipeline.errors import RequestError
from tl_pipeline.object_paths import ObjectPath, parse_address

Place = Path | ObjectPath


def is_url(text: str | Place) -> bool:
    """Tells whether a text is the address of something that is on no local disk.

    Example:
      >>> is_url("s3://photos/2024"), is_url("photos/2024"), is_url("builtin:digits")
      (True, False, False)
    """
    said = str(text)
    return "://" in said or said.startswith("s3:/")  # as a `Path` makes of an address


def find_place(text: str | Place) -> Place:
    """Returns the place that a text names.

    Raises:
      RequestError: It is a URL of another kind than those known, or was made a `Path`.
    """
    if isinstance(text, ObjectPath):
        return text
    return parse_address(str(text)) if is_url(text) else Path(text)


def absolute(place: str | Place) -> str:
    """Returns how a place is named from any working directory."""
    if is_url(place):
        return str(find_place(place))
    return os.path.abspath(str(place))


def require_local(text: str | Place, *, what: str) -> Path:
    """Returns a folder on this machine.

    Args:
      text: What was asked for.
      what: How the message names it.

    Raises:
      RequestError: It is the address of something else.
    """
    if isinstance(text, ObjectPath) or is_url(text):  # for the type checker, both
        raise RequestError(
            f"Asked for {what} {text}: {what} are kept in a folder on this machine; "
            "datasets and stores alone may lie in a bucket. Name a folder."
        )
    return Path(text)
