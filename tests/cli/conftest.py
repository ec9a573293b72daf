"""Fixture: a directory for the control sockets of commands."""

import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def runtime() -> Iterator[dict[str, str]]:
    """Return environment variables that give commands a temporary directory for control sockets.

    The path of the directory is short enough for an AF_UNIX address, unlike that of tmp_path.
    """
    path = tempfile.mkdtemp(prefix="iocp")
    yield {"XDG_RUNTIME_DIR": path, "TMPDIR": path}
    shutil.rmtree(path)
