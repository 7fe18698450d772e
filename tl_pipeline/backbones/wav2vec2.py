"""wav2vec 2.0, as Hugging Face transformers publishes it.

Outputs: `layer0` and so on, frames of 20 ms; see `audio_transformer`. What stands
behind a recording's end is left out of the norm over time, of the convolution of
positions and of attention, so that a recording is what transformers makes of it alone,
without padding, whatever length it is padded to here. The quantizer of pretraining and
heads are left out.

A window is 250,000 samples, 15.6 seconds: what the network saw at once in pretraining.

Reference:
  Baevski et al. 2020, https://arxiv.org/abs/2006.11477
"""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Architecture, Rule
from tl_pipeline.backbones.attention import Dense, LayerNorm, gelu
from tl_pipeline.backbones.audio_architecture import RATE, make_audio_architecture
from tl_pipeline.backbones.audio_transformer import Blocks, Shape
from tl_pipeline.backbones.recordings import KERNELS, STRIDES, count_frames
from tl_pipeline.backbones.temporal import ChannelNorm, PositionConv, TimeConv
from tl_pipeline.backbones.text_layouts import (
    dense_rules,
    joined_rules,
    norm_rules,
    unused_rules,
)
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import AudioPreprocess

VARIANTS = {
    "wav2vec2_base": Shape(768, 12, 12, length=250_000, pre_norm=False),
}
POSITION_KERNEL, POSITION_GROUPS = 128, 16


class Wav2Vec2(nnx.Module):
    """The network, on samples that are NaN behind a recording's end."""

    def __init__(self, shape: Shape):
        """Makes the network."""
        width = shape.width
        features = 2 * width // 3  # 512 of 768
        self.convs = nnx.List(
            [
                TimeConv(
                    features if i else 1,
                    features,
                    kernel=kernel,
                    stride=stride,
                    bias=False,
                )
                for i, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True))
            ]
        )
        self.first_norm = ChannelNorm(features, epsilon=1e-5)  # PyTorch's
        self.projection_norm = LayerNorm(features, epsilon=shape.epsilon)
        self.projection = Dense(features, width)
        self.positions = PositionConv(
            width, kernel=POSITION_KERNEL, groups=POSITION_GROUPS
        )
        self.norm = LayerNorm(width, epsilon=shape.epsilon)
        self.encoder = Blocks(shape)

    def __call__(self, samples: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, T] by name, in order."""
        there = ~jnp.isnan(samples)
        n = jnp.sum(there, axis=1)[:, None]
        x = jnp.where(there, samples, 0)[..., None]
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if not i:
                first = count_frames(n, kernels=KERNELS[:1], strides=STRIDES[:1])
                x = self.first_norm(x, jnp.arange(x.shape[1])[None] < first)
            x = gelu(x)
        mask = jnp.arange(x.shape[1])[None] < count_frames(n)
        x = self.projection(self.projection_norm(x))
        x = jnp.where(mask[..., None], x, 0)
        return self.encoder(self.norm(x + gelu(self.positions(x))), mask)


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings and errors as of `make_audio_architecture`."""
    return make_audio_architecture(
        name,
        VARIANTS[name],
        settings,
        make_preprocess=lambda shape, windows: AudioPreprocess(
            "waveform", RATE, shape.length, normalize=True, max_windows=windows
        ),
        make_network=Wav2Vec2,
        make_rules=lambda shape: {"transformers": tuple(_rules(shape))},
        make_facts=_list_facts,
    )


def _list_facts(shape: Shape) -> dict[str, Json]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "hidden_act": "gelu",
        "layer_norm_eps": shape.epsilon,
        "feat_extract_activation": "gelu",
        "feat_extract_norm": "group",
        "do_stable_layer_norm": False,
        "conv_bias": False,
        "conv_dim": [2 * shape.width // 3] * len(KERNELS),
        "conv_kernel": list(KERNELS),
        "conv_stride": list(STRIDES),
        "num_conv_pos_embeddings": POSITION_KERNEL,
        "num_conv_pos_embedding_groups": POSITION_GROUPS,
    }


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `Wav2Vec2Model`, bare or within a model with a head."""
    for prefix in ("", "wav2vec2."):
        convs = f"{prefix}feature_extractor.conv_layers"
        for i in range(len(KERNELS)):
            yield from dense_rules(f"{convs}.{i}.conv", f"convs.{i}", bias=False)
        yield from norm_rules(f"{convs}.0.layer_norm", "first_norm")
        projection = f"{prefix}feature_projection"
        yield from norm_rules(f"{projection}.layer_norm", "projection_norm")
        yield from dense_rules(f"{projection}.projection", "projection")
        encoder = f"{prefix}encoder"
        positions = f"{encoder}.pos_conv_embed.conv"
        yield f"{positions}.bias", "positions.bias", "same"
        normed = (
            f"{positions}.parametrizations.weight"  # of PyTorch 2; before, the first
        )
        for scale, kernel in (
            (f"{positions}.weight_g", f"{positions}.weight_v"),
            (f"{normed}.original0", f"{normed}.original1"),
        ):
            yield scale, "positions.scale", "flat"
            yield kernel, "positions.kernel", "torch"
        yield from norm_rules(f"{encoder}.layer_norm", "norm")
        for i in range(shape.depth):
            layer, block = f"{encoder}.layers.{i}", f"encoder.blocks.{i}"
            attention = f"{layer}.attention"
            yield from joined_rules(
                tuple(f"{attention}.{part}_proj" for part in "qkv"),
                f"{block}.attention.qkv",
            )
            yield from dense_rules(f"{attention}.out_proj", f"{block}.attention.out")
            yield from norm_rules(f"{layer}.layer_norm", f"{block}.norm1")
            feed = f"{layer}.feed_forward"
            yield from dense_rules(f"{feed}.intermediate_dense", f"{block}.mlp.up")
            yield from dense_rules(f"{feed}.output_dense", f"{block}.mlp.down")
            yield from norm_rules(f"{layer}.final_layer_norm", f"{block}.norm2")
        yield from unused_rules(f"{prefix}masked_spec_embed")
    yield from unused_rules("quantizer.*", "project_q.*", "project_hid.*", "lm_head.*")
    yield from unused_rules("projector.*", "classifier.*", "layer_weights")
