"""docs/requirements.md lists the tests of each requirement, and is up to date."""

import runpy

import pytest

from support.places import ROOT

TOOL = ROOT / "tools" / "requirements.py"

pytestmark = pytest.mark.skipif(
    not (TOOL.is_file() and (ROOT / "docs").is_dir()),
    reason="this source tree lacks the directory tools or docs",
)


def test_page():
    tool = runpy.run_path(str(TOOL))
    tests = tool["held"]()
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["page"](tests), (
        "run python tools/requirements.py"
    )
    assert all(tests.values())
    assert len(tests) == 35
