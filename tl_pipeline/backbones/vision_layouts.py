"""Where published files keep the parameters of a vision transformer, layout by layout.

A rule is (name in the file, dotted name here, transform); see `Architecture.key_rules`.
"""

from collections.abc import Iterator, Sequence

from tl_pipeline.backbones.architecture import Rule
from tl_pipeline.backbones.vision_transformer import Shape

_LEAVES = (("weight", "scale"), ("bias", "bias"))
_QKV = ("query", "key", "value")


def timm_rules(shape: Shape, *, registers: str = "reg_token") -> Iterator[Rule]:
    """Yields the rules of timm's `VisionTransformer`, which facebook's names began.

    Args:
      shape: Of the network.
      registers: The name of the registers. As `reg_token` they come with positions
        of the patches alone: timm adds the class token's to it.
    """
    folded = shape.registers and registers == "reg_token"
    yield "cls_token", "cls_token", "rows"
    yield "pos_embed", "positions", "rows-after-zero" if folded else "rows"
    if shape.registers:
        yield registers, "registers", "rows"
    if shape.distilled:
        yield "dist_token", "dist_token", "rows"
        yield from dense_rules("head_dist", "classifier.distilled")
    yield from dense_rules("patch_embed.proj", "patch_embed")
    for i in range(shape.depth):
        block = f"blocks.{i}"
        for norm in ("norm1", "norm2"):
            yield from norm_rules(f"{block}.{norm}", f"{block}.{norm}")
        yield from dense_rules(f"{block}.attn.qkv", f"{block}.attention.qkv")
        yield from dense_rules(f"{block}.attn.proj", f"{block}.attention.out")
        yield from dense_rules(f"{block}.mlp.fc1", f"{block}.mlp.up")
        yield from dense_rules(f"{block}.mlp.fc2", f"{block}.mlp.down")
        if shape.layer_scale:
            for k in (1, 2):
                yield f"{block}.ls{k}.gamma", f"{block}.scale{k}.scale", "same"
    yield from norm_rules("norm", "norm")
    yield from dense_rules("head", "classifier")


def transformers_rules(shape: Shape, *, prefixes: Sequence[str]) -> Iterator[Rule]:
    """Yields the rules of Hugging Face transformers' published files.

    Args:
      shape: Of the network.
      prefixes: Those before the trunk's names; one with a head has its own.
    """
    for prefix in prefixes:
        yield from _transformers_trunk(shape, prefix)
    if shape.distilled:
        yield from dense_rules("cls_classifier", "classifier")
        yield from dense_rules("distillation_classifier", "classifier.distilled")
    else:
        yield from dense_rules("classifier", "classifier")


def _transformers_trunk(shape: Shape, prefix: str) -> Iterator[Rule]:
    embeddings = f"{prefix}embeddings"
    yield f"{embeddings}.cls_token", "cls_token", "rows"
    yield f"{embeddings}.position_embeddings", "positions", "rows"
    yield f"{embeddings}.mask_token", "", "same"  # of pretraining
    yield f"{prefix}pooler.dense.*", "", "same"  # `pool` is before it
    if shape.registers:
        yield f"{embeddings}.register_tokens", "registers", "rows"
    if shape.distilled:
        yield f"{embeddings}.distillation_token", "dist_token", "rows"
    yield from dense_rules(f"{embeddings}.patch_embeddings.projection", "patch_embed")
    # DINOv2's code has other names for what is ViT's.
    norms, mlp = (
        ("layernorm_before", "layernorm_after"),
        (
            "intermediate.dense",
            "output.dense",
        ),
    )
    if shape.layer_scale:
        norms, mlp = ("norm1", "norm2"), ("mlp.fc1", "mlp.fc2")
    for i in range(shape.depth):
        layer, block = f"{prefix}encoder.layer.{i}", f"blocks.{i}"
        for theirs, ours in zip(norms, ("norm1", "norm2"), strict=True):
            yield from norm_rules(f"{layer}.{theirs}", f"{block}.{ours}")
        for leaf, target in (("weight", "kernel"), ("bias", "bias")):
            yield (
                tuple(f"{layer}.attention.attention.{part}.{leaf}" for part in _QKV),
                f"{block}.attention.qkv.{target}",
                "torch",
            )
        yield from dense_rules(
            f"{layer}.attention.output.dense", f"{block}.attention.out"
        )
        for theirs, ours in zip(mlp, ("up", "down"), strict=True):
            yield from dense_rules(f"{layer}.{theirs}", f"{block}.mlp.{ours}")
        if shape.layer_scale:
            for k in (1, 2):
                yield (
                    f"{layer}.layer_scale{k}.lambda1",
                    f"{block}.scale{k}.scale",
                    "same",
                )
    yield from norm_rules(f"{prefix}layernorm", "norm")


def google_rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of google-research/vision_transformer's `.npz` files."""
    yield "cls", "cls_token", "rows"
    yield "Transformer/posembed_input/pos_embedding", "positions", "rows"
    for theirs, ours in (("embedding", "patch_embed"), ("head", "classifier")):
        for leaf in ("kernel", "bias"):
            yield f"{theirs}/{leaf}", f"{ours}.{leaf}", "same"
    for i in range(shape.depth):
        layer, block = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        attention = f"{layer}/MultiHeadDotProductAttention_1"
        for leaf in ("scale", "bias"):
            yield f"{layer}/LayerNorm_0/{leaf}", f"{block}.norm1.{leaf}", "same"
            yield f"{layer}/LayerNorm_2/{leaf}", f"{block}.norm2.{leaf}", "same"
        for leaf in ("kernel", "bias"):
            yield (
                tuple(f"{attention}/{part}/{leaf}" for part in _QKV),
                f"{block}.attention.qkv.{leaf}",
                "to-heads",
            )
            for k, ours in enumerate(("up", "down")):
                yield (
                    f"{layer}/MlpBlock_3/Dense_{k}/{leaf}",
                    f"{block}.mlp.{ours}.{leaf}",
                    "same",
                )
        yield f"{attention}/out/kernel", f"{block}.attention.out.kernel", "rows"
        yield f"{attention}/out/bias", f"{block}.attention.out.bias", "same"
    for leaf in ("scale", "bias"):
        yield f"Transformer/encoder_norm/{leaf}", f"norm.{leaf}", "same"


def dense_rules(source: str, target: str) -> Iterator[Rule]:
    """Yields the rules of PyTorch's kernel and bias, of dense layers and others."""
    yield f"{source}.weight", f"{target}.kernel", "torch"
    yield f"{source}.bias", f"{target}.bias", "same"


def norm_rules(source: str, target: str) -> Iterator[Rule]:
    """Yields the rules of PyTorch's LayerNorm."""
    for theirs, ours in _LEAVES:
        yield f"{source}.{theirs}", f"{target}.{ours}", "same"
