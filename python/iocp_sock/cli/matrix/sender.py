"""The sending end of a cell, and its patterns."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from iocp_sock import Operation, Port, Sim, Socket
from iocp_sock.cli.child import ChildError
from iocp_sock.cli.choices import Backend
from iocp_sock.cli.matrix import wire
from iocp_sock.cli.matrix.apart import run_apart
from iocp_sock.cli.matrix.cell import SIZES, Cell, Measured, Pattern
from iocp_sock.cli.matrix.path import LOOPBACK, Path
from iocp_sock.cli.matrix.receiver import Receiver, nanoseconds

SMALL = b"s" * 16
REST = b"r" * 48
ANSWER = b"a" * 64
BULK = bytes(256 << 10)
EVERY_NS = 5_000_000
PATIENCE = 20.0
"""The maximum seconds for a single message."""


@dataclass(frozen=True)
class Effort:
    """The number of messages of each pattern, and the seconds after which no more are sent.

    `warm_up` messages go first, for at most the same time, and do not count.
    """

    messages: dict[Pattern, int]
    seconds: float
    warm_up: int = 4


class Sender:
    """One connection to a receiver, on a port run by the calling thread."""

    def __init__(self, port: Port, sock: Socket, receiver: Receiver) -> None:
        self.port = port
        self.sock = sock
        self.receiver = receiver

    def exchange(self, post: Callable[[Socket], object]) -> float:
        """Send a message, wait for its answer, and return the microseconds."""
        began = nanoseconds(self.port)
        post(self.sock)
        self.finish(self.sock.recv(len(ANSWER), flags=socket.MSG_WAITALL, timeout=PATIENCE))
        return (nanoseconds(self.port) - began) / 1000

    def finish(self, op: Operation) -> None:
        """Run the port until the operation is done; raise its error."""
        while not op.done:
            self.port.run_once(PATIENCE)
        if op.error is not None:
            raise op.error

    def one_way(self, messages: int, deadline: float) -> list[float]:
        """Send messages evenly, without an answer, and take their arrivals from the receiver."""
        before = len(self.receiver.arrivals)
        began = nanoseconds(self.port)
        sent: list[int] = []
        while len(sent) < messages and (not sent or self.port.time() < deadline):
            sent.append(nanoseconds(self.port))
            self.sock.send(SMALL)
            self._run_until(began + len(sent) * EVERY_NS)
        self.wait_for(
            lambda: len(self.receiver.arrivals) == before + len(sent), "a message was not received"
        )
        arrived = self.receiver.arrivals[before:]
        return [(came - went) / 1000 for went, came in zip(sent, arrived, strict=True)]

    def wait_for(self, condition: Callable[[], bool], complaint: str) -> None:
        """Run the port until the condition holds; raise ChildError if it does not in time."""
        deadline = self.port.time() + PATIENCE
        while not condition():
            if self.receiver.failure is not None:
                raise self.receiver.failure
            if self.port.time() > deadline:
                raise ChildError(f"{complaint} within {PATIENCE:.0f} s")
            self.port.run_once(0.001)

    def _run_until(self, due: int) -> None:
        while (left := due - nanoseconds(self.port)) > 0:
            self.port.run_once(left / 1e9)


_POSTS: dict[Pattern, Callable[[Socket], object]] = {
    "write_write_read": lambda sock: (sock.send(SMALL), sock.send(REST)),
    "gathered": lambda sock: sock.sendmsg([SMALL, REST]),
    "bulk": lambda sock: sock.send(BULK),
}
_BYTES: dict[Pattern, int] = {
    "one_way": len(SMALL),
    "write_write_read": len(SMALL + REST),
    "gathered": len(SMALL + REST),
    "bulk": len(BULK),
}


def measure(
    cell: Cell, backend: Backend | Sim | None, effort: Effort, path: Path = LOOPBACK
) -> Measured:
    """Measure one cell on its own connection; on a Sim both ends are on one port.

    On a Sim the ledger covers both ends, and there are no figures of the wire.
    """
    with _connected(cell, backend, path) as sender:
        _send(sender, cell.pattern, effort.warm_up, effort.seconds)
        before = None if isinstance(backend, Sim) else wire.read(sender.sock)
        latencies = _send(sender, cell.pattern, effort.messages[cell.pattern], effort.seconds)
        after = None if before is None else wire.read(sender.sock)
        return Measured(
            cell,
            sender.sock.send_buffer,
            sender.receiver.receive_buffer_bytes,
            tuple(latencies),
            None if before is None or after is None else after.since(before),
            sender.port.ledger.peak,
            sender.port.stats().nagle_stalls > 0,
        )


def _send(sender: Sender, pattern: Pattern, messages: int, seconds: float) -> list[float]:
    deadline = sender.port.time() + seconds
    if pattern == "one_way":
        return sender.one_way(messages, deadline)
    latencies: list[float] = []
    while len(latencies) < messages and (not latencies or sender.port.time() < deadline):
        latencies.append(sender.exchange(_POSTS[pattern]))
    return latencies


@contextlib.contextmanager
def _connected(cell: Cell, backend: Backend | Sim | None, path: Path) -> Iterator[Sender]:
    answer = b"" if cell.pattern == "one_way" else ANSWER
    size = SIZES[cell.receive_buffer]
    with contextlib.ExitStack() as ends:
        port = Port(backend=backend, close_timeout=0)
        far = port if isinstance(backend, Sim) else Port(backend=backend)
        with path.receiving():
            receiver = Receiver(far, path.address, size, _BYTES[cell.pattern], answer)
            if far is not port:
                ends.enter_context(run_apart(far))
        ends.enter_context(port)
        sock = port.socket()
        wanted = SIZES[cell.send_buffer]
        if wanted is not None:
            sock.send_buffer = wanted
        sock.nodelay = not cell.nagle
        sender = Sender(port, sock, receiver)
        sender.finish(sock.connect(receiver.address, timeout=PATIENCE))
        sender.wait_for(lambda: receiver.connected, "a connection was not accepted")
        yield sender


def chosen_backend(backend: Backend | None) -> dict[str, Any]:
    """Return the backend of the cells, and the reason for it."""
    with Port(backend=backend) as port:
        return {"backend": port.backend, "backend_reason": port.backend_reason}
