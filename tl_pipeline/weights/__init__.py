"""Checkpoints: where they are, how each format is read, how they merge into a network.

Names and arrays only: this part knows files, not networks.
"""
