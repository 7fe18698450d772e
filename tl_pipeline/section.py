"""What every section of `pipeline.toml` is, and the values that keys take.

Lists are taken for tuples, since TOML and JSON know no other.
"""

from typing import Annotated

import pydantic
from pydantic import Field

# Most names become paths, in which no system takes a zero byte.
Name = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Strengths = Annotated[tuple[Above0, ...], Field(strict=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Kept = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(strict=False)]
Arguments = dict[str, bool | int | float | str]
Augmentation = dict[str, bool | int | float | list[float]]
Views = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
Shares = Annotated[tuple[Share, ...], Field(strict=False)]


class Section(pydantic.BaseModel):
    """Keys with their values, checked; no other keys."""

    # Strict: "3" is no number, and true is not 1. A whole number may stand for a float.
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)
