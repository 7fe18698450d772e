"""`extract`, `train` and `predict`: one stage each, by itself."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console, Wait
from tl_pipeline.config import PipelineConfig, make_config
from tl_pipeline.errors import RequestError

Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]
Settings = Annotated[
    list[str] | None, Parameter(name="--set", consume_multiple=True, negative=())
]


def extract(
    *,
    data: str,
    backbone: str,
    weights: str = "pretrained",
    features: Names = None,
    dataset: str | None = None,
    exclude: Names = None,
    path_column: str | None = None,
    text_column: str | None = None,
    target_column: Names = None,
    split_column: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    weight_column: str | None = None,
    slice_column: Names = None,
    store_root: str | None = None,
    store_dtype: str | None = None,
    batch_size: int | None = None,
    views: int | None = None,
    augment: str | None = None,
    val_size: float | None = None,
    test_size: float | None = None,
    compute_dtype: str | None = None,
    settings: Settings = None,
    retry_failed: Annotated[bool, Parameter(negative=())] = False,
    workers: int | None = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Run a dataset through a frozen backbone and cache its features.

    Only rows that the store does not hold are computed.

    Args:
      data: A folder, a table (.csv, .parquet, .jsonl), arrays (.npz, .h5), or a
        built-in such as builtin:digits.
      backbone: A name from `backbone ls`, or package.module:factory.
      weights: A file or folder, pretrained, or random:SEED.
      features: Outputs to cache: pool, stage3:avg, logits, ...; of texts sentence,
        layer6:mean, ...
      dataset: The dataset's name; default: the folder's.
      exclude: Patterns of ids to leave out.
      path_column: A table's column of files, or the array of images; default:
        path, image, audio or file; images or image.
      text_column: A table's column of texts; default: text, sentence or question.
      target_column: Likewise of targets; default: target or label. Several make one
        head of several labels or numbers.
      split_column: Likewise of train, val, test; default: split.
      group_column: Likewise of groups, which are split as one; default: group.
      id_column: Likewise of ids; default: id, else the path.
      weight_column: A column of sample weights to keep for training.
      slice_column: Columns to keep, by whose values heads are scored apart.
      store_root: The folder that holds the stores.
      store_dtype: float16 or float32.
      batch_size: Fixed when a store is made.
      views: Augmented views of each training example to cache beside it.
      augment: What they are made by: light or strong.
      val_size: Share of validation, where the data has no split.
      test_size: Share of test, likewise.
      compute_dtype: float32 or bfloat16.
      settings: Settings of the backbone, such as max_length=64 or max_windows=1.
      retry_failed: Try again what failed to decode before.
      workers: Decoding threads; default: one a core.
      wait: Wait for another process that writes the store, or fail.
    """
    from tl_pipeline.data.sources import load_dataset
    from tl_pipeline.progress import telling
    from tl_pipeline.reporting.summary import describe_extract
    from tl_pipeline.stages.backbones import load_backbone
    from tl_pipeline.stages.extract import extract as run_extract
    from tl_pipeline.stages.views import make_views

    console = Console(as_json=as_json)
    config = make_request(
        data={
            "source": data,
            "name": dataset,
            "exclude": exclude,
            "val_size": val_size,
            "test_size": test_size,
            "path": path_column,
            "text": text_column,
            "target": one_or_several(target_column),
            "split": split_column,
            "group": group_column,
            "id": id_column,
            "weight": weight_column,
            "slices": slice_column,
        },
        backbone={
            "name": backbone,
            "weights": weights,
            "features": features,
            "compute_dtype": compute_dtype,
            "settings": read_settings(settings, of="[backbone] settings"),
        },
        store={
            "root": store_root,
            "dtype": store_dtype,
            "batch_size": batch_size,
            "views": views,
            "augment": augment,
        },
    )
    loaded = load_dataset(
        data,
        name=config.data.name,
        exclude=config.data.exclude,
        columns=config.data.columns,
        targets=config.data.targets,
        keep=config.data.keep,
    )
    progress = console.progress()
    with telling(progress):
        network = load_backbone(
            config.backbone.name,
            weights=config.backbone.weights,
            compute_dtype=config.backbone.compute_dtype,
            settings=config.backbone.settings,
        )
    report = run_extract(
        loaded,
        network,
        features=config.backbone.features,
        store_root=config.store.root,
        store_dtype=config.store.dtype,
        batch_size=config.store.batch_size,
        val_size=config.data.val_size,
        test_size=config.data.test_size,
        retry_failed=retry_failed,
        workers=workers,
        wait=wait,
        views=make_views(config.store.views, config.store.augment),
        progress=progress,
    )
    plain = report.to_json()
    console.say(*describe_extract(plain))
    console.result(plain)


