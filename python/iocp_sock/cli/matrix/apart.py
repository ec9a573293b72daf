"""A port with a thread of its own to run it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from iocp_sock import Port


@contextlib.contextmanager
def run_apart(port: Port) -> Iterator[None]:
    """Let a new thread run the port during the block, and close the port at the end."""

    def run() -> None:
        with port:
            port.run()

    thread = threading.Thread(target=run, name="receiver", daemon=True)
    thread.start()
    try:
        yield
    finally:
        port.stop()
        thread.join()
