"""Chrome's trace event format, which Perfetto and chrome://tracing read.

Spans are nestable asynchronous events ("b" and "e"), because operations of one socket overlap; the
spans of one operation share its `id`. Perfetto gives every name within a process a track of its
own. So each socket is a process, and a name gives the kind of operation and its phase.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iocp_sock.trace import TraceEvent

__all__ = ["chrome_events", "named", "write_events"]

_RECEIVING, _SENDING = 1, 2
_SPANS = {"queued": "queued", "pending": "pending", "completed": "ready"}
"""The phases that last, and the names of their spans."""

_Json = dict[str, Any]


def chrome_events(
    events: Iterable[TraceEvent],
    dropped: int,
    *,
    name: str = "port",
    first: int = 1,
    origin: int | None = None,
) -> Iterator[_Json]:
    """Convert TraceEvents, in order of time, to Chrome's events; every "b" gets its "e".

    The port's process has the number `first`; its sockets' processes have the numbers after it.
    Times count from `origin`, in nanoseconds of the port's clock (None: the first event).
    """
    writer = _Writer(dropped, name, first, origin)
    for event in events:
        yield from writer.write(event)
    yield from writer.end()


def write_events(file: IO[str], events: Iterable[_Json], about: _Json) -> None:
    """Write a trace file: a line for each event, and `about` as its other data."""
    file.write('{"displayTimeUnit": "ns", "otherData": ')
    json.dump(about, file)
    file.write(', "traceEvents": [')
    separator = "\n"
    for event in events:
        file.write(separator)
        json.dump(event, file)
        separator = ",\n"
    file.write("\n]}\n")


def named(what: str, process: int, thread: int, name: str) -> _Json:
    """Return an event that names a process ("process_name") or its thread ("thread_name")."""
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


class _Writer:
    def __init__(self, dropped: int, name: str, first: int, origin: int | None) -> None:
        self._dropped = dropped
        self._name = name
        self._port = first
        self._origin = origin
        self._begun = False
        self._now = 0.0
        self._ledger: int | None = None
        self._processes: dict[int, int] = {}
        self._open: dict[int, _Operation] = {}

    def write(self, event: TraceEvent) -> Iterator[_Json]:
        if self._origin is None:
            self._origin = event.time
        if not self._begun:
            self._begun = True
            yield from self._begin()
        self._now = (event.time - self._origin) / 1000
        if event.ledger != self._ledger:
            self._ledger = event.ledger
            yield self._port_event("C", "ledger", {"charged bytes": event.ledger})
        yield from self._operation(event)

    def end(self) -> Iterator[_Json]:
        """End the spans of operations that were unfinished when the trace ended."""
        for operation in self._open.values():
            yield from operation.leave(self._now)
            yield operation.event("e", operation.kind, self._now, {"unfinished": True})
        self._open.clear()

    def _begin(self) -> Iterator[_Json]:
        yield named("process_name", self._port, 0, self._name)
        if self._dropped:
            yield {
                **self._port_event("i", f"{self._dropped} earlier events were dropped", {}),
                "s": "g",
            }

    def _operation(self, event: TraceEvent) -> Iterator[_Json]:
        operation = self._open.get(event.operation)
        if operation is None:
            if event.socket not in self._processes:
                yield from self._socket(event)
            operation = _Operation(event, self._processes[event.socket])
            self._open[event.operation] = operation
            yield operation.event("b", event.kind, self._now, _begun(event))
        yield from operation.enter(event, self._now)
        if event.phase == "dispatched":
            del self._open[event.operation]
            yield operation.event("e", event.kind, self._now, _ended(event))

    def _socket(self, event: TraceEvent) -> Iterator[_Json]:
        process = self._port + 1 + len(self._processes)
        self._processes[event.socket] = process
        slot, generation = event.socket & 0xFFFFFFFF, event.socket >> 32
        name = f"socket {slot}.{generation} (descriptor {event.fileno})"
        yield named("process_name", process, 0, name)
        yield named("thread_name", process, _RECEIVING, "receiving")
        yield named("thread_name", process, _SENDING, "sending")

    def _port_event(self, letter: str, name: str, arguments: _Json) -> _Json:
        return {
            "ph": letter,
            "name": name,
            "cat": "port",
            "pid": self._port,
            "tid": 0,
            "ts": self._now,
            "args": arguments,
        }


class _Operation:
    """An operation whose span is open, and the span of its current phase."""

    def __init__(self, event: TraceEvent, process: int) -> None:
        self.kind = event.kind
        self._id = f"{event.operation:#x}"
        self._process = process
        self._thread = _SENDING if event.sending else _RECEIVING
        self._span: str | None = None

    def enter(self, event: TraceEvent, now: float) -> Iterator[_Json]:
        """Begin the span of the event's phase, or mark an event that begins no span."""
        if event.phase in ("cancelled", "yielded"):
            name = "cancel" if event.phase == "cancelled" else "result"
            arguments = {} if event.phase == "cancelled" else {"bytes": event.nbytes}
            yield self.event("n", f"{self.kind}: {name}", now, arguments)
        if event.phase in _SPANS:
            yield from self.leave(now)
            self._span = f"{self.kind}: {_SPANS[event.phase]}"
            yield self.event("b", self._span, now, {})
        elif event.phase == "dispatched":
            yield from self.leave(now)

    def leave(self, now: float) -> Iterator[_Json]:
        """End the span of the current phase."""
        if self._span is not None:
            yield self.event("e", self._span, now, {})
            self._span = None

    def event(self, letter: str, name: str, now: float, arguments: _Json) -> _Json:
        return {
            "ph": letter,
            "name": name,
            "cat": "operation",
            "id": self._id,
            "pid": self._process,
            "tid": self._thread,
            "ts": now,
            "args": arguments,
        }


def _begun(event: TraceEvent) -> _Json:
    if event.phase != "posted":
        return {"posted": "before the first event of this trace"}
    return {"bytes": event.nbytes, "charged bytes": event.charged}


def _ended(event: TraceEvent) -> _Json:
    return {"transferred": event.nbytes, "error": event.error}
