"""The port of each thread, for sockets that are attached to no port of the program's own."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from iocp_sock.errors import ArgumentError
from iocp_sock.port import Port

__all__ = ["thread_port"]


_LINUX = sys.platform == "linux"


class _Own(threading.local):
    port: Port | None = None
    process: int = 0


_own = _Own()


def thread_port(**options: Any) -> Port:
    """The calling thread's own Port, made when it is first asked for, and again once it is closed.

    Sockets made by it count as attached to no port: they alone take completion routines, and
    whichever thread waits for their operations makes its turns, so nobody need run it. That rules
    out a ring, which belongs to one thread: on Linux the backend is epoll unless the options or
    IOCP_SOCK_BACKEND say otherwise. Its ledger and stats() are those of any port. It goes with its
    last socket once the thread has ended. The options are those of Port(); ArgumentError when the
    port is there already.
    """
    port = _own.port
    if port is None or _own.process != os.getpid() or port.closed:
        if _LINUX and not os.environ.get("IOCP_SOCK_BACKEND"):
            options.setdefault("backend", "epoll")
        port = Port(**options)
        port._take_routines()
        _own.port, _own.process = port, os.getpid()
    elif options:
        raise ArgumentError(22, "the thread's port is there already; close it to make another one")
    return port
