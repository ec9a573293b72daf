"""Runs pytest in a process of its own, over a test file that a test writes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support import SLOWNESS
from support.places import PACKAGE, ROOT

PYPROJECT = ROOT / "pyproject.toml"
_ENTRIES = re.compile(
    r"^\[project\.entry-points\.pytest11\]\n(?P<lines>(?:[^\[\n]+\n)+)", re.MULTILINE
)


def run_pytest(directory: Path, program: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run pytest on a test program; pytest finds the package's plugin as if it were installed."""
    suite = directory / "suite"
    suite.mkdir()
    (suite / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    (suite / "test_program.py").write_text(program, encoding="utf-8")
    paths = [_registered(directory), PACKAGE]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", *options],
        cwd=suite,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=100 * SLOWNESS,
        check=False,
    )


def _registered(directory: Path) -> Path:
    """Write the plugin's entry points as an installer would; return the directory for sys.path."""
    found = _ENTRIES.search(PYPROJECT.read_text(encoding="utf-8"))
    assert found, "pyproject.toml registers no plugin"
    metadata = directory / "site" / "iocp_sock_of_this_tree-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: iocp-sock-of-this-tree\nVersion: 0\n", encoding="utf-8"
    )
    lines = found["lines"].replace('"', "")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{lines}", encoding="utf-8")
    return metadata.parent
