"""The examples in docstrings run, in the package that is installed."""

import doctest
import importlib
import pkgutil

import pytest

import tl_pipeline

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tl_pipeline.__path__, "tl_pipeline.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        example
        for name in MODULES
        for found in finder.find(importlib.import_module(name))
        for example in found.examples
    ]
    assert len(examples) > 30
