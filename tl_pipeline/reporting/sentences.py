"""The sentences that a person repeats: how many, how long, how sure."""

from collections.abc import Mapping
from typing import Any


def format_duration(seconds: float) -> str:
    """Says a duration as a person would.

    Example:
      >>> [format_duration(s) for s in (0, 0.04, 3.21, 75, 2460, 9000, 400_000)]
      ['0 s', '0.04 s', '3.2 s', '75 s', '41 min', '2.5 h', '4.6 days']
    """
    # Each bound is where the smaller unit would be rounded up to it.
    if seconds < 0.995:
        return f"{seconds:.2g} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    if seconds < 119.5 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 47.95 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def format_bytes(n: int | None) -> str:
    """Says a number of bytes as a person would.

    Example:
      >>> [format_bytes(n) for n in (0, 999, 2048, 5 * 2**20, 3 * 2**40, None)]
      ['0 B', '999 B', '2.0 KiB', '5.0 MiB', '3.0 TiB', 'unknown']
    """
    if n is None:
        return "unknown"
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{n} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Says how many of something, in the right number.

    Args:
      n: How many.
      noun: What one of them is called.
      plural: What several are called; by default with an s.

    Example:
      >>> count(1, "row"), count(1200, "row"), count(0, "class", "classes")
      ('1 row', '1,200 rows', '0 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def describe_reuse(extracted: Mapping[str, Any]) -> str:
    """Says what an extraction reused, computed and saved.

    Example:
      >>> describe_reuse({"rows_reused": 99988, "rows_computed": 12,
      ...     "duplicates": 0, "failures": [], "seconds_saved": 2460.0})
      'reused 99,988, computed 12, saved about 41 min'
    """
    parts = [
        f"reused {extracted['rows_reused']:,}",
        f"computed {extracted['rows_computed']:,}",
    ]
    if extracted["duplicates"]:
        parts.append(f"duplicate {extracted['duplicates']:,}")
    if extracted["failures"]:
        parts.append(f"failed {len(extracted['failures']):,}")
    if extracted["seconds_saved"] and extracted["rows_reused"]:
        parts.append(f"saved about {format_duration(extracted['seconds_saved'])}")
    return ", ".join(parts)


def describe_interval(metric: Mapping[str, float]) -> str:
    """Says a figure with its 95 % interval.

    Example:
      >>> describe_interval({"value": 0.9608, "low": 0.928, "high": 0.987})
      '0.961 (95 % 0.928 to 0.987)'
    """
    return f"{metric['value']:.3f} (95 % {metric['low']:.3f} to {metric['high']:.3f})"


def describe_seeds(seeds: Mapping[str, Any]) -> str:
    """Says what the chosen setting scores over its seeds.

    Args:
      seeds: `n`, `measure`, and `test` with `mean` and `spread`.

    Example:
      >>> test = {"mean": 0.9312, "spread": 0.0041}
      >>> describe_seeds({"n": 3, "measure": "accuracy", "test": test})
      'Over the 3 seeds of its setting: test accuracy 0.931 ± 0.004'
    """
    mean, spread = seeds["test"]["mean"], seeds["test"]["spread"]
    return (
        f"Over the {seeds['n']} seeds of its setting: test {seeds['measure']} "
        f"{mean:.3f} ± {spread:.3f}"
    )


def describe_preprocess(preprocess: Mapping[str, Any]) -> str:
    """Says how inputs are prepared; takes `to_json()` of a preprocessing.

    Example:
      >>> describe_preprocess({"color": "rgb", "resize": "short", "resize_size": 256,
      ...   "size": [224, 224], "interpolation": "bilinear", "scale": 1 / 255,
      ...   "mean": [0.5] * 3, "std": [0.5] * 3})
      'rgb, shorter side to 256 (bilinear), center 224x224; \
(x / 255 - [0.5, 0.5, 0.5]) / [0.5, 0.5, 0.5]'
    """
    if preprocess.get("kind") == "bag":
        return f"{preprocess['decoder']}, words hashed into {preprocess['size']:,}"
    if preprocess.get("kind") == "vectors":
        return (
            f"{preprocess['decoder']}, words looked up as {preprocess['size']:,} "
            f"values, smoothing {preprocess['smoothing']:g}"
        )
    if preprocess.get("kind") == "text":
        return (
            f"{preprocess['decoder']}, tokenizer {preprocess['tokenizer'][:12]}, at "
            f"most {preprocess['max_length']:,} tokens"
        )
    if preprocess.get("kind") == "audio":
        return _describe_audio(preprocess)
    height, width = preprocess["size"]
    size = f"{height}x{width}"
    taken = {
        "short": f"shorter side to {preprocess['resize_size']} "
        f"({preprocess['interpolation']}), center {size}",
        "exact": f"whole image to {size} ({preprocess['interpolation']})",
        "none": f"{size} as they are",
    }[preprocess["resize"]]
    scale = preprocess["scale"]
    scaled = "x" if scale == 1 else f"x / {1 / scale:.5g}"
    mean, std = (
        "[" + ", ".join(f"{value:.5g}" for value in preprocess[key]) + "]"
        for key in ("mean", "std")
    )
    return f"{preprocess['color']}, {taken}; ({scaled} - {mean}) / {std}"


def _describe_audio(preprocess: Mapping[str, Any]) -> str:
    rate, length = preprocess["rate"], preprocess["length"]
    samples = length if preprocess["front_end"] == "waveform" else 160 * length
    bins, mean = f"{preprocess['bins']} mel bins, ", preprocess["mean"]
    sign = "+" if mean < 0 else "-"
    prepared = {
        "whisper": f"{bins}log10, 8 below the loudest at most",
        "kaldi": f"{bins}log as Kaldi's; (x {sign} {abs(mean):.5g}) / "
        f"{2 * preprocess['std']:.5g}",
        "waveform": "samples"
        + ", each window to mean 0 and variance 1" * preprocess["normalize"],
    }[preprocess["front_end"]]
    most = f", at most {preprocess['max_windows']:,}" * bool(preprocess["max_windows"])
    return (
        f"mean of channels, {rate:,} Hz ({preprocess['resampler']}), windows of "
        f"{samples / rate:g} s{most}; {prepared}"
    )
