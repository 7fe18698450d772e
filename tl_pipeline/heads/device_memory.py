"""Whether rows fit on the device beside what is computed from them."""

import contextlib
from collections.abc import Iterator

import jax

from tl_pipeline.errors import TrainingError

# Of the memory that is free: the rest is for parameters, gradients and activations.
SHARE = 0.6


def free_bytes() -> int | None:
    """Returns the memory free on the default device; None where it is the host's."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))


def fits_on_device(n_bytes: int) -> bool:
    """Says whether so many bytes of rows may be kept on the device."""
    free = free_bytes()
    return free is None or n_bytes <= SHARE * free


@contextlib.contextmanager
def telling_exhaustion(what: str) -> Iterator[None]:
    """Turns a device's exhausted memory into one sentence.

    Args:
      what: What was asked for, as in "256 heads on 20,000 rows".

    Raises:
      TrainingError: The device's memory was exhausted inside.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        free = free_bytes()
        left = "" if free is None else f", of which {free / 2**30:.1f} GiB are free now"
        raise TrainingError(
            f"Asked to train {what}: the memory of {jax.devices()[0]} does not hold "
            f"them{left}. Ask for fewer heads at a time, fewer hidden units, or a "
            "pooled or smaller feature."
        ) from error
