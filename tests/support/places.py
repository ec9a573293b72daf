"""The directories of the tests and the package, and the path for child processes."""

import os
from pathlib import Path

import pytest

import iocp_sock

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
PACKAGE = Path(iocp_sock.__file__).parents[1]

needs_docs = pytest.mark.skipif(not DOCS.is_dir(), reason="the directory docs is missing")


def python_path(*first: str | Path) -> dict[str, str]:
    """Return a PYTHONPATH on which a child process finds the package and the tests' modules.

    The PYTHONPATH of this process stays at the end, because pytest itself may be found there.
    """
    given = os.environ.get("PYTHONPATH")
    path = [*first, PACKAGE, TESTS, *([given] if given else [])]
    return {"PYTHONPATH": os.pathsep.join(map(str, path))}


def customized(directory: Path, program: str) -> dict[str, str]:
    """Return a PYTHONPATH that makes each interpreter run the program when it starts."""
    (directory / "sitecustomize.py").write_text(program, encoding="utf-8")
    return python_path(directory)
