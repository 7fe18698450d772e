"""Where weights meet backbones: a name and a source string become a backbone."""

from collections.abc import Mapping
from pathlib import Path

from tl_pipeline.arrays import COMPUTE_DTYPES
from tl_pipeline.backbones.backbone import Backbone as Backbone
from tl_pipeline.backbones.own import is_own
from tl_pipeline.backbones.registry import (
    is_weightless,
    make_architecture,
    make_weightless,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError, WeightsError
from tl_pipeline.stages.checkpoints import open_checkpoint
from tl_pipeline.weights.source import PRETRAINED, parse_source


def load_backbone(
    name: str,
    *,
    weights: str | Path = PRETRAINED,
    compute_dtype: str = "float32",
    settings: Mapping[str, Json] | None = None,
) -> Backbone:
    """Loads a frozen network with its weights.

    Args:
      name: A name from `list_backbones`, or `package.module:factory`, a function of
        your own that returns an `OwnBackbone`.
      weights: A path to a file that `load_tensors` reads, `"pretrained"`,
        `"hf:OWNER/NAME[@REVISION][:FILE]"`, or `"random:SEED"`.
      compute_dtype: `"float32"`, or `"bfloat16"`, faster on accelerators.
      settings: The architecture's settings, plain data; defaults fill the rest.

    Raises:
      BackboneError: An unknown backbone, setting or compute dtype.
      WeightsError: The weights cannot be read or do not fit; all mismatches are listed.

    Example:
      >>> load_backbone("pixels").feature_shapes()
      {'pool': (3072,)}
    """
    if compute_dtype not in COMPUTE_DTYPES:
        raise BackboneError(
            f"Asked for {name} with compute dtype {compute_dtype!r}; known are "
            f"{', '.join(COMPUTE_DTYPES)}."
        )
    if is_own(name):
        from tl_pipeline.stages.own_backbones import load_own_backbone

        return load_own_backbone(
            name, weights=weights, compute_dtype=compute_dtype, settings=settings
        )
    if is_weightless(name):
        backbone = make_weightless(name, settings=settings)
        if str(weights) not in (PRETRAINED, backbone.weights):
            raise WeightsError(
                f"Asked for {name} with weights {str(weights)!r}: it has none to load. "
                "Leave the weights out."
            )
        return backbone
    architecture = make_architecture(name, settings=settings)
    source = parse_source(str(weights))
    # Only now, after what can be told without JAX: it takes two seconds to load.
    from tl_pipeline.backbones.network import NetworkBackbone, network_shapes
    from tl_pipeline.backbones.parameters import random_parameters

    if source.seed is not None:
        return NetworkBackbone(
            architecture,
            random_parameters(network_shapes(architecture, None), seed=source.seed),
            weights=source.text,
            origin={"kind": "random", "source_dataset": None, "license": None},
            compute_dtype=compute_dtype,
        )
    opened = open_checkpoint(architecture, source, settings=settings)
    return NetworkBackbone(
        opened.architecture,
        opened.merge(),
        weights=source.text,
        origin=opened.origin,
        compute_dtype=compute_dtype,
    )
