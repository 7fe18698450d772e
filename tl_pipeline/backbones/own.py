"""A user's own network as a backbone: `package.module:factory`, found and called.

The factory takes Flax's `nnx.Rngs` and settings with defaults, and returns an
`OwnBackbone`. Importing this module loads no JAX.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tl_pipeline.backbones.architecture import fill_settings
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError, shorten
from tl_pipeline.preprocess import ImagePreprocess

_KINDS = (bool, int, float, str)  # of settings


@dataclasses.dataclass(frozen=True)
class OwnBackbone:
    """What a user's factory returns.

    Attributes:
      network: A Flax `nnx.Module`. Called on [B, H, W, C] in the compute dtype, already
        scaled and normalized, it returns a dictionary of arrays [B, ...] by name.
      features: The shape of each of them for one example, without B.
      preprocess: How an image becomes its input.
      pretrained: Whether the parameters are trained ones as the factory returns them;
        where not, they come from a file.
    """

    network: Any
    features: Mapping[str, tuple[int, ...]]
    preprocess: ImagePreprocess
    pretrained: bool = False


def is_own(name: str) -> bool:
    """Tells whether a backbone's name is `package.module:factory`."""
    return ":" in name


def call_factory(
    name: str, rngs: Any, *, settings: Mapping[str, Json] | None = None
) -> tuple[OwnBackbone, dict[str, Json]]:
    """Imports and calls a factory.

    Args:
      name: `package.module:factory`; the current directory is looked at last.
      rngs: An `nnx.Rngs`, its first argument.
      settings: Its other arguments; what is not given keeps its default.

    Returns:
      What it returned, and all settings.

    Raises:
      BackboneError: There is no such module or factory, a setting is wrong, or the
        factory fails or returns something else.
    """
    factory = _find_factory(name)
    filled = fill_settings(name, settings, _read_defaults(name, factory))
    try:
        made = factory(rngs, **filled)
    except Exception as error:
        raise BackboneError(
            f"Asked for backbone {name}: {_call(name, filled)} failed with "
            f"{type(error).__name__}: {shorten(error)}. Mend it, or give other "
            "settings; --debug shows where."
        ) from error
    if not isinstance(made, OwnBackbone):
        raise BackboneError(
            f"Asked for backbone {name}: its factory returned "
            f"{type(made).__name__}; return tl_pipeline.OwnBackbone(network=..., "
            "features=..., preprocess=...)."
        )
    if not isinstance(made.preprocess, ImagePreprocess):
        raise BackboneError(
            f"Asked for backbone {name}: its preprocess is a "
            f"{type(made.preprocess).__name__}; give a tl_pipeline.ImagePreprocess."
        )
    return made, filled


def _find_factory(name: str) -> Callable[..., Any]:
    place, _, attribute = name.partition(":")
    words = [*place.split("."), attribute]
    if not all(word.isidentifier() for word in words):
        raise BackboneError(
            f"Asked for backbone {name!r}: a network of your own is named as "
            "package.module:factory, as in my_models.tiny:make."
        )
    module = _import(name, place)
    found = getattr(module, attribute, None)
    if not callable(found):
        known = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == place
        ]
        raise BackboneError(
            f"Asked for backbone {name}: {module.__file__} has "
            f"{'no' if found is None else 'something else as its'} {attribute!r}; its "
            f"functions are {', '.join(known) or 'none'}. Name the one that makes the "
            "network."
        )
    return found


def _import(name: str, place: str) -> ModuleType:
    here = str(Path.cwd())
    # Last, so that no file here stands in for an installed module.
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(place)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{place}.".startswith(f"{missing}."):
            raise BackboneError(
                f"Asked for backbone {name}: there is no module {missing} in {here}, "
                "beside the configuration, or installed. Run the command in the folder "
                f"that holds {place.partition('.')[0]}, or add that to PYTHONPATH."
            ) from error
        raise BackboneError(
            f"Asked for backbone {name}: importing {place} failed with "
            f"{type(error).__name__}: {shorten(error)}. Mend it; --debug shows where."
        ) from error


def _read_defaults(name: str, factory: Callable[..., Any]) -> dict[str, Json]:
    """Returns the settings of a factory with their defaults."""
    first, *rest = [*inspect.signature(factory).parameters.values(), None]
    if first is None or first.kind is first.KEYWORD_ONLY:
        raise BackboneError(
            f"Asked for backbone {name}: its factory takes no nnx.Rngs. Write it as "
            f"def {name.partition(':')[2]}(rngs, image_size=64)."
        )
    settings = [parameter for parameter in rest if parameter is not None]
    for parameter in settings:
        if type(parameter.default) not in _KINDS:
            raise BackboneError(
                f"Asked for backbone {name}: its factory's argument {parameter} has "
                "no number, text or truth value as its default. Give it one, as in "
                "image_size=64: arguments after the first are settings."
            )
    return {parameter.name: parameter.default for parameter in settings}


def _call(name: str, settings: Mapping[str, Json]) -> str:
    given = "".join(f", {key}={value!r}" for key, value in settings.items())
    return f"{name.partition(':')[2]}(rngs{given})"
