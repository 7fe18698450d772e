"""Whether the fine-tuning at a pipeline's end can begin, asked before it does."""

from tl_pipeline.config import PipelineConfig
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.errors import RequestError
from tl_pipeline.stages.backbones import check_trainable
from tl_pipeline.stages.labels import choose_kind
from tl_pipeline.tasks import Task


def check_finetune(options: PipelineConfig, dataset: Dataset) -> None:
    """Raises where the run that a pipeline ends in cannot be fine-tuned.

    Args:
      options: Of the pipeline.
      dataset: Its examples, whose targets say the task where nobody asked for one.

    Raises:
      BackboneError: The backbone has no parameters that can be trained.
      RequestError: The task has no classes, or no head will be linear.
    """
    check_trainable(options.backbone.name)
    heads, tuned = options.heads, options.finetune
    kind, reason = choose_kind(heads.task, _read_targets(options, dataset))
    if not Task(kind, ()).is_single_class:
        raise RequestError(
            f"Asked to fine-tune on {dataset.name}: its task is {kind} ({reason}), and "
            "networks are trained on for classes alone. Leave [finetune] enabled = "
            "false, or name a target of classes."
        )
    anew = tuned.from_scratch_head or set(tuned.ways) == {"scratch"}
    if "linear" not in heads.kinds and not anew:
        raise RequestError(
            f"Asked to fine-tune from a head of kind {' or '.join(heads.kinds)}: only "
            "a linear one can go on a network. Add linear to [heads] kinds, or say "
            "from_scratch_head = true."
        )


def _read_targets(options: PipelineConfig, dataset: Dataset) -> list[list[str | None]]:
    """Returns the texts of each target column."""
    places = [dataset.column_names.index(name) for name in options.data.targets]
    if not places:
        return [[item.target for item in dataset.items]]
    return [[item.columns[place] for item in dataset.items] for place in places]
