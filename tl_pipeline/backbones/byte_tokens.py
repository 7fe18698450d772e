"""The tokenizer of networks without weights: a text's UTF-8 bytes.

Weights bring the tokenizer that they were trained with; where there are none, every
token is as good as another.
"""

from tl_pipeline.digest import bytes_digest, canonical_json
from tl_pipeline.preprocess import TextPreprocess


def byte_preprocess(max_length: int) -> TextPreprocess:
    """Returns the preprocessing that makes a text's bytes its tokens.

    Args:
      max_length: Most tokens of a text.
    """
    content = canonical_json(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "normalizer": None,
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
            "post_processor": None,
            "decoder": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            },
            "added_tokens": [],
            "model": {
                "type": "BPE",
                "vocab": {byte: i for i, byte in enumerate(_list_bytes())},
                "merges": [],
            },
        }
    )
    return TextPreprocess(bytes_digest(content.encode()), max_length, content)


def _list_bytes() -> list[str]:
    """Returns the character that stands for each byte, GPT-2's.

    A byte that is a printable character of Latin-1 stands for itself, the others for
    those from 256 on, in order.
    """
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in shown else next(others)) for byte in range(256)]
