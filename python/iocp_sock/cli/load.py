"""The load of the demo: many idle connections, and some that always exchange messages."""

import hashlib
import itertools
import os
import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from iocp_sock import Buffer, Port, Socket
from iocp_sock.cli.child import Progress, answer_requests
from iocp_sock.cli.latency import BIN_SHIFT, Latencies

MESSAGE_BYTES = 64
REPORT_SECONDS = 0.2
_TURNS = 16
_BATCH = 100
_ECHO_SECONDS = 10.0
_PER_SOURCE = 20_000
"""The maximum number of connections from one loopback address: fewer than there are ephemeral
ports."""


class EchoError(Exception):
    """The echo differs from the sent message, or is missing."""


@dataclass(frozen=True)
class Traffic:
    """The exchange of one load process with the server."""

    messages: int
    seconds: float
    latencies: Latencies


def message(connection: int, turn: int, nbytes: int = MESSAGE_BYTES) -> bytes:
    """Return the message of a connection in a turn; those of the usual size are all different."""
    return hashlib.shake_128(f"{connection}:{turn}".encode()).digest(nbytes)


def load_processes(hot: int) -> int:
    """Return the number of load processes that keep one Python server busy.

    They leave the server a processor, if there are several.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(3, processors - 1, hot))


def load_demo(pipe: Connection) -> None:
    """Run a load process of the demo: answer the requests of the pipe."""
    answer_requests(pipe, Load(pipe))


class Load:
    """Connections to the server. Opening one includes a verified echo of one message."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._first = 0
        self._sockets: list[socket.socket] = []
        self._port: Port | None = None

    def open(self, address: tuple[Any, ...], connections: int, first: int) -> None:
        """Open the connections numbered from `first`."""
        self._first = first
        for start in range(0, connections, _BATCH):
            numbers = range(first + start, first + min(start + _BATCH, connections))
            fresh = [_connect(address, number) for number in numbers]
            self._sockets += fresh
            _greet(fresh, numbers)
            self._pipe.send(Progress(len(self._sockets)))

    def drive(self, hot: int, seconds: float, nbytes: int = MESSAGE_BYTES) -> Traffic:
        """Keep a message of `nbytes` in flight on each of the first `hot` connections."""
        self._port = Port()
        rush = Rush(self._port, self._pipe)
        for number in range(hot):
            sock = self._port.adopt(self._sockets[number].detach())
            rush.lanes.append(Lane(rush, sock, self._first + number, nbytes))
        return rush.run(seconds)

    def close(self) -> None:
        """Close every connection."""
        if self._port is not None:
            self._port.close(timeout=_ECHO_SECONDS)
            self._port = None
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


class Rush:
    """The exchange on the hot connections; the first failure ends it."""

    def __init__(self, port: Port, pipe: Connection) -> None:
        self.lanes: list[Lane] = []
        self.latencies = Latencies()
        self.running = False
        self._port = port
        self._pipe = pipe
        self._resting = 0
        self._failure: str | None = None
        self._finished = 0.0

    def run(self, seconds: float) -> Traffic:
        """Exchange messages for `seconds`, and return once every echo has arrived."""
        self.running = True
        started = time.perf_counter()
        for lane in self.lanes:
            lane.start()
        timers = [
            self._port.call_later(seconds, self._finish),
            self._port.call_later(seconds + _ECHO_SECONDS, self._give_up),
            self._port.call_later(REPORT_SECONDS, self._report),
        ]
        self._port.run()
        for timer in timers:
            timer.cancel()
        if self._failure is not None:
            raise EchoError(self._failure)
        return Traffic(self.latencies.total, self._finished - started, self.latencies)

    def fail(self, text: str) -> None:
        """End the exchange with a failure."""
        self.running = False
        self._failure = self._failure or text
        self._port.stop()

    def rest(self) -> None:
        """Note that a hot connection has its last echo; stop the port once all of them have."""
        self._resting += 1
        if self._resting == len(self.lanes):
            self._port.stop()

    def _finish(self) -> None:
        self.running = False
        self._finished = time.perf_counter()

    def _give_up(self) -> None:
        missing = len(self.lanes) - self._resting
        self.fail(f"{missing} of {len(self.lanes)} hot connections still wait for an echo")

    def _report(self) -> None:
        if not self.running:
            return
        try:
            self._pipe.send(Progress(self.latencies.total))
        except OSError:
            self.fail("the demo has ended")
        else:
            self._port.call_later(REPORT_SECONDS, self._report)


class Lane:
    """One hot connection, with exactly one message in flight until the end."""

    __slots__ = ("_clock", "_counts", "_expected", "_messages", "_piece", "_rush", "_sent", "_sock")

    def __init__(self, rush: Rush, sock: Socket, number: int, nbytes: int) -> None:
        self._rush = rush
        self._sock = sock
        self._messages = itertools.cycle([message(number, turn, nbytes) for turn in range(_TURNS)])
        self._expected = b""
        self._piece = b""
        self._sent = 0
        self._clock = time.perf_counter_ns
        self._counts = rush.latencies.counts
        sock.receive(self._received, receive="pooled")

    def start(self) -> None:
        """Send the first message."""
        self._sent = self._clock()
        self._expected = next(self._messages)
        self._sock.send(self._expected)

    def _received(self, sock: Socket, data: Buffer) -> None:
        if data != self._expected and not self._complete(bytes(data)):
            return
        rush = self._rush
        if not rush.running:
            rush.rest()
            return
        now = self._clock()
        try:
            self._counts[(now - self._sent) >> BIN_SHIFT] += 1
        except IndexError:
            rush.latencies.slow.append(now - self._sent)
        self._sent = now
        self._expected = expected = next(self._messages)
        sock.send(expected)

    def _complete(self, data: bytes) -> bool:
        if not data:
            self._rush.fail("the server closed a hot connection")
            return False
        self._piece += data
        if not self._expected.startswith(self._piece):
            self._rush.fail("an echo differs from the message that was sent")
            return False
        if len(self._piece) < len(self._expected):
            return False
        self._piece = b""
        return True


def _connect(address: tuple[Any, ...], number: int) -> socket.socket:
    turn = number // _PER_SOURCE
    source = (f"127.0.0.{1 + turn}", 0) if turn else None
    sock = socket.create_connection(address, timeout=_ECHO_SECONDS, source_address=source)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _greet(sockets: list[socket.socket], numbers: range) -> None:
    for sock, number in zip(sockets, numbers, strict=True):
        sock.sendall(message(number, -1))
    for sock, number in zip(sockets, numbers, strict=True):
        if _read_exactly(sock, MESSAGE_BYTES) != message(number, -1):
            raise EchoError("an echo differs from the message that was sent")


def _read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EchoError("the server closed a connection before its echo was complete")
        data += piece
    return data
