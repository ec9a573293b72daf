"""The page that says which tests hold each requirement is what the tests say."""

import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "requirements.py"

pytestmark = pytest.mark.skipif(
    not (TOOL.is_file() and TOOL.parents[1].joinpath("docs").is_dir()),
    reason="the tests stand without tools and docs here",
)


def test_page():
    tool = runpy.run_path(str(TOOL))
    tests = tool["held"]()
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["page"](tests), (
        "run python tools/requirements.py"
    )
    assert all(tests.values())
    assert len(tests) == 34
