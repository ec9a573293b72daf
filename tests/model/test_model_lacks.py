"""Checks support/model_lacks.py, the list of tests that the model (Sim) cannot run."""

import re

import pytest

from support import model_lacks
from support.places import TESTS


@pytest.mark.parametrize("name", [*model_lacks.FILES, *model_lacks.TESTS, *model_lacks.ELSEWHERE])
def test_names_what_there_is(name):
    """Each entry of support/model_lacks.py names one existing test or file."""
    file, _, test = name.partition("::")
    paths = list(TESTS.rglob(f"{file}.py"))
    assert len(paths) == 1
    source = paths[0].read_text(encoding="utf-8")
    if test:
        assert file not in model_lacks.FILES
        assert re.search(rf"^def {test}\(", source, re.MULTILINE)
