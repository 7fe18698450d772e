"""The Audio Spectrogram Transformer, as Hugging Face transformers publishes it.

Outputs: `layer0` and so on, of two class tokens and then the patches, bin by bin; see
`audio_transformer`; and `pooler` [D], the mean of both class tokens after the last
norm, which its classifier takes. That is left out.

Reference:
  Gong et al. 2021, https://arxiv.org/abs/2104.01778
"""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Architecture, Rule
from tl_pipeline.backbones.audio_architecture import RATE, make_audio_architecture
from tl_pipeline.backbones.audio_transformer import Blocks, Shape
from tl_pipeline.backbones.convolution import convolve
from tl_pipeline.backbones.recordings import CLASS_TOKENS, PATCH, PATCH_STRIDE
from tl_pipeline.backbones.text_layouts import (
    dense_rules,
    joined_rules,
    norm_rules,
    unused_rules,
)
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import AudioPreprocess

# Frames of 10 ms: a window is 10.24 seconds.
VARIANTS = {"ast_base": Shape(768, 12, 12, length=1024, bins=128, epsilon=1e-12)}
MEAN, STD = -4.2677393, 4.5689974  # of AudioSet


class Patches(nnx.Module):
    """Squares of bins and frames, which overlap, become one vector each."""

    def __init__(self, width: int):
        """Makes a kernel [PATCH, PATCH, 1, D] and a bias [D] of zeros."""
        self.kernel = nnx.Param(jnp.zeros((PATCH, PATCH, 1, width)))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, bins] to [B, patches, D], all frames of the lowest bins first."""
        image = x.swapaxes(1, 2)[..., None]
        out = convolve(image, self.kernel[...], stride=PATCH_STRIDE, padding=0)
        out = out + self.bias[...].reshape(1, 1, 1, -1)
        return out.reshape(len(x), -1, out.shape[-1])


class SpectrogramTransformer(nnx.Module):
    """The network, on log-mel frames."""

    def __init__(self, shape: Shape):
        """Makes the network."""
        width = shape.width
        rows, columns = (
            len(range(0, size - PATCH + 1, PATCH_STRIDE))
            for size in (shape.bins, shape.length)
        )
        self.patches = Patches(width)
        self.cls_token = nnx.Param(jnp.zeros((1, width)))
        self.dist_token = nnx.Param(jnp.zeros((1, width)))
        self.positions = nnx.Param(jnp.zeros((CLASS_TOKENS + rows * columns, width)))
        self.encoder = Blocks(shape)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, T, bins] by name, in order."""
        patches = self.patches(x)
        tokens = jnp.concatenate([self.cls_token[...], self.dist_token[...]])[None]
        tokens = jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:]))
        x = jnp.concatenate([tokens, patches], axis=1) + self.positions[...][None]
        outputs = self.encoder(x)
        last = outputs[f"layer{len(outputs) - 1}"]
        return outputs | {"pooler": (last[:, 0] + last[:, 1]) / 2}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings and errors as of `make_audio_architecture`."""
    return make_audio_architecture(
        name,
        VARIANTS[name],
        settings,
        make_preprocess=lambda shape, windows: AudioPreprocess(
            "kaldi", RATE, shape.length, shape.bins, MEAN, STD, max_windows=windows
        ),
        make_network=SpectrogramTransformer,
        make_rules=lambda shape: {"transformers": tuple(_rules(shape))},
        make_facts=_list_facts,
        has_length=True,
    )


def _list_facts(shape: Shape) -> dict[str, Json]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "hidden_act": "gelu",
        "layer_norm_eps": shape.epsilon,
        "qkv_bias": True,
        "patch_size": PATCH,
        "frequency_stride": PATCH_STRIDE,
        "time_stride": PATCH_STRIDE,
        "num_mel_bins": shape.bins,
    }


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `ASTModel`, bare or within a model with a head."""
    for prefix in ("", "audio_spectrogram_transformer."):
        embeddings = f"{prefix}embeddings"
        yield f"{embeddings}.cls_token", "cls_token", "rows"
        yield f"{embeddings}.distillation_token", "dist_token", "rows"
        yield f"{embeddings}.position_embeddings", "positions", "rows"
        yield from dense_rules(f"{embeddings}.patch_embeddings.projection", "patches")
        for i in range(shape.depth):
            layer, block = f"{prefix}encoder.layer.{i}", f"encoder.blocks.{i}"
            attention = f"{layer}.attention"
            yield from joined_rules(
                tuple(f"{attention}.attention.{p}" for p in ("query", "key", "value")),
                f"{block}.attention.qkv",
            )
            yield from dense_rules(
                f"{attention}.output.dense", f"{block}.attention.out"
            )
            yield from norm_rules(f"{layer}.layernorm_before", f"{block}.norm1")
            yield from dense_rules(f"{layer}.intermediate.dense", f"{block}.mlp.up")
            yield from dense_rules(f"{layer}.output.dense", f"{block}.mlp.down")
            yield from norm_rules(f"{layer}.layernorm_after", f"{block}.norm2")
        yield from norm_rules(f"{prefix}layernorm", "encoder.norm")
    yield from unused_rules("classifier.*")
