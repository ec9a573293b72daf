"""The warnings that cells of the matrix provoke on purpose."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from iocp_sock import NagleStallWarning, UnpostedReceiveWarning


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Suppress these warnings in the block, because the table reports the same for each cell."""
    with warnings.catch_warnings():
        for category in (NagleStallWarning, UnpostedReceiveWarning):
            warnings.simplefilter("ignore", category)
        yield
