"""Runs: one training each, with its head, metrics, predictions and report."""

from tl_pipeline.runs.predictions import Predictions as Predictions
from tl_pipeline.runs.predictions import read_predictions as read_predictions
from tl_pipeline.runs.predictions import write_predictions as write_predictions
from tl_pipeline.runs.run import Run as Run
from tl_pipeline.runs.run import find_run as find_run
from tl_pipeline.runs.run import list_runs as list_runs
from tl_pipeline.runs.run import load_run as load_run
from tl_pipeline.runs.run import run_identity as run_identity
from tl_pipeline.runs.run import write_run as write_run
