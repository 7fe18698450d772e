"""How the devices of this machine share one computation: the one place that decides.

The computation follows its data: what it takes is placed here, an axis split over
devices or the whole on each, and JAX runs the same compiled function on all of them.
On one device everything lies where JAX puts it by itself.

JAX is imported by what is called, so that this loads without it.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices that share a computation.

    Attributes:
      devices: Of this process; one: nothing is split.
    """

    devices: tuple[Any, ...]

    def split(self, tree: Any, *, axis: int = 0) -> Any:
        """Puts arrays on the devices, each of which gets its part of an axis."""
        import jax

        return jax.device_put(tree, self.sharding(axis=axis))

    def copy(self, tree: Any) -> Any:
        """Puts arrays whole on each device."""
        import jax

        return jax.device_put(tree, self.sharding(axis=None))

    def sharding(self, *, axis: int | None = 0) -> Any:
        """Returns how an array lies of which an axis is split; None on one device."""
        if len(self.devices) == 1:
            return None
        import numpy as np
        from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

        mesh = Mesh(np.array(self.devices), ("rows",), axis_types=(AxisType.Auto,))
        parts = () if axis is None else (*[None] * axis, "rows")
        return NamedSharding(mesh, PartitionSpec(*parts))

    def fill_up(self, size: int) -> int:
        """Returns the least multiple of the number of devices that is not below."""
        return -(-size // len(self.devices)) * len(self.devices)


def all_devices() -> Placement:
    """Returns all devices of this process."""
    import jax

    return Placement(tuple(jax.local_devices()))


def share_batch(size: int) -> Placement:
    """Returns the most devices of which each gets as many of a batch's rows.

    A batch of 32 is split over 4 devices of 4, and over 4 of 7: rows that only fill it
    up would cost more than they spare, and change what a batch's neighbors see.
    """
    import jax

    devices = jax.local_devices()
    shared = max(n for n in range(1, len(devices) + 1) if n == 1 or size % n == 0)
    return Placement(tuple(devices[:shared]))
