"""Published checkpoints of a family: where each is, and what is known of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tl_pipeline.digest import Json

IMAGENET_1K = "ImageNet-1k (ILSVRC 2012)"
IMAGENET_21K = "ImageNet-21k, then ImageNet-1k (ILSVRC 2012)"


class Checkpoint(NamedTuple):
    """Published weights.

    Attributes:
      hub: `owner/name` on the Hugging Face hub; "" where it is not there.
      dataset: What they were trained on.
      top1: Published top-1 accuracy on ImageNet in percent; None where unsure.
      file: The file's name there.
      license: Of the weights.
      url: Where the file is, for those not on the hub.
      measure: How `top1` was measured, where it was not by the file's own classifier.
    """

    hub: str
    dataset: str
    top1: float | None = None
    file: str = "model.safetensors"
    license: str = "Apache-2.0"
    url: str = ""
    measure: str = ""

    def describe(self) -> Mapping[str, Json]:
        """Returns it as `Architecture.checkpoints` has it."""
        facts: dict[str, Json] = {
            "name": self.hub or self.file,
            "file": self.file,
            "source_dataset": self.dataset,
            "license": self.license,
            "url": self.url or f"https://huggingface.co/{self.hub}",
            "digest": "unpinned",
        }
        if self.hub:
            facts["hub"] = self.hub
        if self.top1 is not None:
            facts["top1"] = self.top1
        if self.measure:
            facts["top1_measure"] = self.measure
        return facts


def how_to_get(checkpoints: Sequence[Checkpoint]) -> str:
    """Returns the sentence that says which file to bring."""
    first = checkpoints[0]
    place = first.describe()["url"]
    return f"Bring {first.file} of {place} and give its path as the weights."
