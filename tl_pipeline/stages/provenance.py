"""What computed a row: library versions, platform and device, as plain text."""

import importlib.metadata
import platform

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
    libraries = _LIBRARIES + (_JAX_LIBRARIES if backbone.needs_accelerator else ())
    facts = {name: importlib.metadata.version(name) for name in libraries}
    facts["python"] = platform.python_version()
    facts["platform"] = f"{platform.system()} {platform.machine()}"
    if backbone.needs_accelerator:
        import jax  # loaded by the backbone already

        facts["device"] = jax.devices()[0].device_kind
    return facts
