"""DINOv2, as facebook, Hugging Face transformers and timm publish it.

Outputs: `embed`, `block0` and so on (class token, registers, then patches), `patches`
(facebook's `x_norm_patchtokens`), `cls` (its `x_norm_clstoken`) and `pool`, the same
vector. There is no classifier: it was trained without labels.

The positions were learned on 37 by 37 patches (518 pixels) and are interpolated for
every other size, which the publishers do in ways of their own; `positions` chooses:

* `facebook`: bicubic, without antialiasing, the scale computed from the new size and
  0.1; with registers: antialiased, from the size itself;
* `transformers`: the same but for the 0.1;
* `timm`: antialiased.

At 518 pixels all are the same.

References:
  Oquab et al. 2023, https://arxiv.org/abs/2304.07193
  Darcet et al. 2023, https://arxiv.org/abs/2309.16588
"""

from collections.abc import Iterable, Mapping

from tl_pipeline.backbones.architecture import (
    CLASSIFIER_PREFIX,
    Architecture,
    Rule,
    fill_settings,
)
from tl_pipeline.backbones.crops import center_crop
from tl_pipeline.backbones.published import list_checkpoints, say_how_to_get
from tl_pipeline.backbones.vision_layouts import timm_rules, transformers_rules
from tl_pipeline.backbones.vision_transformer import (
    Shape,
    VisionTransformer,
    check_input_size,
)
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

_SIZE = 224  # at which facebook evaluates; the positions were learned at 518

# (antialias, offset) by what `positions` says, without and with registers.
POSITIONS = {
    "facebook": ((False, 0.1), (True, 0.0)),
    "transformers": ((False, 0.0), (True, 0.0)),
    "timm": ((True, 0.0), (True, 0.0)),
}


def _shape(width: int, depth: int, heads: int, registers: int) -> Shape:
    return Shape(
        width, depth, heads, patch=14, grid=37, registers=registers, layer_scale=True
    )


VARIANTS = {
    "dinov2_small": _shape(384, 12, 6, 0),
    "dinov2_base": _shape(768, 12, 12, 0),
    "dinov2_large": _shape(1024, 24, 16, 0),
    "dinov2_small_registers": _shape(384, 12, 6, 4),
    "dinov2_base_registers": _shape(768, 12, 12, 4),
    "dinov2_large_registers": _shape(1024, 24, 16, 4),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant at an input size.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side, a multiple of 14; `positions`, one of
        `POSITIONS`.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    shape = VARIANTS[name]
    defaults = {"input_size": _SIZE, "positions": "facebook"}
    filled = fill_settings(name, settings, defaults)
    size = check_input_size(name, filled["input_size"], shape.patch)
    positions = filled["positions"]
    if not (isinstance(positions, str) and positions in POSITIONS):
        raise BackboneError(
            f"Asked for {name} with positions = {positions!r}; it takes "
            f"{', '.join(POSITIONS)}."
        )
    registers = shape.registers > 0
    antialias, offset = POSITIONS[positions][registers]
    shape = shape._replace(antialias=antialias, offset=offset)
    facebook = (
        ("mask_token", "", "same"),  # of training
        *timm_rules(shape, registers="register_tokens"),
    )
    prefixes = ("", "dinov2_with_registers." if registers else "dinov2.")
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size, interpolation="bicubic"),
        preprocesses={"timm": center_crop(size, share=1.0, interpolation="bicubic")},
        classes=None,
        make_network=lambda classes: VisionTransformer(shape, None),
        key_rules={
            # Without registers, facebook's mask token alone tells the two apart.
            "timm": _without_classifier(timm_rules(shape)),
            "facebook": _without_classifier(facebook),
            "transformers": _without_classifier(
                transformers_rules(shape, prefixes=prefixes)
            ),
        },
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _without_classifier(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if not rule[1].startswith(CLASSIFIER_PREFIX))
