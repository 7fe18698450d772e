"""How a sentence is made of its tokens, as sentence-transformers' files beside weights.

`modules.json` lists what follows the network, `1_Pooling/config.json` says how tokens
are pooled, and `sentence_bert_config.json` how long a text may be.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tl_pipeline.errors import WeightsError, shorten

MODULES, LENGTHS = "modules.json", "sentence_bert_config.json"
POOLING = "1_Pooling/config.json"
FILES = (MODULES, POOLING, LENGTHS)
MAX_BYTES = 2**20
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_MODES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}


class SentenceFiles(NamedTuple):
    """What the files say; nothing, where there are none.

    Attributes:
      pooling: As of tokens; `""` where there is none, or another than those known.
      normalize: Whether what was pooled is scaled to length 1.
      max_length: Most tokens of a text, or None.
      lowercase: Whether texts are taken in lower case.
    """

    pooling: str = ""
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False


def read_sentence_files(folder: Path) -> SentenceFiles:
    """Reads what sentence-transformers wrote beside weights.

    Args:
      folder: That of the weights.

    Raises:
      WeightsError: A file is there and cannot be read.
    """
    if not (folder / MODULES).is_file():
        return SentenceFiles()
    modules = _read_json(folder / MODULES)
    lengths = _read_json(folder / LENGTHS) if (folder / LENGTHS).is_file() else {}
    if not isinstance(modules, list) or not isinstance(lengths, dict):
        raise _refusal(folder / MODULES, "it lists no modules")
    kinds = [_kind(module) for module in modules]
    pooling, normalize = "", kinds[2:] == ["Normalize"]
    if kinds[:2] == ["Transformer", "Pooling"] and (normalize or not kinds[2:]):
        path = folder / str(modules[1].get("path") or "1_Pooling") / "config.json"
        pooling = _find_pooling(path)
    longest = lengths.get("max_seq_length")
    return SentenceFiles(
        pooling,
        normalize and bool(pooling),
        longest if type(longest) is int and longest > 0 else None,
        lengths.get("do_lower_case") is True,
    )


def _kind(module: Any) -> str:
    """Returns the last word of a module's type: `Pooling`."""
    type_ = module.get("type") if isinstance(module, Mapping) else None
    return str(type_).rpartition(".")[2]


def _find_pooling(path: Path) -> str:
    said = _read_json(path)
    if not isinstance(said, dict):
        raise _refusal(path, "it is no object")
    if isinstance(mode := said.get("pooling_mode"), str):  # of its later versions
        return _MODES.get(mode, "")
    modes = [k for k, v in said.items() if k.startswith("pooling_mode_") and v is True]
    return _POOLINGS.get(modes[0], "") if len(modes) == 1 else ""


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(path, shorten(error)) from error


def _refusal(path: Path, found: str) -> WeightsError:
    return WeightsError(
        f"Configuration {path} beside the weights cannot be used: {found}. Correct it, "
        f"or take {MODULES} away to do without the feature `sentence`."
    )
