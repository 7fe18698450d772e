"""The explore page's own files: markup and script, complete in themselves."""

import importlib.resources


def read_page_file(name: str) -> bytes:
    """Returns one of the page's files.

    Args:
      name: `explore.html`, `explore.js` or `canvas.js`.
    """
    return (
        importlib.resources.files("tl_pipeline.reporting").joinpath(name).read_bytes()
    )
