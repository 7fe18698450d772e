"""Programs that JAX compiled are kept on disk: a second process compiles nothing."""

import os
import warnings

from tl_pipeline.files import cache_folder


def keep_compiled_programs() -> None:
    """Has JAX keep what it compiles, in this user's folder of caches.

    Call it before JAX is imported, which reads its settings then; what is set in the
    environment wins. A cache that cannot be read or written costs its time and nothing
    else, so JAX's warnings of it are not shown.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder("compiled")))
    # By default what took less than a second is not kept: most programs of a head.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    warnings.filterwarnings(
        "ignore", "Error (reading|writing) persistent compilation cache", UserWarning
    )
