"""The modelled cost of each strategy, from a few connections of the load."""

from __future__ import annotations

import errno
import mmap
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain

from iocp_sock import ArgumentError, Buffer, Port, Sim, Socket, Stats
from iocp_sock.cli.choices import Receive, Send
from iocp_sock.cli.plan.load import Load

RECEIVE: tuple[Receive, ...] = ("direct", "adaptive", "pooled", "zero_byte")
SEND: tuple[Send, ...] = ("buffered", "direct", "when_writable")

_ADDRESS = ("10.0.0.1", 80)
_SAMPLE = 8
"""The number of modelled connections of each sort, idle and active."""
_MESSAGES = 20
_PATIENCE = 60.0
_STEP = 0.02
"""The virtual seconds between two checks of the ports' timers."""
_SETTLING = 4
"""The messages of each connection before it counts; an adaptive one is busy by then."""


@dataclass(frozen=True)
class Choice:
    """A receive or send strategy of a server, and its sockets' settings."""

    receive: Receive = "pooled"
    send: Send = "buffered"
    nodelay: bool = False


@dataclass(frozen=True)
class Figures:
    """The cost of a choice, for one connection or message; sizes in bytes, times in seconds."""

    idle_charge: float
    active_charge: float
    """The average while messages are exchanged."""
    worst_charge: int
    copies: float
    """The copies of each byte in the server's machine."""
    calls: float
    """The server's packets and reads for each message."""
    delay: float
    """The median delay beyond the path's own."""
    pool: float
    """The non-paged pool of the server's machine for a connection."""
    memory: float | None = None
    """The memory of an idle connection beside its locked memory, if it was measured."""
    cpu: float | None = None
    """The processor seconds for a message, if they were measured."""


class _Flow:
    """One active connection, with the times at which each message was posted and was complete."""

    def __init__(self, sender: Socket, message: int) -> None:
        self._sender = sender
        self._message = message
        self._got = 0
        self.posted: list[float] = []
        self.arrived: list[float] = []

    def send(self, data: memoryview) -> None:
        self.posted.append(self._sender.port.time())
        self._sender.send(data)

    def received(self, conn: Socket, data: Buffer) -> None:
        self._got += len(data)
        while self._got >= self._message * (len(self.arrived) + 1):
            self.arrived.append(conn.port.time())


class _Trial:
    """Idle and active connections under one choice, in virtual time."""

    def __init__(self, load: Load, choice: Choice, *, sending: bool) -> None:
        self._load = load
        self._choice = choice
        self._sending = sending
        self._sim = Sim(preset=load.preset, delay=load.rtt / 2)
        self._server = Port(backend=self._sim)
        self._clients = Port(backend=self._sim)
        self._idle: list[Socket] = []
        self._active: list[Socket] = []
        self._flows: list[_Flow] = []
        # Three sums over time: the charge of the idle connections times its duration, the same for
        # the active ones, and the duration alone.
        self._charges = [0.0, 0.0, 0.0]
        self._worst = 0

    def run(self) -> Figures:
        """Run the load under the choice of strategy, and return its figures; close both ports."""
        with self._server, self._clients, ExitStack() as sockets:
            pairs = [self._pair() for _ in range(2 * _SAMPLE)]
            for one in chain.from_iterable(pairs):
                sockets.callback(one.abort)
            for ours, _theirs in pairs[:_SAMPLE]:
                self._idle.append(ours)
                if not self._sending:
                    ours.receive(
                        lambda *_: None, receive=self._choice.receive, size=self._load.block
                    )
            for ours, theirs in pairs[_SAMPLE:]:
                self._active.append(ours)
                sender, reader = (ours, theirs) if self._sending else (theirs, ours)
                flow = _Flow(sender, self._load.message)
                self._flows.append(flow)
                reader.receive(flow.received, receive=self._choice.receive, size=self._load.block)
                if self._sending:  # as a server does: its sends then go out at the end of a turn
                    sender.receive(lambda *_: None)
            self._pass(2.0)
            self._rounds(_SETTLING)
            self._sim.keep_trace()
            self._charges = [0.0, 0.0, 0.0]
            before = self._server.stats()
            self._rounds(_MESSAGES)
            return self._figures(before)

    def _pair(self) -> tuple[Socket, Socket]:
        with self._server.listen(_ADDRESS) as listener:
            accept, connect = listener.accept(), self._clients.connect(_ADDRESS)
            while not (accept.done and connect.done):
                self._turn()
                self._sim.pass_time(_STEP)
        assert accept.accepted is not None
        ours, theirs = accept.accepted, connect.socket
        ours.nodelay = theirs.nodelay = self._choice.nodelay
        if self._choice.send != "buffered":
            ours.send_strategy = self._choice.send
        return ours, theirs

    def _turn(self) -> None:
        """Run both ports until nothing is due at this instant."""
        while self._server.run_once(0) + self._clients.run_once(0):
            pass

    def _rounds(self, count: int) -> None:
        """Send `count` messages each way on every flow, one after the other, and wait for all."""
        data = memoryview(mmap.mmap(-1, self._load.message))  # page-aligned
        for _ in range(count):
            for flow in self._flows:
                flow.send(data)
                self._pass(1 / self._load.rate / len(self._flows))
        until = self._server.time() + _PATIENCE
        while any(len(flow.arrived) < len(flow.posted) for flow in self._flows):
            if self._server.time() > until:
                raise ArgumentError(
                    errno.EINVAL,
                    "the connections of this load cannot keep up with its rate; lower the rate or"
                    " the message size",
                )
            self._pass(_STEP)

    def _pass(self, seconds: float) -> None:
        """Let time pass on both machines, and note the charges meanwhile."""
        until = self._server.time() + seconds
        while (left := until - self._server.time()) > 1e-9:
            self._worst = max(self._worst, *self._charged(self._active))
            self._turn()
            idle, active = self._charged(self._idle), self._charged(self._active)
            self._worst = max(self._worst, *active)
            since = self._server.time()
            self._sim.pass_time(min(left, _STEP))
            passed = self._server.time() - since
            for at, charge in enumerate((sum(idle), sum(active), 1.0)):
                self._charges[at] += charge * passed

    @staticmethod
    def _charged(sockets: list[Socket]) -> list[int]:
        return [sock.charged for sock in sockets]

    def _figures(self, before: Stats) -> Figures:
        after = self._server.stats()
        counted = _MESSAGES * _SAMPLE
        own = {sock.fileno() for sock in self._idle + self._active}
        copied = sum(
            line.length
            for line in self._sim.trace()
            if line.endpoint in own and line.step in ("copied", "delivered")
        )
        delays = [
            arrived - posted - self._load.rtt / 2
            for flow in self._flows
            for posted, arrived in zip(
                flow.posted[_SETTLING:], flow.arrived[_SETTLING:], strict=True
            )
        ]
        idle, active, time = self._charges
        calls = after.packets + after.drains - before.packets - before.drains
        return Figures(
            idle_charge=idle / time / _SAMPLE,
            active_charge=active / time / _SAMPLE,
            worst_charge=self._worst,
            copies=copied / counted / self._load.message,
            calls=calls / counted,
            delay=max(0.0, statistics.median(delays)),
            pool=self._sim.machines()[0]["pool_peak"] / (2 * _SAMPLE),
        )


def trial(load: Load, choice: Choice, *, sending: bool) -> Figures:
    """Return the figures of a choice under the load.

    Raises ArgumentError if the connections cannot keep up, or the system lacks the strategy.
    """
    return _Trial(load, choice, sending=sending).run()
