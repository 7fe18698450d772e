"""The self-test of a checkpoint: is all of it used, and does it compute what it should.

On seeded pictures, and on labeled ones where there are any; see `check_backbone`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tl_pipeline.arrays import PARITY_TOLERANCE, row_difference
from tl_pipeline.backbones.own import is_own
from tl_pipeline.backbones.own_network import make_own
from tl_pipeline.backbones.published import find_checkpoint
from tl_pipeline.backbones.registry import (
    is_weightless,
    is_word_vectors,
    make_architecture,
)
from tl_pipeline.data.front_ends import make_windows
from tl_pipeline.data.preparing import prepare
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.tokenizing import HARD_TEXTS, encode_hard_texts
from tl_pipeline.digest import Json
from tl_pipeline.errors import MisfitError, RequestError
from tl_pipeline.preprocess import (
    AudioPreprocess,
    ImagePreprocess,
    Preprocess,
    TextPreprocess,
    VectorPreprocess,
)
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.checkpoints import Checkpoint, open_checkpoint
from tl_pipeline.stages.labeled_check import measure_on_data
from tl_pipeline.stages.own_backbones import open_own_checkpoint
from tl_pipeline.weights.source import PRETRAINED, parse_source

# (height, width) of pictures as cameras, the web and thumbnails have them.
SHAPES = ((375, 500), (500, 333), (48, 64), (768, 1024), (224, 224), (31, 257))
HALF = "bfloat16"
LARGEST_FLOAT16 = 65504


@dataclasses.dataclass(frozen=True)
class BackboneCheck:
    """What a self-test found.

    Attributes:
      backbone: Its name.
      weights: The source string.
      fine: Whether there are no problems.
      problems: Sentences, each a reason not to use these weights.
      notes: Sentences worth knowing.
      weights_origin: As `Backbone.weights_origin`; empty where nothing was loaded.
      tensors: How many tensors the file has, and what became of them: `file`, `used`,
        `left_out` (by rule), `elsewhere` (of another network in the file), `buffers`;
        and `parameters`, how many of the network's they are, `classifier`, whether it
        is among them. None where no file was read.
      features: By name: `shape`, `finite`, `largest`, and the largest relative
        difference in a row: `one_by_one` (of a batch from the same images alone),
        `bfloat16` (when computed in it), `float16` (when stored in it; None where a
        value is beyond it).
      data: What labeled pictures say, from `measure_on_data`; None without them.
    """

    backbone: str
    weights: str
    fine: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    weights_origin: Mapping[str, Json]
    tensors: Mapping[str, Json] | None
    features: Mapping[str, Mapping[str, Json]]
    data: Mapping[str, Json] | None

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def check_backbone(
    name: str,
    *,
    weights: str | Path = PRETRAINED,
    data: str | Path | None = None,
    settings: Mapping[str, Json] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> BackboneCheck:
    """Tests a checkpoint of a backbone.

    Every tensor of the file must be used or left out by a rule, and every parameter be
    in it. Every feature must be finite, on seeded noise in several shapes, on black and
    on white, and be the same for a batch as for each of its images alone.

    Args:
      name: As for `load_backbone`.
      weights: Likewise.
      data: A labeled dataset, as `load_dataset` takes it. A classifier of ImageNet is
        scored on it, if its labels are ImageNet's, and so are linear heads.
      settings: As for `load_backbone`.
      workers: Decoding threads; by default one a core.
      progress: What to tell as it goes on.

    Raises:
      BackboneError: There is no such backbone.
      WeightsError: The weights cannot be had or read; not where they do not fit.
      RequestError: The backbone has no weights.
      DatasetError: The data cannot be read, or has some labels that are not ImageNet's.
    """
    if not is_own(name) and is_weightless(name):
        raise RequestError(
            f"Asked to check {name}: it has no weights to check. Name another backbone."
        )
    try:
        exact = load_backbone(name, weights=weights, settings=settings)
    except MisfitError as error:
        return BackboneCheck(
            backbone=name,
            weights=str(weights),
            fine=False,
            problems=(str(error),),
            notes=(),
            weights_origin={},
            tensors=None,
            features={},
            data=None,
        )
    rough = load_backbone(name, weights=weights, settings=settings, compute_dtype=HALF)
    features = _measure(exact, rough)
    problems, notes = _judge(features)
    checkpoint = _open(name, str(weights), settings)
    if str(exact.weights_origin.get("preprocess", "")).startswith("usual"):
        notes.append(f"images are prepared as is {exact.weights_origin['preprocess']}")
    found = None
    if data is not None and not problems:
        found, more = measure_on_data(
            exact, rough, data, workers=workers, progress=progress or NoProgress()
        )
        found["published"] = _find_published(exact, checkpoint)
        notes += more
    return BackboneCheck(
        backbone=name,
        weights=exact.weights,
        fine=not problems,
        problems=tuple(problems),
        notes=tuple(notes),
        weights_origin=dict(exact.weights_origin),
        tensors=_account(checkpoint) if checkpoint else None,
        features=features,
        data=found,
    )


def make_inputs(preprocess: Preprocess) -> np.ndarray:
    """Returns seeded inputs: pictures, recordings, or texts that are hard to take.

    Returns:
      [B, ...] of the preprocessing's dtype.
    """
    if isinstance(preprocess, TextPreprocess):
        return encode_hard_texts(preprocess)
    if isinstance(preprocess, VectorPreprocess):
        return np.stack([prepare(t, preprocess).input for t in HARD_TEXTS.values()])
    if isinstance(preprocess, AudioPreprocess):
        return make_windows(preprocess)
    assert isinstance(preprocess, ImagePreprocess)
    return make_pictures(preprocess)


def make_pictures(preprocess: ImagePreprocess) -> np.ndarray:
    """Returns seeded inputs: noise in `SHAPES`, black, and white.

    Returns:
      [B, H, W, C] uint8, prepared as the backbone wants them.
    """
    rng = np.random.default_rng(0)
    shapes = SHAPES if preprocess.resize != "none" else (preprocess.size,) * len(SHAPES)
    pictures = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    pictures += [np.full((*shapes[0], 3), level, np.uint8) for level in (0, 255)]
    prepared = [preprocess_image(Image.fromarray(p), preprocess) for p in pictures]
    return np.stack(prepared)


def _measure(exact: Backbone, rough: Backbone) -> dict[str, dict[str, Json]]:
    names = _list_features(exact)
    inputs = make_inputs(exact.preprocess)
    forward = exact.make_forward(names)
    whole = {name: np.asarray(rows) for name, rows in forward(inputs).items()}
    alone = _run_one_by_one(forward, inputs)
    half = rough.make_forward(names)(inputs)
    return {
        name: {
            "shape": list(rows.shape[1:]),
            "finite": bool(np.isfinite(rows).all()),
            "largest": _plain(np.abs(rows).max()),
            "one_by_one": _plain(row_difference(rows, alone[name])),
            HALF: _plain(row_difference(rows, np.asarray(half[name]))),
            "float16": _plain(_difference_stored(rows)),
        }
        for name, rows in whole.items()
    }


def _list_features(backbone: Backbone) -> list[str]:
    """Returns all features, unpooled where they can be."""
    poolings = backbone.preprocess.poolings
    usual = "" if "none" in poolings else f":{poolings[0]}"
    return [
        name if len(shape) == 1 else f"{name}{usual}"
        for name, shape in backbone.feature_shapes().items()
    ]


def _run_one_by_one(forward, inputs: np.ndarray) -> dict[str, np.ndarray]:
    parts = [forward(inputs[i : i + 1]) for i in range(len(inputs))]
    return {
        name: np.concatenate([np.asarray(part[name]) for part in parts])
        for name in parts[0]
    }


def _difference_stored(rows: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        return row_difference(rows, rows.astype(np.float16))


def _plain(value: float) -> float | None:
    """Returns a number that JSON has."""
    return float(value) if np.isfinite(value) else None


def _judge(features: Mapping[str, Mapping[str, Json]]) -> tuple[list[str], list[str]]:
    problems, notes = [], []
    bound = PARITY_TOLERANCE["float32"]
    for name, facts in features.items():
        apart = facts["one_by_one"]
        if not facts["finite"]:
            problems.append(
                f"{name} is not finite on seeded inputs: the weights are damaged, or "
                "of another network with the same shapes."
            )
            continue
        if not isinstance(apart, float) or apart > bound:
            problems.append(
                f"{name} of a batch differs by {apart:.2g} from the same inputs one by "
                f"one; {bound:g} of a row's largest value is allowed."
            )
        if facts["float16"] is None:
            notes.append(
                f"{name} reaches {facts['largest']:,.0f}, and float16 ends at "
                f"{LARGEST_FLOAT16:,}: store it with --store-dtype float32."
            )
    return problems, notes


def _open(
    name: str, weights: str, settings: Mapping[str, Json] | None
) -> Checkpoint | None:
    """Opens the file once more, for what stands in it."""
    source = parse_source(weights)
    if source.seed is not None or is_word_vectors(name):
        return None
    if not is_own(name):
        return open_checkpoint(
            make_architecture(name, settings=settings), source, settings=settings
        )
    if source.kind == PRETRAINED:
        return None
    return open_own_checkpoint(make_own(name, settings=settings), source)


def _account(checkpoint: Checkpoint) -> dict[str, Json]:
    account = checkpoint.account()
    used = {source for rule in account.used.values() for source in rule.sources}
    left_out = {rule: len(names) for rule, names in account.left_out.items()}
    all_left_out = checkpoint.origin.get("left_out", 0)
    assert isinstance(all_left_out, int)
    elsewhere = all_left_out - sum(left_out.values())
    found = len(used) + sum(left_out.values()) + elsewhere
    prefix = checkpoint.optional
    return {
        "file": checkpoint.n_tensors,
        "layout": checkpoint.layout,
        "used": len(used),
        "left_out": left_out,
        "elsewhere": elsewhere,
        "buffers": checkpoint.n_tensors - found,
        "parameters": len(account.used),
        "classifier": bool(prefix)
        and any(name.startswith(prefix) for name in account.used),
    }


def _find_published(
    backbone: Backbone, checkpoint: Checkpoint | None
) -> dict[str, Json] | None:
    """Returns the published top-1 of these very weights, in percent."""
    if checkpoint is None:
        return None
    origin: Mapping[str, Json] = backbone.weights_origin
    known: Sequence[Mapping[str, Json]] = checkpoint.architecture.checkpoints
    found = find_checkpoint(
        known,
        file=str(origin["file"]),
        sha256=str(origin["sha256"]),
        layout=checkpoint.layout,
        hub=str(origin.get("hub") or ""),
    )
    if found is None or "top1" not in found:
        return None
    return {key: found.get(key) for key in ("name", "top1", "top1_measure")}
