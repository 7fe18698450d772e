"""What computed a row: library versions, platform and device, as plain text."""

import importlib.metadata
import platform
from collections.abc import Sequence

from tl_pipeline.stages.backbones import Backbone

_LIBRARIES = ("tl-pipeline", "numpy", "pillow", "h5py")
_JAX_LIBRARIES = ("jax", "jaxlib", "flax")


def package_version() -> str:
    """Returns the version of this package."""
    return importlib.metadata.version("tl-pipeline")


def describe_versions(backbone: Backbone) -> dict[str, str]:
    """Returns the versions and the platform that compute a backbone's rows.

    A backbone that needs no accelerator is not charged with JAX, which it never loads.
    """
    if not backbone.needs_accelerator:
        return library_versions()
    import jax  # loaded by the backbone already

    return library_versions(_JAX_LIBRARIES) | {"device": jax.devices()[0].device_kind}


def library_versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Returns the versions of this package and its libraries, and the platform."""
    facts = {name: importlib.metadata.version(name) for name in (*_LIBRARIES, *more)}
    facts["python"] = platform.python_version()
    facts["platform"] = f"{platform.system()} {platform.machine()}"
    return facts
