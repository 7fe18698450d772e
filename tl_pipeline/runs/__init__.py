"""Runs: one training each, with its head, metrics, predictions and report."""
