"""Where files of word vectors meet the backbone that looks words up in them."""

from collections.abc import Mapping
from pathlib import Path

from tl_pipeline.backbones.word_vectors import (
    NAME,
    WordVectorsBackbone,
    make_word_preprocess,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import WeightsError
from tl_pipeline.progress import current_progress
from tl_pipeline.weights.hub import fetch_weights
from tl_pipeline.weights.source import WeightsSource, parse_source
from tl_pipeline.weights.word_vectors import open_word_vectors


def load_word_vectors(
    weights: str | Path, *, settings: Mapping[str, Json] | None = None
) -> WordVectorsBackbone:
    """Opens word vectors as a backbone; what a first opening costs is kept.

    Args:
      weights: A file of word2vec, GloVe or fastText, or `hf:OWNER/NAME:FILE`.
      settings: `smoothing`.

    Raises:
      BackboneError: A setting is wrong.
      WeightsError: The file cannot be had, or is no file of word vectors.
    """
    source = parse_source(str(weights))
    make_word_preprocess(settings)  # what is asked wrongly costs no reading
    path, place = _find_file(source)
    table = open_word_vectors(path, progress=current_progress())
    origin: dict[str, Json] = {
        "kind": source.kind,
        "file": path.name,
        "sha256": table.sha256,
        "format": table.file_format,
        "words": table.n_words,
        "repeated": table.n_repeated,
        "source_dataset": None,
        "license": None,
        **place,
    }
    return WordVectorsBackbone(
        make_word_preprocess(settings, size=table.size, table=table),
        weights=source.text,
        weights_digest=table.digest,
        origin=origin,
    )


def _find_file(source: WeightsSource) -> tuple[Path, dict[str, Json]]:
    if source.path is not None:
        return source.path, {}
    if source.hub is not None and source.hub.file:
        found = fetch_weights(source.hub, beside=())
        return found.path, {"hub": source.hub.repository, "commit": found.commit}
    raise WeightsError(
        f"Asked for {NAME} with weights {source.text!r}: name the file, of word2vec, "
        "GloVe or fastText, by its path or as hf:OWNER/NAME:FILE. What untrained "
        "vectors would say of a text, the baseline bag_of_words says better."
    )
