"""The recorded life of operations, also as a Chrome trace that Perfetto opens."""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from iocp_sock._core import PAGE_SIZE
from iocp_sock.chrome import chrome_events, write_events

if TYPE_CHECKING:
    from typing_extensions import Self

    from iocp_sock.port import Port

__all__ = ["Trace", "TraceEvent"]


_switching = threading.Lock()
"""Held while a trace starts or stops, so that the core and the port agree on it.

Acquired and released by explicit calls: a `with` would leave it held if its end found no memory for
its arguments.
"""


def _renew_lock() -> None:
    """Replace the lock in a forked child, where the thread that held it does not exist."""
    global _switching
    _switching = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class TraceEvent(NamedTuple):
    """One event of one operation."""

    time: int
    """Nanoseconds of the port's clock."""

    operation: int
    """The operation's number; no other operation of the port ever has it."""

    socket: int
    """The number of its socket, as in SocketStats.id."""

    fileno: int
    """The socket's descriptor or handle at that moment, -1 once it is closed."""

    kind: str
    """Operation.kind."""

    sending: bool
    """Whether the operation belongs to the socket's sending direction."""

    phase: str
    """'posted', 'queued' (held by the core), 'pending' (held by the kernel), 'cancelled' (a cancel
    was requested), 'charged' (after its post: admitted by the budget, or a subscription's next
    block), 'refunded', 'yielded' (a subscription gave a result), 'completed', 'dispatched' (handed
    out)."""

    nbytes: int
    """'posted': bytes requested; 'yielded': bytes of the result; else transferred so far."""

    charged: int
    """The operation's charge after the event, in bytes of whole pages."""

    ledger: int
    """The charge of the whole port after the event."""

    error: str | None
    """From 'completed' on: the errno's name of a system error, or 'cancelled', 'timed_out', ..."""


class Trace:
    """A trace of a port. It has events after stop() or the end of its `with` block.

    Iteration yields TraceEvents, oldest first. `write()` makes a file for ui.perfetto.dev.
    """

    def __init__(self, port: Port) -> None:
        self._port: Port | None = port
        self._recorded: dict[str, Any] = {"runs": [], "dropped": 0, "format": "="}

    @property
    def running(self) -> bool:
        """Whether events are still being recorded. They can be read only after the recording."""
        return self._port is not None

    @property
    def dropped(self) -> int:
        """The number of earlier events that the events of this trace overwrote."""
        dropped: int = self._recorded["dropped"]
        return dropped

    def stop(self) -> Self:
        """End the recording, if it still runs."""
        lock = _switching
        lock.acquire()
        try:
            if self._port is not None:
                self._take(self._port._stop_trace())
        finally:
            lock.release()
        return self

    def write(self, file: str | Path | IO[str]) -> None:
        """Write the trace as Chrome trace JSON, to a path or an open text file.

        The file has one process for each socket and one for the port, a track for each kind of
        operation of a socket, a span for each operation with spans for its phases, and the ledger's
        charge as a counter. Operations that were unfinished at either end of the recording are
        marked.
        """
        if isinstance(file, (str, Path)):
            with open(file, "w", encoding="utf-8") as opened:
                self.write(opened)
            return
        about = {"dropped_events": self.dropped, "page_size": PAGE_SIZE}
        write_events(file, chrome_events(self, self.dropped), about)

    def __len__(self) -> int:
        return sum(len(run) for run in self._recorded["runs"]) // self._size

    def __iter__(self) -> Iterator[TraceEvent]:
        recorded = self._recorded
        for run in recorded["runs"]:
            for fields in struct.iter_unpack(recorded["format"], run):
                yield self._event(*fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def _size(self) -> int:
        return struct.calcsize(self._recorded["format"]) or 1

    @classmethod
    def _start(cls, port: Port, events: int) -> Trace:
        trace = cls(port)
        lock = _switching
        lock.acquire()
        try:
            port._start_trace(events)
            port._trace = trace
        finally:
            lock.release()
        return trace

    @staticmethod
    def _stop(port: Port) -> Trace:
        lock = _switching
        lock.acquire()
        try:
            recorded = port._stop_trace()
            assert port._trace is not None
            return port._trace._take(recorded)
        finally:
            lock.release()

    def _take(self, recorded: dict[str, Any]) -> Trace:
        port, self._port = self._port, None
        assert port is not None
        port._trace = None
        self._recorded = recorded
        return self

    def _event(
        self,
        time: int,
        operation: int,
        socket: int,
        nbytes: int,
        charged: int,
        ledger: int,
        fileno: int,
        code: int,
        phase: int,
        kind: int,
        fault: int,
        _outcome: int,
        _unused: int,
    ) -> TraceEvent:
        recorded = self._recorded
        name: str = recorded["kinds"][kind]
        error: str | None = recorded["faults"][fault] or None
        if error in ("system", "resource") and code:
            error = errno.errorcode.get(code, str(code))
        return TraceEvent(
            time=time,
            operation=operation,
            socket=socket,
            fileno=fileno,
            kind=name,
            sending=name in recorded["sending"],
            phase=recorded["phases"][phase],
            nbytes=nbytes,
            charged=charged * PAGE_SIZE,
            ledger=ledger * PAGE_SIZE,
            error=error,
        )
