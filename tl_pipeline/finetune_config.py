"""`[finetune]` of a `pipeline.toml`: how a network is trained on from a run."""

from typing import Annotated, Literal

from pydantic import Field

from tl_pipeline.digest import Json
from tl_pipeline.section import Above0, Augmentation, Names, Section, Share

Way = Literal["end-to-end", "split", "views", "scratch"]
Ways = Annotated[tuple[Way, ...], Field(strict=False)]


class FinetuneConfig(Section):
    """Training the backbone too, from the head that was chosen."""

    enabled: bool = Field(False, description="whether a run fine-tunes its head's run")
    ways: Ways = Field(
        ("end-to-end",),
        min_length=1,
        description="end-to-end; split: from rows cached before the first block "
        "trained; views: heads on cached views; scratch",
    )
    unfreeze: Literal["all"] | Names = Field(
        "all", description='blocks to train, ["stage3", "stage4"], or "all"'
    )
    unfreeze_last_blocks: int | None = Field(
        None, ge=0, description="so many blocks at the end instead"
    )
    unfreeze_every: int = Field(
        0, ge=0, description="epochs from one block to the next; 0: all at once"
    )
    learning_rate: Above0 = Field(
        1e-5, description="of the last block, after the warm-up"
    )
    head_learning_rate: Above0 = Field(1e-4, description="of the head")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="a block's rate, of the rate of the next one"
    )
    warmup: Share = Field(0.1, description="share of the updates; a cosine follows")
    weight_decay: float = Field(0.01, ge=0, description="of kernels, by AdamW")
    clip_norm: float = Field(1.0, ge=0, description="of the gradient; 0: not clipped")
    epochs: int = Field(20, ge=1, description="at most")
    patience: int = Field(5, ge=1, description="epochs without gain on val to stop at")
    batch_size: int = Field(32, ge=1, description="examples a step")
    gradient_accumulation: int = Field(1, ge=1, description="batches an update")
    augment: Literal["none", "light", "strong"] = Field(
        "light", description="none, light or strong; of split and views, the views"
    )
    augment_settings: Augmentation = Field(
        {},
        description="settings that differ from it: { rotation = 10.0 }; of texts "
        "{ token_dropping = 0.3 }, of recordings { time_masking = 0.1 }",
    )
    views: int = Field(
        0,
        ge=0,
        le=65535,
        description="cached: of split, at the cut; of views (0: 8)",
    )
    label_smoothing: Share = Field(0.0, description="share of a target spread evenly")
    head_dropout: Share = Field(0.0, description="share of features left out a step")
    compute_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="float32 or bfloat16; parameters stay float32"
    )
    remat: bool = Field(
        False, description="compute blocks again for gradients, in less memory"
    )
    from_scratch_head: bool = Field(
        False, description="begin with a head of zeros, not with the run's"
    )
    checkpoint_steps: int = Field(100, ge=1, description="steps between checkpoints")
    seed: int = Field(0, ge=0, description="of the order, views and dropout")

    def to_json(self) -> dict[str, Json]:
        """Returns what decides the outcome, as plain data."""
        return self.model_dump(mode="json", exclude={"enabled", "checkpoint_steps"})
