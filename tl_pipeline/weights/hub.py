"""Files of the Hugging Face hub, by its own library: its cache, endpoint and offline.

The library reads HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.weights import extractor_files, sentence_files, tokenizer_files
from tl_pipeline.weights.source import HubName

# The first that a repository has; what executes nothing by its format comes first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "tf_model.weights.h5")
# What says how images, texts, or recordings, become inputs.
BESIDE: Mapping[str, tuple[str, ...]] = {
    "images": ("config.json", "preprocessor_config.json"),
    "texts": ("config.json", *tokenizer_files.FILES, *sentence_files.FILES),
    "recordings": ("config.json", extractor_files.FILE),
}


class HubFile(NamedTuple):
    """A file of a hub, in the local cache, and the commit that it is of."""

    path: Path
    commit: str


def find_in_folder(path: Path) -> Path:
    """Returns the weights in a folder laid out as a repository; a file is itself."""
    found = [path / name for name in WEIGHTS if (path / name).is_file()]
    return found[0] if found else path


def fetch_weights(
    name: HubName, *, beside: Sequence[str] = BESIDE["images"]
) -> HubFile:
    """Returns a repository's weights from the cache, downloaded where they are not.

    Args:
      name: The repository.
      beside: Files that are fetched with them, of the same commit, where they are.

    Raises:
      WeightsError: There is no such repository, revision or file, it is not to be
        had without a token, or the hub cannot be reached and the cache lacks it.
    """
    # Only here: whoever brings a file needs no hub, and no half a second to load it.
    from huggingface_hub import errors

    wanted = (name.file,) if name.file else WEIGHTS
    for file in wanted:
        try:
            found = _fetch(name.repository, file, name.revision)
        except errors.EntryNotFoundError as error:
            if file == wanted[-1]:
                raise _refusal(name, wanted, error) from error
            continue
        # The library's own errors, the network's and the disk's have no other root.
        except Exception as error:
            raise _refusal(name, wanted, error) from error
        for other in beside:
            try:
                _fetch(name.repository, other, found.commit)
            except Exception as error:
                if not _is_absent(error):
                    raise _refusal(name, (other,), error) from error
        return found
    raise AssertionError("a loop over at least one file")


def _is_absent(error: Exception) -> bool:
    """Tells whether a file is not there, and not just out of reach."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError):
        return constants.HF_HUB_OFFLINE
    return isinstance(error, errors.EntryNotFoundError)


def _fetch(repository: str, file: str, revision: str) -> HubFile:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(repository, file, revision=revision))
    # The cache has a file at models--OWNER--NAME/snapshots/COMMIT/FILE.
    depth = len(Path(file).parts)
    return HubFile(path, path.parents[depth - 1].name)


def _refusal(name: HubName, files: tuple[str, ...], error: Exception) -> WeightsError:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        found = "its owner grants access by request: set HF_TOKEN to one that has it"
    elif isinstance(error, errors.RepositoryNotFoundError):
        found = "the hub has no such repository, or shows it to its owner's token only"
    elif isinstance(error, errors.RevisionNotFoundError):
        found = f"it has no revision {name.revision}"
    elif isinstance(error, errors.LocalEntryNotFoundError):
        found = (
            "HF_HUB_OFFLINE is set and the cache lacks it"
            if constants.HF_HUB_OFFLINE
            else f"{constants.ENDPOINT} cannot be reached and the cache lacks it"
        )
    elif isinstance(error, errors.EntryNotFoundError):
        found = "it has no such file"
    else:
        found = shorten(error)
    folder = Path(constants.HF_HUB_CACHE) / (
        f"models--{name.repository.replace('/', '--')}"
    )
    return WeightsError(
        f"Asked for weights {name}, of the hub's {name.repository} the file "
        f"{' or '.join(files)}: {found}. Bring the file and give its path as the "
        f"weights, or put it into the cache, at {folder}/snapshots/COMMIT/{files[0]} "
        f"with COMMIT as the text of {folder}/refs/{name.revision}."
    )
