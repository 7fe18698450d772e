"""`[heads]`: what is trained on the cached features, and how one is chosen."""

from typing import Annotated, Literal

from pydantic import Field

from tl_pipeline.digest import Json
from tl_pipeline.section import (
    Arguments,
    Counts,
    Kept,
    Name,
    Names,
    Section,
    Share,
    Shares,
    Strengths,
    Views,
)

# Half-decades, because selection cannot tell closer ones apart on a usual validation
# split. The loss is a mean, so a strength means the same at any N. The weak end all but
# interpolates and is what a million rows can bear; the strong end leaves little but the
# class frequencies. In between lies the usual C = 0.01 .. 100 of a few hundred rows:
# 0.4 down to 4e-5 for N = 245.
L2_GRID = tuple(float(f"{10 ** (exponent / 2):.3g}") for exponent in range(-12, 5))


class HeadsConfig(Section):
    """What is trained on the cached features."""

    kinds: tuple[
        Literal[
            "linear",
            "ridge",
            "knn",
            "centroid",
            "mlp",
            "attention",
            "dense512",
            "dense128",
        ],
        ...,
    ] = Field(
        ("linear",),
        strict=False,
        min_length=1,
        description="linear, ridge, knn, centroid, mlp, dense512, dense128; attention",
    )
    task: Literal["auto", "multiclass", "binary", "multilabel", "regression"] = Field(
        "auto", description="auto, multiclass, binary, multilabel or regression"
    )
    features: Names = Field(
        (),
        description="empty: each cached one; a+b: two as one; all: all as one",
    )
    select_features: Kept = Field(
        (), description="shares of a+b's and all's columns to keep, to choose from"
    )
    selection: Literal["auto", "val", "cv"] = Field(
        "auto", description="val, cv (cross-validation in train), or auto by size"
    )
    n_folds: int = Field(5, ge=2, le=100, description="of the cross-validation")
    l2: Strengths = Field(
        (), description="strengths to choose from; empty: a grid over 1e-6 .. 1e2"
    )
    k: Counts = Field(
        (5, 20), min_length=1, description="neighbors of knn to choose from"
    )
    queries: int = Field(1, ge=1, description="of attention over tokens or grids")
    hidden: Counts = Field((128,), description="units of each hidden layer of mlp")
    activation: Literal["relu", "gelu"] = Field(
        "relu", description="of mlp: relu or gelu"
    )
    dropout_inputs: Share = Field(
        0.0, description="share of features that a step of mlp or attention leaves out"
    )
    dropout: Shares = Field(
        (0.0, 0.5), min_length=1, description="of mlp's hidden units, to choose from"
    )
    learning_rate: Strengths = Field(
        (1e-3,),
        min_length=1,
        description="of mlp, attention and presets, to choose from",
    )
    weight_decay: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = (
        Field(
            (0.0, 1e-2),
            strict=False,
            min_length=1,
            description="likewise, but of presets",
        )
    )
    optimizer: Name = Field("adamw", description="of Optax, by name, but of presets")
    optimizer_arguments: Arguments = Field(
        {}, description="its own, such as { b1 = 0.8 }"
    )
    schedule: Name = Field(
        "constant_schedule", description="of Optax: cosine_decay_schedule, ..."
    )
    schedule_arguments: Arguments = Field({}, description="its own; else by the epochs")
    epochs: int = Field(100, ge=1, description="at most; they stop early")
    label_smoothing: Share = Field(
        0.0,
        description="share of a target spread over all classes; linear, mlp, attention",
    )
    views: Views = Field(
        (), description="cached views to train on too, to choose from; empty: 0 and all"
    )
    n_seeds: int = Field(
        3, ge=1, le=100, description="repetitions where something is random"
    )
    class_weight: Literal["none", "balanced"] = Field(
        "none", description="balanced: every class counts the same"
    )
    unit_length: bool = Field(False, description="divide each row by its norm first")
    standardize: bool = Field(True, description="each feature to mean 0, variance 1")
    projection: Literal["none", "pca", "whiten"] = Field(
        "none", description="none, pca, or whiten: pca with unit variances"
    )
    n_components: float = Field(
        0, ge=0, description="of pca; below 1: share of the variance; 0: all"
    )
    ensemble: int = Field(
        0, ge=0, description="heads at most in an average that competes too; 0: none"
    )
    calibrate: bool = Field(
        False, description="scale the chosen head's logits to honest probabilities"
    )
    decide_by: Literal["half", "f1", "balanced_accuracy"] = Field(
        "half",
        description="of binary and labels: the probability that makes a yes; or what "
        "is best by f1 or balanced_accuracy where heads are chosen",
    )
    learning_curve: Counts = Field(
        (), description="also score heads of so many examples a class"
    )

    @property
    def strengths(self) -> tuple[float, ...]:
        """The strengths of L2 regularization to choose from."""
        return self.l2 or L2_GRID

    def to_json(self) -> dict[str, Json]:
        """Returns every key with its value, the grid written out, as plain data."""
        return {**self.model_dump(mode="json"), "l2": list(self.strengths)}
