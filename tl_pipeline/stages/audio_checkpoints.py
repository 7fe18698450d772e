"""What lies beside the weights of an audio network: its front end, and what it is."""

from pathlib import Path

from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import AudioPreprocess
from tl_pipeline.stages.facts import CONFIG, check_facts, read_config
from tl_pipeline.weights.extractor_files import read_extractor, read_length


def imply_length(architecture: Architecture, folder: Path) -> dict[str, Json]:
    """Returns the settings that the files beside weights ask for.

    Args:
      architecture: With its defaults.
      folder: That of the weights.

    Raises:
      WeightsError: `config.json` is of another architecture, or a file beside the
        weights cannot be read.
    """
    check_facts(architecture, folder / CONFIG)
    if "max_length" not in architecture.settings:
        return {}
    said = read_length(folder) or read_config(folder / CONFIG).get("max_length")
    return {"max_length": said} if isinstance(said, int) else {}


def read_audio_preprocess(architecture: Architecture, folder: Path) -> AudioPreprocess:
    """Returns how recordings become inputs for weights.

    Args:
      architecture: With the settings that the weights imply.
      folder: That of the weights.

    Raises:
      WeightsError: What lies there is of another network, or cannot be read.
    """
    usual = architecture.preprocess
    assert isinstance(usual, AudioPreprocess)
    return read_extractor(folder, usual)
