"""The list of what is not run on the model."""

import re
from pathlib import Path

import pytest

import model_lacks

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", [*model_lacks.FILES, *model_lacks.TESTS, *model_lacks.ELSEWHERE])
def test_names_what_there_is(name):
    """Each entry is of a test that there is, and of one only."""
    file, _, test = name.partition("::")
    source = (HERE / f"{file}.py").read_text()
    if test:
        assert file not in model_lacks.FILES
        assert re.search(rf"^def {test}\(", source, re.MULTILINE)
