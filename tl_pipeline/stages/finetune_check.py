"""Whether the fine-tuning at a pipeline's end can begin, asked before it does."""

from tl_pipeline.backbones.registry import make_architecture
from tl_pipeline.config import PipelineConfig
from tl_pipeline.errors import RequestError
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.heads.affine import KINDS
from tl_pipeline.preprocess import AudioPreprocess, ImagePreprocess, Preprocess
from tl_pipeline.stages.backbones import check_trainable


def check_finetune(options: PipelineConfig) -> None:
    """Raises where the run that a pipeline ends in cannot be fine-tuned.

    Args:
      options: Of the pipeline.

    Raises:
      BackboneError: The backbone has no parameters that can be trained.
      ConfigError: It takes texts or recordings, which are not augmented so.
      RequestError: No head will be linear, or texts or recordings are asked for what
        they do not have.
    """
    check_trainable(options.backbone.name)
    heads, tuned = options.heads, options.finetune
    architecture = make_architecture(
        options.backbone.name, settings=options.backbone.settings
    )
    check_inputs(architecture.preprocess, tuned)
    anew = tuned.from_scratch_head or set(tuned.ways) <= {"views", "scratch"}
    if not anew and not set(KINDS) & set(heads.kinds):
        raise RequestError(
            f"Asked to fine-tune from a head of kind {' or '.join(heads.kinds)}: only "
            "a linear one can go on a network. Add linear to [heads] kinds, or say "
            "from_scratch_head = true."
        )


def check_inputs(preprocess: Preprocess, config: FinetuneConfig) -> None:
    """Raises where texts or recordings are asked for what they do not have.

    Args:
      preprocess: Of the backbone.
      config: What was asked.

    Raises:
      ConfigError: Their augmentation has no such recipe or setting.
      RequestError: Views of them are asked for, or rows at a cut of recordings of
        several windows.
    """
    if isinstance(preprocess, ImagePreprocess):
        return
    # Only now: JAX takes a second to load, and most nights train nothing.
    from tl_pipeline.augmentation.recordings import make_masking
    from tl_pipeline.augmentation.tokens import make_dropping

    if isinstance(preprocess, AudioPreprocess):
        make_masking(config.augment, config.augment_settings)
    else:
        make_dropping(config.augment, config.augment_settings)
    if config.views or "views" in config.ways:
        raise RequestError(
            "Asked to fine-tune on views: the backbone takes "
            f"{preprocess.takes}, and views are of images alone. Leave them out."
        )
    if "split" not in config.ways or not isinstance(preprocess, AudioPreprocess):
        return
    if preprocess.max_windows != 1:
        raise RequestError(
            "Asked to fine-tune split: rows at a cut are of recordings of one window, "
            "and the backbone takes all of them. Extract with its setting max_windows "
            "= 1, train, and fine-tune from that run, or fine-tune end-to-end."
        )
