"""Settings that say how much of an example is hidden."""

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError

MOST = 0.9


def read_share(setting: str, value: Json) -> float:
    """Returns the value of a setting that is a share, from 0 to 0.9.

    Raises:
      ConfigError: It is none.

    Example:
      >>> read_share("time_masking", 0.2)
      0.2
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 <= value <= MOST:
            return float(value)
    raise ConfigError(
        f"Augmentation asks for {setting} = {value!r}: give a number from 0 to {MOST}."
    )
