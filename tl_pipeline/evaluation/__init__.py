"""Evaluation: metrics, intervals, selection, and the verdict on the transfer."""
