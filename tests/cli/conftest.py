"""Fixtures: a place for control sockets."""

import shutil
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def runtime() -> Iterator[dict[str, str]]:
    """Return variables that give commands the test's own directory for control sockets.

    Its path is short enough for a socket's name, unlike that of tmp_path.
    """
    path = tempfile.mkdtemp(prefix="iocp")
    yield {"XDG_RUNTIME_DIR": path, "TMPDIR": path}
    shutil.rmtree(path)
