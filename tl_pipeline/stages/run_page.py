"""The page of a run, with what was measured of it since."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.reporting.html import make_report
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import Run
from tl_pipeline.runs.since import add_measured
from tl_pipeline.tasks import decide


def show_measured(run: Run, measured: Mapping[str, Json]) -> None:
    """Adds figures to a run, and makes its page anew.

    Args:
      run: The run.
      measured: Plain data by name: `robustness` of `measure_robustness`, or `finetune`
        of `FinetuneReport.to_json()`.

    Raises:
      FailedError: The run's folder cannot be locked.
      OSError: It cannot be written; the run stays as it was.
    """

    def make_page(since: Mapping[str, Json]) -> str:
        return make_report(
            asked=run.asked,
            provenance=run.provenance,
            spec=run.spec,
            metrics=run.metrics,
            mistakes=surest_mistakes(run.predictions()),
            since=since,
        )

    add_measured(run.report, measured, make_page=make_page)


def surest_mistakes(predictions: Predictions) -> list[dict[str, Any]]:
    """Lists the wrong test predictions of classes, the most confident first."""
    task, outputs = predictions.task, predictions.outputs
    if not task.is_single_class:
        return []
    guesses = decide(task, outputs, predictions.thresholds)
    sure = outputs[np.arange(len(outputs)), guesses]
    wrong = [
        i
        for i in np.argsort(-sure, kind="stable")
        if predictions.splits[i] == "test" and guesses[i] != predictions.targets[i]
    ]
    return [
        {
            "id": predictions.ids[i],
            "target": task.names[predictions.targets[i]],
            "predicted": task.names[guesses[i]],
            "probability": float(sure[i]),
        }
        for i in wrong
    ]
