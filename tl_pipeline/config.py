"""`pipeline.toml`: every key of a pipeline, validated whole before anything starts.

A default is written here and nowhere else. Unknown keys are errors that list the known
ones. Each key's description is also its comment in the file that `init` writes.
"""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, shorten
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.heads_config import HeadsConfig
from tl_pipeline.places import require_local
from tl_pipeline.section import (
    Arguments,
    Augmentation,
    Counts,
    Name,
    Names,
    Section,
    Share,
)

MAX_LISTED = 15  # unfit keys; there are not many more that fit


class DataConfig(Section):
    """The dataset: where its bytes are, and how it is split."""

    source: Name = Field(
        description="a folder, table, arrays, also in s3://BUCKET/, or builtin:digits"
    )
    name: Name | None = Field(None, description="default: the folder's or file's name")
    exclude: Names = Field((), description="patterns of ids to leave out")
    val_size: Share = Field(0.15, description="share, where the data has no split")
    test_size: Share = Field(0.15, description="likewise")
    max_failures: Share = Field(
        0.01, description="share of examples that may fail before heads are not trained"
    )
    path: Name | None = Field(
        None, description="a table's column of files; default: path, image, audio, file"
    )
    text: Name | None = Field(
        None, description="or of texts; default: text, sentence, question"
    )
    target: Name | Names | None = Field(
        None, description="likewise: target, label; or a list of columns"
    )
    split: Name | None = Field(None, description="likewise: split")
    group: Name | None = Field(
        None, description="likewise: group, which is split as one"
    )
    id: Name | None = Field(None, description="likewise: id; else the path is the id")
    weight: Name | None = Field(
        None, description="a table's column of sample weights for training"
    )
    slices: Names = Field(
        (), description="a table's columns by whose values heads are scored apart"
    )

    @property
    def columns(self) -> dict[str, str]:
        """The columns that have a name of their own, by role."""
        roles = ("path", "text", "target", "split", "group", "id")
        named = {role: getattr(self, role) for role in roles}
        return {role: name for role, name in named.items() if isinstance(name, str)}

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns of the targets, where a list names them."""
        return self.target if isinstance(self.target, tuple) else ()

    @property
    def keep(self) -> tuple[str, ...]:
        """The columns to keep beside those with a role."""
        return (*([self.weight] if self.weight else []), *self.slices)


class BackboneConfig(Section):
    """The frozen network and the outputs of it that are cached."""

    name: Name = Field(
        description="see `tl-pipeline backbone ls`; or package.module:factory"
    )
    weights: Name = Field(
        "pretrained", description="a file or folder, pretrained, or random:SEED"
    )
    features: Names = Field(
        ("pool",),
        min_length=1,
        description="OUTPUT or OUTPUT:avg|max|flatten|none; of texts and recordings "
        "cls|mean|last|max",
    )
    compute_dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="float32 or bfloat16"
    )
    settings: Arguments = Field(
        {}, description="of the network: { max_length = 64 }; of recordings max_windows"
    )


class StoreConfig(Section):
    """The feature stores."""

    root: Name = Field(
        "stores", description="the folder that holds the stores, or s3://BUCKET/KEY"
    )
    dtype: Literal["float16", "float32"] = Field(
        "float16", description="float16 or float32"
    )
    batch_size: int = Field(
        32, ge=1, le=4096, description="fixed when a store is made, then the store's"
    )
    views: int = Field(
        0, ge=0, le=65535, description="augmented views of each train example, cached"
    )
    augment: Name = Field("light", description="what views are made by: light, strong")
    augment_settings: Augmentation = Field(
        {}, description="settings that differ from it: { rotation = 10.0 }"
    )


class RunnerConfig(Section):
    """Who computes: this process, or others."""

    runner: Literal["local", "dask"] = Field(
        "local", description="local: this process; dask: the workers of Dask"
    )
    dask_address: Name | None = Field(
        None, description="tcp://HOST:8786 of a scheduler; default: workers here"
    )
    dask_workers: int = Field(
        2, ge=1, le=1024, description="how many start here, which share its cores"
    )


class ExtractConfig(RunnerConfig):
    """Who computes features."""


class SweepConfig(RunnerConfig):
    """Who fits heads: with dask, those of each kind and feature by themselves."""


class BaselinesConfig(Section):
    """What the head is compared with, to say whether the transfer helped."""

    names: Names = Field(
        ("pixels", "bag_of_words", "random:0"),
        description="pixels of images, bag_of_words of texts, random:SEED of all",
    )
    shots: Counts = Field(
        (5,), description="also compare at so many labeled examples a class"
    )
    n_train: int = Field(
        2000, ge=2, description="baselines run on at most so many train examples"
    )
    n_test: int = Field(2000, ge=1, description="likewise, of val and of test each")


class DriftConfig(Section):
    """What becomes of a night whose new examples look unlike the older ones."""

    action: Literal["none", "warn", "hold", "fail"] = Field(
        "warn", description="none: not tested; warn, hold the head in use, or fail"
    )
    alpha: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="chance of a false alarm, each night with new ones",
    )


class PromotionConfig(Section):
    """When a new head takes the place of the one in use."""

    enabled: bool = Field(True, description="whether a run ends in promote or hold")
    alpha: float = Field(
        0.05, gt=0, lt=1, description="chance of ever promoting noise, over all nights"
    )
    min_gain: float = Field(
        0.0, ge=0, description="points that it must gain, beyond noise in any case"
    )
    max_slice_loss: float = Field(
        5.0, ge=0, description="points that it may lose on a group of 20 or more"
    )


class RetentionConfig(Section):
    """What a run drops at its end."""

    snapshots: int = Field(
        0, ge=0, description="kept of each dataset in a store, with rows; 0: all"
    )
    runs: int = Field(
        0, ge=0, description="kept beside the one in use and the last; 0: all"
    )


class RunConfig(Section):
    """Where runs are kept."""

    root: Name = Field("runs", description="the folder that holds the runs")
    failure_webhook: Name | None = Field(
        None, description="a Prefect Webhook block that is told of a failed run"
    )


class PipelineConfig(Section):
    """One pipeline, as `pipeline.toml` describes it."""

    data: DataConfig
    backbone: BackboneConfig
    store: StoreConfig = StoreConfig()  # pyright: ignore[reportCallIssue]
    extract: ExtractConfig = ExtractConfig()  # pyright: ignore[reportCallIssue]
    heads: HeadsConfig = HeadsConfig()  # pyright: ignore[reportCallIssue]
    sweep: SweepConfig = SweepConfig()  # pyright: ignore[reportCallIssue]
    baselines: BaselinesConfig = BaselinesConfig()  # pyright: ignore[reportCallIssue]
    finetune: FinetuneConfig = FinetuneConfig()  # pyright: ignore[reportCallIssue]
    drift: DriftConfig = DriftConfig()  # pyright: ignore[reportCallIssue]
    promotion: PromotionConfig = PromotionConfig()  # pyright: ignore[reportCallIssue]
    retention: RetentionConfig = RetentionConfig()  # pyright: ignore[reportCallIssue]
    run: RunConfig = RunConfig()  # pyright: ignore[reportCallIssue]

    def to_json(self) -> dict[str, Json]:
        """Returns every key with its value, as plain data."""
        return self.model_dump(mode="json")


def load_config(path: Path) -> PipelineConfig:
    """Reads and validates a `pipeline.toml`.

    Relative paths in it are kept as they are: they are relative to where the command
    runs, like the ones typed on a command line. Where it names a network of the user's
    own, modules beside it can be imported from then on.

    Raises:
      ConfigError: The file is missing, is not TOML, or holds unknown or unfit keys;
        all of those are listed at once.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"Asked for the configuration {path}: there is no such file. "
            "`tl-pipeline init` writes one."
        ) from None
    except RecursionError:
        raise ConfigError(
            f"Configuration {path} nests brackets deeper than can be read. No key "
            "needs more than one list."
        ) from None
    # TOMLDecodeError and UnicodeDecodeError are ValueErrors; a number of thousands of
    # digits is a plain one.
    except ValueError as error:
        raise ConfigError(
            f"Configuration {path} is not TOML: {shorten(error)}. Mend that line."
        ) from None
    config = make_config(values, where=str(path))
    if ":" in config.backbone.name:
        # Last, so that no file there stands in for an installed module.
        sys.path.append(str(path.resolve().parent))
    return config


