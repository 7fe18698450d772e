"""ImageNet-1k's 1,000 classes: which output of a classifier a label stands for.

The table has a class a line, in the order of classifiers' outputs: its WordNet id, then
its names, as timm's lists of ImageNet have them.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable
from importlib.resources import files

from tl_pipeline.errors import DatasetError, shorten

CLASSES = 1000
_SHOWN = 5


def find_classes(labels: Iterable[str]) -> dict[str, int]:
    """Returns the output of a classifier that each label stands for.

    Args:
      labels: WordNet ids (`n02206856`), numbers of outputs (`309`), or names (`bee`),
        whatever their case, with spaces or underscores.

    Returns:
      From 0 to 999 by label; empty where no label is any of these.

    Raises:
      DatasetError: Some labels are, and others are not; or a name is of two classes.

    Example:
      >>> find_classes(["n02206856", "310", "Siberian_husky"])
      {'n02206856': 309, '310': 310, 'Siberian_husky': 250}
    """
    known = _read_names()
    found = {label: known.get(_plain(label), ()) for label in dict.fromkeys(labels)}
    if not any(found.values()):
        return {}
    unknown = [label for label, places in found.items() if not places]
    if unknown:
        raise DatasetError(
            f"Asked for ImageNet's classes of {len(found)} labels; {len(unknown)} are "
            f"none: {_list(unknown)}. Name folders by WordNet id (n02206856), number "
            "(0 to 999) or name (bee)."
        )
    several = [label for label, places in found.items() if len(places) > 1]
    if several:
        raise DatasetError(
            f"Asked for ImageNet's classes by names; {_list(several)} is of two: "
            f"numbers {' and '.join(map(str, found[several[0]]))}. Use the number."
        )
    return {label: places[0] for label, places in found.items()}


def say_unknown(labels: Iterable[str]) -> str:
    """Returns the sentence on labels of which none is a class of ImageNet."""
    return (
        f"top-1 is not measured: none of the labels ({_list(sorted(set(labels)))}) is "
        "ImageNet's WordNet id (n02206856), number (0 to 999) or name (bee)."
    )


def _list(labels: list[str]) -> str:
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return ", ".join(map(shorten, labels[:_SHOWN])) + more


def _plain(label: str) -> str:
    return label.replace("_", " ").strip().lower()


@functools.cache
def _read_names() -> dict[str, tuple[int, ...]]:
    text = files("tl_pipeline.evaluation").joinpath("imagenet_classes.tsv").read_text()
    places: dict[str, list[int]] = defaultdict(list)
    for place, line in enumerate(text.splitlines()):
        wordnet, names = line.split("\t")
        for name in {wordnet, str(place), names, *names.split(", ")}:
            places[_plain(name)].append(place)
    return {name: tuple(found) for name, found in places.items()}
