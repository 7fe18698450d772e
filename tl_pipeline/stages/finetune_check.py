"""Whether the fine-tuning at a pipeline's end can begin, asked before it does."""

from tl_pipeline.config import PipelineConfig
from tl_pipeline.errors import RequestError
from tl_pipeline.heads.affine import KINDS
from tl_pipeline.stages.backbones import check_trainable


def check_finetune(options: PipelineConfig) -> None:
    """Raises where the run that a pipeline ends in cannot be fine-tuned.

    Args:
      options: Of the pipeline.

    Raises:
      BackboneError: The backbone has no parameters that can be trained.
      RequestError: No head will be linear.
    """
    check_trainable(options.backbone.name)
    heads, tuned = options.heads, options.finetune
    anew = tuned.from_scratch_head or set(tuned.ways) <= {"views", "scratch"}
    if not anew and not set(KINDS) & set(heads.kinds):
        raise RequestError(
            f"Asked to fine-tune from a head of kind {' or '.join(heads.kinds)}: only "
            "a linear one can go on a network. Add linear to [heads] kinds, or say "
            "from_scratch_head = true."
        )
