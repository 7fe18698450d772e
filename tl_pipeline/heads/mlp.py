"""Many heads of dense layers, trained by gradients in one compiled program."""

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.devices import Placement
from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, FeatureShapeError, TrainingError
from tl_pipeline.heads.device_memory import fits_on_device, telling_exhaustion
from tl_pipeline.heads.inputs import checked_rows, checked_views
from tl_pipeline.heads.lanes import (
    ResidentRows,
    StreamedRows,
    Trained,
    place_lanes,
    train_lanes,
)
from tl_pipeline.heads.minibatches import ArrayBatches, Minibatches
from tl_pipeline.heads.network import Layers, saved_arrays
from tl_pipeline.heads.settings import AttentionSettings, MlpSettings
from tl_pipeline.heads.training import Program, Rows, Strengths
from tl_pipeline.heads.weighting import Weighting, encode_targets, weigh
from tl_pipeline.tasks import LOSSES, Task

ClassWeight = ArrayLike | Literal["balanced"] | None
Features = ArrayLike | Minibatches


class MlpHeads(NamedTuple):
    """M trained heads, in the order of the settings asked for."""

    settings: tuple[MlpSettings, ...]
    arrays: tuple[dict[str, np.ndarray], ...]  # of each, as `outputs` takes them
    loss: np.ndarray  # [M] float32, of the epoch kept: on validation; see `fit_mlp`
    best_epoch: np.ndarray  # [M] int32, from 1; the epoch kept
    epochs: np.ndarray  # [M] int32, that were run
    failed: np.ndarray  # [M] bool; the loss was not finite: not to be used

    def take(self, heads: Sequence[int]) -> "MlpHeads":
        """Returns some of the heads, in the order of their indices given."""
        chosen = list(heads)
        return MlpHeads(
            tuple(self.settings[head] for head in chosen),
            tuple(self.arrays[head] for head in chosen),
            *(part[chosen] for part in self[2:]),
        )

    def settings_of(self, head: int) -> dict[str, Json]:
        """Returns what `Head.settings` holds of one head."""
        return self.settings[head].to_json()