def train(
    *,
    store: str,
    run_root: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    targets: Path | None = None,
    features: Names = None,
    heads: Names = None,
    select_features: Annotated[
        list[float] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    l2: Annotated[
        list[float] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    k: Annotated[
        list[int] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    n_seeds: int | None = None,
    task: str | None = None,
    target_column: Names = None,
    weight_column: str | None = None,
    slice_column: Names = None,
    selection: str | None = None,
    n_folds: int | None = None,
    class_weight: str | None = None,
    unit_length: bool | None = None,
    standardize: bool | None = None,
    projection: str | None = None,
    n_components: float | None = None,
    ensemble: int | None = None,
    calibrate: bool | None = None,
    decide_by: str | None = None,
    learning_curve: Annotated[
        list[int] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    settings: Settings = None,
    max_failures: float | None = None,
    as_json: AsJson = False,
) -> None:
    """Train heads on cached features: no backbone, no input opened.

    Args:
      store: The store's folder.
      run_root: The folder that holds the runs.
      dataset: Which dataset of the store; needed where it has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
      targets: A CSV file of id,target: train on these labels instead.
      features: Which features, a+b for two side by side, all for every one of the
        store; default: each by itself.
      heads: Kinds of heads: linear, ridge, knn, centroid, mlp; dense512 and dense128,
        the classic ones on flattened and on averaged features; attention, over tokens
        or grids.
      select_features: Shares of the columns of a+b and of all to keep, those that
        matter most for the task, to choose from.
      l2: Strengths to choose from; default: a grid.
      k: Numbers of neighbors of knn to choose from.
      n_seeds: Repetitions where something is random.
      task: auto, multiclass, binary, multilabel or regression.
      target_column: Columns that are the targets, where they are several.
      weight_column: The column of sample weights.
      slice_column: Columns by whose values the head is scored apart.
      selection: Choose on val, by cv inside train, or auto, by how much val there is.
      n_folds: Of the cross-validation.
      class_weight: none, or balanced: every class counts the same.
      unit_length: Divide each row by its norm.
      standardize: Bring each feature to mean 0 and variance 1.
      projection: none, pca or whiten.
      n_components: Axes kept; below 1: share of the variance; 0: all.
      ensemble: Heads at most in an average of them that competes too.
      calibrate: Scale the chosen head's logits to honest probabilities.
      decide_by: What makes a probability a yes: half, or what is best by f1 or
        balanced_accuracy where heads are chosen.
      learning_curve: Also score heads of so many examples a class.
      settings: Any other key of [heads] in a pipeline.toml, such as hidden=[256,64] or
        optimizer=sgd; may be repeated.
      max_failures: Share of examples that may have failed.
    """
    from tl_pipeline.reporting.summary import describe_train
    from tl_pipeline.stages.train import train as run_train

    console = Console(as_json=as_json)
    config = make_request(
        data={"source": "unused", "max_failures": max_failures},
        backbone={"name": "unused"},
        heads={
            "kinds": heads,
            "features": features,
            "select_features": select_features,
            "l2": l2,
            "k": k,
            "n_seeds": n_seeds,
            "task": task,
            "selection": selection,
            "n_folds": n_folds,
            "class_weight": class_weight,
            "unit_length": unit_length,
            "standardize": standardize,
            "projection": projection,
            "n_components": n_components,
            "ensemble": ensemble,
            "calibrate": calibrate,
            "decide_by": decide_by,
            "learning_curve": learning_curve,
            **(read_settings(settings, of="[heads]") or {}),
        },
        run={"root": run_root},
    )
    report = run_train(
        store,
        run_root=config.run.root,
        dataset=dataset,
        snapshot=snapshot,
        targets=targets,
        target=target_column or (),
        weight=weight_column,
        slices=slice_column or (),
        max_failures=config.data.max_failures,
        progress=console.progress(),
        **config.heads.model_dump(),
    )
    plain = report.to_json()
    console.say(*describe_train(plain))
    console.result(plain)


def predict(
    run: Path,
    source: str,
    *,
    backbone: str | None = None,
    weights: str | None = None,
    path_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    workers: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Predict classes, labels or numbers of new examples with a run's head.

    Args:
      run: The run's folder, or DATASET.current.json for the run in use.
      source: A folder, a table, arrays, or one file.
      backbone: Must be the run's, which is the default.
      weights: Where the backbone's weights are now; must be the run's.
      path_column: A table's column of files; default: that of the run's dataset.
      text_column: Likewise of texts.
      id_column: Likewise of ids; default: id, else the path.
      workers: Decoding threads; default: one a core.
    """
    from tl_pipeline.stages.predict import predict as run_predict

    console = Console(as_json=as_json)
    columns = {"path": path_column, "text": text_column, "id": id_column}
    predictions = run_predict(
        run,
        source,
        backbone=backbone,
        weights=weights,
        columns={role: name for role, name in columns.items() if name is not None},
        workers=workers,
    )
    for one in predictions:
        console.say(f"{one.id}  {one.describe()}")
    console.result([one._asdict() for one in predictions])


def read_settings(texts: Sequence[str] | None, *, of: str) -> dict[str, Any] | None:
    """Reads `key=value`, the value as TOML has it, or a word of its own.

    Args:
      texts: What was given; None: nothing, which is returned.
      of: Whose keys they are, for messages.

    Raises:
      RequestError: A text is no such pair.

    Example:
      >>> read_settings(["hidden=[256, 64]", "optimizer=sgd"], of="[heads]")
      {'hidden': [256, 64], 'optimizer': 'sgd'}
    """
    if texts is None:
        return None
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not (equals and key and value.strip()):
            raise RequestError(
                f"Asked to set {text!r}: that is no key and value. Write it as "
                f"`--set key=50`, with a key of {of}."
            )
        try:
            settings[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key] = value.strip()
    return settings


def one_or_several(names: list[str] | None) -> str | list[str] | None:
    """Returns one name as itself: it is the role's column, not a list of one."""
    return names[0] if names and len(names) == 1 else names


def make_request(**sections: dict[str, object]) -> PipelineConfig:
    """Makes a configuration of the options that were given."""
    given = {
        section: {key: value for key, value in keys.items() if value is not None}
        for section, keys in sections.items()
    }
    return make_config(given, where="of the command line")
