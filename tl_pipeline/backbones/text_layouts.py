"""Where published files keep the parameters of a text transformer.

A rule is (name in the file, dotted name here, transform); see `Architecture.key_rules`.
"""

from collections.abc import Iterator

from tl_pipeline.backbones.architecture import UNUSED, Rule

# PyTorch's names of a norm's leaves, and those of BERT's first files, from TensorFlow.
_NORM = (
    ("weight", "scale"),
    ("bias", "bias"),
    ("gamma", "scale"),
    ("beta", "bias"),
)


def dense_rules(
    source: str, target: str, transform: str = "torch", *, bias: bool = True
) -> Iterator[Rule]:
    """Yields the rules of a dense layer."""
    yield f"{source}.weight", f"{target}.kernel", transform
    if bias:
        yield f"{source}.bias", f"{target}.bias", "same"


def joined_rules(sources: tuple[str, ...], target: str) -> Iterator[Rule]:
    """Yields the rules of dense layers that are one here."""
    for leaf, ours in (("weight", "kernel"), ("bias", "bias")):
        names = tuple(f"{source}.{leaf}" for source in sources)
        yield names, f"{target}.{ours}", "torch"


def norm_rules(source: str, target: str) -> Iterator[Rule]:
    """Yields the rules of a LayerNorm, under the old names too."""
    for theirs, ours in _NORM:
        yield f"{source}.{theirs}", f"{target}.{ours}", "same"


def unused_rules(*names: str) -> Iterator[Rule]:
    """Yields the rules of tensors that no output needs; a name may end in `*`."""
    for name in names:
        yield name, UNUSED, "same"
