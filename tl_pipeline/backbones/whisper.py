"""Whisper's encoder, as Hugging Face transformers publishes it.

Outputs: `layer0` and so on, frames of 20 ms; see `audio_transformer`. The decoder is
left out. The encoder looks at all 30 seconds of a window, silence behind a recording's
end among them, as it was trained to; poolings look at the recording's frames alone.

Reference:
  Radford et al. 2022, https://arxiv.org/abs/2212.04356
"""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Architecture, Rule
from tl_pipeline.backbones.attention import gelu
from tl_pipeline.backbones.audio_architecture import RATE, make_audio_architecture
from tl_pipeline.backbones.audio_transformer import Blocks, Shape
from tl_pipeline.backbones.temporal import TimeConv
from tl_pipeline.backbones.text_layouts import (
    dense_rules,
    norm_rules,
    unused_rules,
)
from tl_pipeline.backbones.text_transformer import Embedding
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import AudioPreprocess


def _shape(width: int, depth: int, bins: int = 80) -> Shape:
    # Frames of 10 ms, 30 seconds of them.
    return Shape(width, depth, width // 64, length=3000, bins=bins, key_bias=False)


VARIANTS = {
    "whisper_tiny": _shape(384, 4),
    "whisper_base": _shape(512, 6),
    "whisper_small": _shape(768, 12),
    "whisper_medium": _shape(1024, 24),
    "whisper_large": _shape(1280, 32),
    "whisper_large_v3": _shape(1280, 32, bins=128),
}


class WhisperEncoder(nnx.Module):
    """The network, on log-mel frames."""

    def __init__(self, shape: Shape):
        """Makes the network."""
        width = shape.width
        self.conv1 = TimeConv(shape.bins, width, kernel=3, padding=1)
        self.conv2 = TimeConv(width, width, kernel=3, stride=2, padding=1)
        self.positions = Embedding(shape.length // 2, width)
        self.encoder = Blocks(shape)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, T, bins] by name, in order."""
        x = gelu(self.conv2(gelu(self.conv1(x))))
        return self.encoder(x + self.positions(jnp.arange(x.shape[1]))[None])


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings and errors as of `make_audio_architecture`."""
    return make_audio_architecture(
        name,
        VARIANTS[name],
        settings,
        make_preprocess=lambda shape, windows: AudioPreprocess(
            "whisper", RATE, shape.length, shape.bins, max_windows=windows
        ),
        make_network=WhisperEncoder,
        make_rules=lambda shape: {"transformers": tuple(_rules(shape))},
        make_facts=_list_facts,
    )


def _list_facts(shape: Shape) -> dict[str, Json]:
    return {
        "d_model": shape.width,
        "encoder_layers": shape.depth,
        "encoder_attention_heads": shape.heads,
        "encoder_ffn_dim": 4 * shape.width,
        "num_mel_bins": shape.bins,
        "max_source_positions": shape.length // 2,
        "activation_function": "gelu",
        "scale_embedding": False,
    }


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of the encoder of `WhisperModel`, bare or within another."""
    for prefix in ("model.", ""):
        encoder = f"{prefix}encoder"
        for conv in ("conv1", "conv2"):
            yield from dense_rules(f"{encoder}.{conv}", conv)
        yield f"{encoder}.embed_positions.weight", "positions.embedding", "same"
        for i in range(shape.depth):
            layer, block = f"{encoder}.layers.{i}", f"encoder.blocks.{i}"
            attention, qkv = f"{layer}.self_attn", f"{block}.attention.qkv"
            kernels = tuple(f"{attention}.{part}_proj.weight" for part in "qkv")
            yield kernels, f"{qkv}.dense.kernel", "torch"
            biases = tuple(f"{attention}.{part}_proj.bias" for part in "qv")
            yield biases, f"{qkv}.bias", "same"
            yield from dense_rules(f"{attention}.out_proj", f"{block}.attention.out")
            yield from norm_rules(f"{layer}.self_attn_layer_norm", f"{block}.norm1")
            yield from dense_rules(f"{layer}.fc1", f"{block}.mlp.up")
            yield from dense_rules(f"{layer}.fc2", f"{block}.mlp.down")
            yield from norm_rules(f"{layer}.final_layer_norm", f"{block}.norm2")
        yield from norm_rules(f"{encoder}.layer_norm", "encoder.norm")
        yield from unused_rules(f"{prefix}decoder.*")
    yield from unused_rules("proj_out.weight", "projector.*", "classifier.*")
    yield from unused_rules("layer_weights")
