"""The directories of the tests and the package, and the path for child processes."""

import os
from pathlib import Path

import pytest

import iocp_sock

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
PACKAGE = Path(iocp_sock.__file__).parents[1]

needs_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="the tests stand without the docs here")


def python_path(*first: str | Path) -> dict[str, str]:
    """Return a PYTHONPATH on which a child process finds the package and the tests' modules.

    This process's own stays at its end: pytest itself may lie there.
    """
    given = os.environ.get("PYTHONPATH")
    path = [*first, PACKAGE, TESTS, *([given] if given else [])]
    return {"PYTHONPATH": os.pathsep.join(map(str, path))}


def customized(directory: Path, program: str) -> dict[str, str]:
    """Return a PYTHONPATH on which each interpreter first runs the program."""
    (directory / "sitecustomize.py").write_text(program, encoding="utf-8")
    return python_path(directory)