def make_config(values: Mapping[str, Any], *, where: str) -> PipelineConfig:
    """Validates a configuration given as nested plain data.

    Args:
      values: Sections of keys, as TOML or JSON gives them.
      where: What the message calls it: a path, or "the command line".

    Raises:
      ConfigError: Unknown or unfit keys, listed at once.
      RequestError: Runs are to be kept elsewhere than on this machine.
    """
    try:
        config = PipelineConfig.model_validate(dict(values))
    except pydantic.ValidationError as error:
        details = error.errors()
        # A list of which no item is fit counts as too short besides.
        lists = {detail["loc"][:-1] for detail in details}
        lines = [
            f"  {_explain(detail)}"
            for detail in details
            if detail["type"] != "too_short" or detail["loc"] not in lists
        ]
        if len(lines) > MAX_LISTED:
            lines[MAX_LISTED:] = [f"  and {len(lines) - MAX_LISTED:,} more"]
        listed = "\n".join(lines)
        raise ConfigError(
            f"Configuration {where} cannot be used:\n{listed}\n"
            "`tl-pipeline init` writes a commented one with every key."
        ) from None
    require_local(config.run.root, what="runs")
    return config


def make_heads_config(keys: Mapping[str, Any]) -> HeadsConfig:
    """Validates keys of `[heads]` alone.

    Raises:
      ConfigError: Unknown or unfit keys; all of them are listed at once.
    """
    return _make_alone("heads", keys).heads


