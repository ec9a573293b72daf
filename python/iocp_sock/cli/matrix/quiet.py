"""The warnings that cells of the matrix are meant to run into."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from iocp_sock import NagleStallWarning, UnpostedReceiveWarning


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """In the block nobody is warned of what the table says cell by cell."""
    with warnings.catch_warnings():
        for category in (NagleStallWarning, UnpostedReceiveWarning):
            warnings.simplefilter("ignore", category)
        yield
