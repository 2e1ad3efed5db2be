"""The examples in docstrings are true."""

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import turnout


def _has_examples(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return found is not None and ">>> " in Path(str(found.origin)).read_text()


MODULES = [row.name for row in pkgutil.walk_packages(turnout.__path__, "turnout.")]
WITH_EXAMPLES = [module for module in MODULES if _has_examples(module)]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_docstring_come_out_as_written(module: str) -> None:
    done = doctest.testmod(importlib.import_module(module))
    assert done.attempted > 0
    assert done.failed == 0
