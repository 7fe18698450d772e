"""Checkpoints that hold more than a network: whose tensors have words before them.

Whoever saves a training saves the network within it, as `state_dict.model.conv1.weight`
or `module.encoder_q.conv1.weight`. The rules by which such words are taken off:

* `WRAPPERS` are the words that may be taken off, several after one another. All ways to
  do so are offered, in order: first none, then by the place in `WRAPPERS`, where
  averaged weights (`ema`) stand before those that they average, and a `teacher` before
  its `student`. Whoever knows the network takes the first that names most of it.
* What does not stand behind the words that were taken off is left out: an optimizer,
  a loss, another network's head.
* Behind a word of contrastive learning (`CONTRASTIVE`), `fc` and `head` are its
  projection, which is no classifier: left out.
* `BUFFERS` hold no weights, under whatever words: left out.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from tl_pipeline.weights.tensors import Tensors

CONTRASTIVE = ("encoder_q", "base_encoder")  # of MoCo v1 and v2; of v3
WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "teacher", "student"),
    *("module", "_orig_mod", "net", "network", "base_model", "feature_extractor"),
    *(*CONTRASTIVE, "backbone", "body", "encoder", "visual", "trunk"),
)
BUFFERS = {"num_batches_tracked", "relative_position_index", "position_ids"}
MAX_VIEWS = 64
MAX_WORDS = 5
_RANKS = {word: rank for rank, word in enumerate(WRAPPERS)}


@dataclasses.dataclass(frozen=True)
class View:
    """A way to see a checkpoint.

    Attributes:
      prefix: What was taken off, with its last dot; empty if nothing was.
      sources: The file's names by the new ones.
      n_left_out: How many tensors do not stand behind the prefix, or are projections;
        buffers are not counted.
    """

    prefix: str
    sources: Mapping[str, str]
    n_left_out: int


def list_views(names: Iterable[str]) -> list[View]:
    """Returns the ways to see a checkpoint, those that take nothing off first.

    Example:
      >>> [view.prefix for view in list_views(["module.encoder_q.conv1.weight"])]
      ['', 'module.', 'module.encoder_q.']
    """
    weights = [name for name in names if name.rpartition(".")[2] not in BUFFERS]
    prefixes = {(), *(prefix for name in weights for prefix in _prefixes(name))}
    chosen = sorted(prefixes, key=lambda words: [_RANKS[word] for word in words])
    return [_make_view(words, weights) for words in chosen[:MAX_VIEWS]]


def apply_view(tensors: Tensors, view: View) -> Tensors:
    """Returns a checkpoint's tensors under a view's names."""
    return dataclasses.replace(tensors, arrays=_Renamed(tensors.arrays, view.sources))


def _prefixes(name: str) -> Iterator[tuple[str, ...]]:
    words = name.split(".")[:-1]  # the last is the tensor's own
    for n, word in enumerate(words[:MAX_WORDS], 1):
        if word not in _RANKS:
            return
        yield tuple(words[:n])


def _make_view(words: tuple[str, ...], names: list[str]) -> View:
    prefix = "".join(f"{word}." for word in words)
    projections = ("fc.", "head.") if words and words[-1] in CONTRASTIVE else ()
    sources = {
        short: name
        for name in names
        if name.startswith(prefix)
        and not (short := name.removeprefix(prefix)).startswith(projections)
    }
    return View(prefix, sources, len(names) - len(sources))


class _Renamed(Mapping[str, np.ndarray]):
    """Arrays under other names, each still read only when it is asked for."""

    def __init__(self, arrays: Mapping[str, np.ndarray], sources: Mapping[str, str]):
        self._arrays, self._sources = arrays, sources

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[self._sources[name]]

    # Without it a name would be looked for by reading its tensor.
    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)