def make_finetune_config(keys: Mapping[str, Any]) -> FinetuneConfig:
    """Validates keys of `[finetune]` alone.

    Raises:
      ConfigError: Unknown or unfit keys; all of them are listed at once.
    """
    return _make_alone("finetune", keys).finetune


def _make_alone(section: str, keys: Mapping[str, Any]) -> PipelineConfig:
    # Whatever stands elsewhere has its default or a name that is never looked at.
    values = {"data": {"source": "-"}, "backbone": {"name": "-"}, section: dict(keys)}
    return make_config(values, where=f"of the {section}")


def write_template(*, source: str, backbone: str, weights: str) -> str:
    """Writes a commented `pipeline.toml` with every key at its default.

    Args:
      source: The dataset, for `[data] source`.
      backbone: For `[backbone] name`.
      weights: For `[backbone] weights`.
    """
    given = {
        ("data", "source"): source,
        ("backbone", "name"): backbone,
        ("backbone", "weights"): weights,
    }
    lines: list[str] = []
    for section, field in PipelineConfig.model_fields.items():
        model = _section_model(field.annotation)
        lines += [f"# {model.__doc__}", f"[{section}]"]
        for key, info in model.model_fields.items():
            value = given.get((section, key), info.default)
            setting = f"{key} = {_toml(value)}"
            # TOML has no null: a key without a value stands as a comment.
            setting = f"# {setting}" if value is None else setting
            lines.append(f"{setting}  # {info.description}")
        lines.append("")
    return "\n".join(lines)


def _section_model(annotation: object) -> type[Section]:
    assert isinstance(annotation, type) and issubclass(annotation, Section)
    return annotation


def _toml(value: object) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        pairs = [f"{key} = {_toml(item)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)


def _explain(detail: Mapping[str, Any]) -> str:
    location = detail["loc"]
    key = shorten(".".join(str(part) for part in location))
    if detail["type"] != "extra_forbidden":
        found = (
            ""
            if detail["type"] == "missing"
            else f", found {shorten(repr(detail['input']))}"
        )
        return f"{key}: {detail['msg']}{found}"
    model: type[Section] = PipelineConfig
    for part in location[:-1]:
        model = _section_model(model.model_fields[str(part)].annotation)
    return f"{key}: unknown key; known are {', '.join(model.model_fields)}"