def fit_mlp(
    features: Features,
    targets: ArrayLike,
    task: Task,
    *,
    settings: Sequence[MlpSettings],
    val: tuple[Features, ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    groups: Sequence[str] | None = None,
    views: ArrayLike | None = None,
    seed: int = 0,
) -> MlpHeads:
    """Trains M heads that share their features and their minibatches.

    Heads whose settings differ in strengths alone are one program; see `MlpSettings`.
    Without `val` a tenth of each head's examples, chosen by digest, is held out for
    early stopping. Minibatches give what an array gives, in the same order; an array
    that does not fit on the device is handed over batch by batch.

    Args:
      features: [N, ...] floating, prepared, flattened to [N, D]; or minibatches, whose
        size then takes the place of `batch_size`.
      targets: [N] or [N, K] as the task encodes them, of every row that minibatches
        yield; missing ones count neither in training nor in stopping.
      task: What is asked for.
      settings: M.
      val: Features and targets to stop by, of the shapes above.
      sample_weight: [N], or [M, N] with a row for each head, at least 0; 0 leaves an
        example out, and rows that minibatches do not yield need it.
      class_weight: [K], of classes or labels; `balanced`: every class weighs the same.
      groups: [N] names of examples that are held out together or not at all.
      views: [V, N, ...] other views of an array's rows: each epoch draws one of a row,
        or the plain one. None is held out, and of `val` there is none.
      seed: Of the order of rows, and of what is drawn.

    Returns:
      The heads. On a CPU the same input gives the same bytes; a head trained beside
      others equals one trained alone up to rounding. `loss` is unsmoothed, without
      penalty, of numbers in units of their variance; on train, with what was added to
      it, where `patience` is None.

    Raises:
      FeatureShapeError: Features, targets or `val` do not fit each other.
      DatasetError: A target is none of the task's, or none is left to train on.
      ConfigError: Settings or weights that are not usable.
      TrainingError: Features are not finite, or every head's loss was not.
    """
    if any(isinstance(one, AttentionSettings) for one in settings):
        raise ConfigError("Asked fit_mlp for attention: that is fit_attention.")
    return fit_heads(
        _flat(features),
        targets,
        task,
        settings=settings,
        val=None if val is None else (_flat(val[0]), val[1]),
        sample_weight=sample_weight,
        class_weight=class_weight,
        groups=groups,
        views=views,
        seed=seed,
    )


def _flat(features: Features) -> Features:
    if isinstance(features, Minibatches):
        return features
    features = np.asarray(features, np.float32)
    return features.reshape(len(features), -1) if features.ndim > 2 else features


def fit_heads(
    features: Features,
    targets: ArrayLike,
    task: Task,
    *,
    settings: Sequence[MlpSettings],
    val: tuple[Features, ArrayLike] | None,
    sample_weight: ArrayLike | None,
    class_weight: ClassWeight,
    groups: Sequence[str] | None,
    views: ArrayLike | None,
    seed: int,
) -> MlpHeads:
    """Trains heads of any kind on rows as they are; see `fit_mlp`, `fit_attention`."""
    if not settings:
        raise ConfigError("Asked to train heads of no settings. Give one at least.")
    features = checked_rows(features)
    val = None if val is None else (checked_rows(val[0]), val[1])
    shaped = None if views is None else checked_views(views, features)
    trained: list[Trained | None] = [None] * len(settings)
    for holds_out in (False, True):
        # Heads that run all epochs train on all rows.
        stops = [one.patience is not None for one in settings]
        wanted = [m for m, stop in enumerate(stops) if stop == holds_out]
        if not wanted:
            continue
        weight = None if sample_weight is None else np.asarray(sample_weight)
        if weight is not None and weight.ndim == 2 and len(weight) == len(settings):
            weight = weight[wanted]
        weighting = weigh(
            targets,
            task,
            n_heads=len(wanted),
            n_rows=len(features),
            sample_weight=weight,
            class_weight=class_weight,
            holds_out=holds_out and val is None,
            groups=groups,
        )
        chosen = [settings[m] for m in wanted]
        found = _fit_weighted(features, weighting, task, chosen, val, shaped, seed)
        for m, one in zip(wanted, found, strict=True):
            trained[m] = one
    done = [one for one in trained if one is not None]
    failed = np.array([one.failed for one in done])
    if failed.all():
        rates = sorted({one.learning_rate for one in settings})
        raise TrainingError(
            f"Training {len(done)} heads ended in non-finite numbers for each of them, "
            f"at learning rates {rates}. Standardize the features, or lower the "
            "learning rate."
        )
    return MlpHeads(
        tuple(settings),
        tuple(saved_arrays(one.parameters) for one in done),
        np.array([one.loss for one in done], np.float32),
        np.array([one.best_epoch for one in done], np.int32),
        np.array([one.epochs for one in done], np.int32),
        failed,
    )


def _fit_weighted(
    features: np.ndarray | Minibatches,
    weighting: Weighting,
    task: Task,
    settings: Sequence[MlpSettings],
    val: tuple[Features, ArrayLike] | None,
    views: np.ndarray | None,
    seed: int,
) -> list[Trained]:
    """Trains heads of which all stop early or none does, one program after another."""
    shape = _shape_of(features)
    drops = (
        any(one.dropout_inputs for one in settings),
        any(one.dropout_hidden for one in settings),
    )
    groups: dict[tuple[Program, int, int], list[int]] = {}
    for m, one in enumerate(settings):
        size = one.batch_size
        if isinstance(features, Minibatches):
            size = features.batch_size
        size = min(size, len(features))
        n_steps = one.epochs * -(-len(features) // size)
        program = _program_of(one, task, drops, shape[-1], n_steps)
        groups.setdefault((program, one.epochs, size), []).append(m)
    trained: list[Trained | None] = [None] * len(settings)
    for (program, epochs, size), heads in groups.items():
        placement = place_lanes(len(heads))
        rows = _rows_of(
            features, weighting, task, val, program, size, views, seed, placement
        )
        with telling_exhaustion(f"{len(heads)} heads on {len(features):,} rows"):
            found = train_lanes(
                program,
                _strengths_of([settings[m] for m in heads], weighting, heads),
                epochs=epochs,
                advance=rows.advance(program),
                placement=placement,
            )
        for m, one in zip(heads, found, strict=True):
            center = weighting.center[weighting.sets[m]]
            scale = weighting.scale[weighting.sets[m]]
            trained[m] = one._replace(
                parameters=_unscaled(one.parameters, program.layers, center, scale)
            )
    return [one for one in trained if one is not None]


def _shape_of(features: np.ndarray | Minibatches) -> tuple[int, ...]:
    if not isinstance(features, Minibatches):
        return features.shape
    for batch, _ in features.shuffled(seed=0, epoch=0):
        return batch.shape
    raise FeatureShapeError("Asked to train heads on minibatches that yield no row.")


def _program_of(
    one: MlpSettings,
    task: Task,
    drops: tuple[bool, bool],
    width: int,
    n_steps: int,
) -> Program:
    n_outputs = 1 if task.kind == "binary" else task.n_outputs
    layers = Layers(
        width=width,
        queries=one.queries if isinstance(one, AttentionSettings) else 0,
        hidden=tuple(one.hidden),
        activation=one.activation,
        n_outputs=n_outputs,
        drops_inputs=drops[0],
        drops_hidden=drops[1],
    )
    return Program(
        layers,
        LOSSES[task.kind],
        (one.optimizer, json.dumps(dict(one.optimizer_arguments), sort_keys=True)),
        (one.schedule, json.dumps(dict(one.schedule_arguments), sort_keys=True)),
        n_steps,
        one.patience is not None,
    )


def _strengths_of(
    settings: Sequence[MlpSettings], weighting: Weighting, heads: Sequence[int]
) -> Strengths:
    def each(name: str) -> np.ndarray:
        return np.array([getattr(one, name) for one in settings], np.float32)

    sets = weighting.sets[list(heads)]
    never = np.iinfo(np.int32).max
    return Strengths(
        learning_rate=each("learning_rate"),
        weight_decay=each("weight_decay"),
        dropout_inputs=each("dropout_inputs"),
        dropout_hidden=each("dropout_hidden"),
        smoothing=each("label_smoothing"),
        patience=np.array([one.patience or never for one in settings], np.int32),
        seed=np.array([one.seed for one in settings], np.int32),
        sets=sets,
        center=weighting.center[sets],
        scale=weighting.scale[sets],
    )


def _rows_of(
    features: np.ndarray | Minibatches,
    weighting: Weighting,
    task: Task,
    val: tuple[Features, ArrayLike] | None,
    program: Program,
    size: int,
    views: np.ndarray | None,
    seed: int,
    placement: Placement,
) -> ResidentRows | StreamedRows:
    """Returns the rows to train on and those to stop by, wherever they are."""
    n_sets = len(weighting.train)
    plain = features
    if not isinstance(features, Minibatches):
        n_bytes = features.nbytes + (0 if views is None else views.nbytes)
        if not fits_on_device(n_bytes):
            plain = ArrayBatches(features, batch_size=size)
            features = ArrayBatches(features, batch_size=size, views=views)
    is_streamed = isinstance(features, Minibatches)
    if not program.stops_early or val is None:
        source, targets, weights = plain, weighting.targets, weighting.held_out
    else:
        source = val[0]
        n = len(np.asarray(val[1]))
        targets = encode_targets(val[1], task, n=n)
        weights = np.ones((n_sets, n), np.float32)
    known = targets >= 0 if targets.ndim == 1 else ~np.isnan(targets)
    counted = (known.reshape(len(targets), -1) * weighting.column_weight).sum(axis=1)
    mass = weights @ counted
    weights = weights / np.where(mass > 0, mass, 1)[:, None].astype(np.float32)
    if is_streamed:
        table = Rows(None, targets, weights.astype(np.float32))
        if not isinstance(source, Minibatches):
            source = ArrayBatches(np.asarray(source), batch_size=size)
        validation = (source, table) if program.stops_early else None
        return StreamedRows(
            features, weighting, validation, seed=seed, placement=placement
        )
    if isinstance(source, Minibatches):
        raise ConfigError(
            "Asked to train on an array and to stop by minibatches. Give validation "
            "features as an array too."
        )
    used = weights.any(axis=0)
    validation = Rows(
        np.asarray(source)[used], targets[used], weights[:, used].astype(np.float32)
    )
    return ResidentRows(
        features,
        weighting,
        validation,
        batch_size=size,
        seed=seed,
        placement=placement,
        views=views,
    )


def _unscaled(
    parameters: dict[str, np.ndarray],
    layers: Layers,
    center: np.ndarray,
    scale: np.ndarray,
) -> dict[str, np.ndarray]:
    """Lets the last layer give numbers in their own units; classes stay as they are."""
    last = len(layers.widths) - 2
    kernel, bias = parameters[f"kernel_{last}"], parameters[f"bias_{last}"]
    columns = len(bias)
    scale, center = scale[:columns], center[:columns]
    return parameters | {
        f"kernel_{last}": kernel * scale[:, None],
        f"bias_{last}": bias * scale + center,
    }
