"""The port of each thread, for sockets that are attached to no port of the program's own."""

from __future__ import annotations

import errno
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
    """Return the calling thread's own Port; make it at the first call, and again once it is closed.

    Its sockets count as attached to no port, and only they take completion routines. Any thread
    that waits for their operations makes the port's turns, so the program does not run it. On Linux
    the backend is epoll, unless the options or IOCP_SOCK_BACKEND name another, because an io_uring
    ring belongs to one thread. The port's ledger and stats() are those of any port. After the
    thread's end the port lives until its last socket is gone. The options are those of Port().
    Raises ArgumentError for options if the port exists already.
    """
    port = _own.port
    if port is None or _own.process != os.getpid() or port.closed:
        if _LINUX and not os.environ.get("IOCP_SOCK_BACKEND"):
            options.setdefault("backend", "epoll")
        port = Port(**options)
        port._take_routines()
        _own.port, _own.process = port, os.getpid()
    elif options:
        raise ArgumentError(
            errno.EINVAL,
            "this thread has a port already; call thread_port() without options, or close the port",
        )
    return port
