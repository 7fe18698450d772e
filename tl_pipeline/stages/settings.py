"""The settings that `[heads]` asks for, as what is swept over."""

import itertools
from collections.abc import Mapping
from typing import Any

from tl_pipeline.heads.preparation import Steps
from tl_pipeline.heads.presets import PRESETS
from tl_pipeline.heads_config import HeadsConfig


def make_settings(kind: str, heads: HeadsConfig) -> list[Mapping[str, Any]]:
    """Returns the settings of a kind's heads: M mappings, the grid written out."""
    if kind == "knn":
        return [{"k": k} for k in heads.k]
    if kind == "centroid":
        return [{}]
    common: dict[str, Any] = {
        "epochs": heads.epochs,
        "label_smoothing": heads.label_smoothing,
        "schedule": heads.schedule,
        "schedule_arguments": heads.schedule_arguments,
    }
    seeds = range(heads.n_seeds)
    if kind in PRESETS:  # only how fast they learn is open
        known = PRESETS[kind].settings.to_json()
        return [
            {**known, **common, "learning_rate": learning_rate, "seed": seed}
            for learning_rate, seed in itertools.product(heads.learning_rate, seeds)
        ]
    common |= {
        "dropout_inputs": heads.dropout_inputs,
        "optimizer": heads.optimizer,
        "optimizer_arguments": heads.optimizer_arguments,
    }
    if kind == "attention":  # pooled, then linear: no hidden unit to drop
        return [
            {
                **common,
                "queries": heads.queries,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "seed": seed,
            }
            for learning_rate, weight_decay, seed in itertools.product(
                heads.learning_rate, heads.weight_decay, seeds
            )
        ]
    if kind == "mlp":
        crossed = itertools.product(
            heads.dropout, heads.learning_rate, heads.weight_decay, seeds
        )
        return [
            {
                **common,
                "hidden": heads.hidden,
                "activation": heads.activation,
                "dropout_hidden": dropout,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "seed": seed,
            }
            for dropout, learning_rate, weight_decay, seed in crossed
        ]
    given = {}
    if kind == "linear" and heads.label_smoothing:
        given["label_smoothing"] = heads.label_smoothing
    return [{"l2": strength, **given} for strength in heads.strengths]


def make_steps(heads: HeadsConfig) -> Steps:
    """Returns what is done to rows before a head."""
    return Steps(
        unit_length=heads.unit_length,
        standardize=heads.standardize,
        projection=heads.projection,
        n_components=heads.n_components,
    )
