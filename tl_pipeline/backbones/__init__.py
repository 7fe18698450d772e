"""Frozen networks: one family a file, with its features, settings and key rules.

Importing this package, the registry or `pixels` loads no JAX; a family of networks
does, when it is asked for.
"""
