"""Predict: new examples through the run's own backbone and head, and no other."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.sources import is_tabular, load_dataset
from tl_pipeline.errors import DatasetError, RequestError, TlPipelineError
from tl_pipeline.heads.head import Head
from tl_pipeline.places import find_place, is_url
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.spec import FeatureSpec, is_declared
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.inputs import InputFailure, Inputs, Wanted
from tl_pipeline.stages.joined import join_computed, split_name
from tl_pipeline.stages.lanes import Batches
from tl_pipeline.stages.originals import Recorded, find_recorded, load_again
from tl_pipeline.stages.targets import make_spec


class Prediction(NamedTuple):
    """What a head says of one example.

    Attributes:
      id: The example's id.
      label: The class predicted; None of labels and numbers.
      probabilities: Probability by class or label; empty of numbers.
      reason: Why it failed, else "". What failed has nothing else.
      labels: The labels that apply, where there are several.
      numbers: By target, of a regression.
    """

    id: str
    label: str | None
    probabilities: dict[str, float]
    reason: str = ""
    labels: tuple[str, ...] = ()
    numbers: Mapping[str, float] = {}

    def describe(self) -> str:
        """Returns what is predicted in a few words."""
        if self.reason:
            return f"failed: {self.reason}"
        if self.numbers:
            return "  ".join(f"{name} {x:.4g}" for name, x in self.numbers.items())
        named = self.labels if self.label is None else (self.label,)
        told = [f"{name}  {self.probabilities[name]:.3f}" for name in named]
        return "  ".join(told) or "none"


def predict(
    run: str | Path,
    source: str | Path,
    *,
    backbone: str | None = None,
    weights: str | None = None,
    columns: Mapping[str, str] | None = None,
    workers: int | None = None,
) -> list[Prediction]:
    """Predicts the classes of examples that need no label.

    The rows are computed as the store's were: same preprocessing, dtype and batch
    shape, so that an example of the store gets the very prediction it had there.

    Args:
      run: A run's folder, or a `.current.json`, which stands for the run in use.
      source: A dataset, as `load_dataset` takes it; or one image file.
      backbone: The backbone's name; by default the run's.
      weights: Its weights; by default from where the run had them.
      columns: As `load_dataset` takes them; by default those of `path` and `text` that
        the run's dataset had, or else those of conventional names.
      workers: Decoding threads; by default one a core.

    Returns:
      One prediction an example, sorted by id.

    Raises:
      NotFoundError: There is no such run.
      SpecMismatchError: Backbone, weights or preprocessing are not the run's; the
        message names every field that differs.
      WeightsError: The run's weights are no longer where they were.
    """
    loaded = load_run(Path(run))
    network = load_network(loaded, backbone, weights)
    head = Head.from_arrays(loaded.head, loaded.head_arrays())
    dataset = _load_unlabeled(source, loaded, columns)
    contents = digest_items(dataset, None, workers=workers)
    rows = [row.tobytes() for row in contents.content]
    items = {}
    for item, content in zip(contents.items, rows, strict=True):
        items.setdefault(content, []).append(item)
    inputs = Inputs(dataset, items)
    batches = Batches(
        network.make_forward(split_name(head.feature)),
        batch_size=int(loaded.provenance["batch_size"]),
        windowed=network.preprocess.windowed,
    )
    wanted = [Wanted(content, (network.preprocess,)) for content in items]
    reasons: dict[bytes, str] = {}
    computed: list[bytes] = []
    for content, outcomes in inputs.stream(wanted, workers=workers):
        outcome = outcomes[network.preprocess]
        if isinstance(outcome, InputFailure):
            reasons[content] = outcome.reason
        else:
            computed.append(content)
            batches.push(outcome)
    outputs = batches.finish()
    probabilities: dict[bytes, np.ndarray] = {}
    if outputs:
        # The head was trained on stored rows: round as the store does.
        stored = {
            name: rows.astype(loaded.spec["store_dtype"])
            for name, rows in outputs.items()
        }
        scores = head.predict(join_computed(head.feature, stored))
        probabilities = dict(zip(computed, scores, strict=True))
    predictions = [
        _prediction(item.id, probabilities.get(content), reasons.get(content), head)
        for item, content in zip(contents.items, rows, strict=True)
    ]
    failed = [Prediction(id, None, {}, reason) for id, reason in contents.unreadable]
    return sorted(predictions + failed)


def _load_unlabeled(
    source: str | Path, run: Run, columns: Mapping[str, str] | None
) -> Dataset:
    path = Path(source)
    if columns:
        return load_dataset(source, columns=columns)
    if is_url(str(source)) or not path.is_file() or is_tabular(path):
        with contextlib.suppress(DatasetError):
            return load_again(source, _find_columns(run), roles=("path", "text"))
        return load_dataset(source)
    item = Item(id=path.name, file=str(path.absolute()))
    return Dataset(name=path.name, source=str(source), items=(item,))


def _find_columns(run: Run) -> Recorded | None:
    place, name = str(run.provenance["store"]), str(run.provenance["dataset"])
    # The store may be gone since, or out of reach: the run does not need it.
    with contextlib.suppress(TlPipelineError, OSError):
        return find_recorded(find_place(place), name)
    return None


def load_network(
    run: Run, backbone: str | None = None, weights: str | None = None
) -> Backbone:
    """Loads the backbone whose rows a run's head takes; arguments as for `predict`.

    Raises:
      RequestError: The run's features were made elsewhere.
      SpecMismatchError: Backbone, weights or preprocessing are not the run's.
      WeightsError: The run's weights are no longer where they were.
    """
    stored = run.spec
    if is_declared(stored):
        raise RequestError(
            f"Asked to predict with run {run.path}: its features were imported, made "
            f"elsewhere by {stored['backbone']}, and nothing here computes such rows. "
            "Use a run on features that `tl-pipeline extract` computed."
        )
    network = load_backbone(
        backbone or str(stored["backbone"]),
        weights=weights or str(run.provenance["weights"]),
        compute_dtype=str(stored["compute_dtype"]),
        settings=None if backbone else stored["settings"],
    )
    wanted: FeatureSpec = make_spec(network, store_dtype=str(stored["store_dtype"]))
    run.check_spec(wanted.to_json())
    return network


def _prediction(
    id: str, scores: np.ndarray | None, reason: str | None, head: Head
) -> Prediction:
    if scores is None:
        return Prediction(id, None, {}, reason or "failed")
    by_name = dict(zip(head.classes, scores.tolist(), strict=True))
    guess = head.decide(scores)
    if head.task.is_single_class:
        return Prediction(id, head.classes[int(guess)], by_name)
    if head.task.kind == "regression":
        return Prediction(id, None, {}, numbers=by_name)
    labels = [
        name for name, applies in zip(head.classes, guess, strict=True) if applies
    ]
    return Prediction(id, None, by_name, labels=tuple(labels))
