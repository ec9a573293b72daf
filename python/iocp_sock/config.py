"""How a port is made."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from iocp_sock.errors import ArgumentError, ArgumentTypeError
from iocp_sock.sim import Sim

__all__ = ["AdaptiveRule", "BackendName", "OverBudget", "PortConfig"]

BackendName = Literal["auto", "uring", "epoll", "iocp"]
OverBudget = Literal["raise", "queue", "degrade"]

_BACKENDS = ("auto", "iocp") if sys.platform == "win32" else ("auto", "uring", "epoll")
_POLICIES = ("raise", "queue", "degrade")
_ON_ERROR = ("close", "keep")
_LEAST = {
    "budget": 0,
    "max_receives": 0,
    "max_sends": 0,
    "max_socket_receives": 0,
    "max_socket_sends": 0,
    "region_size": 65536,
    "region_limit": 1,
    "ring_entries": 32,
    "posted_accepts": 1,
    "drain_reads": 1,
    "drain_bytes": 1,
    "send_high": 0,
    "send_low": 0,
    "send_cap": 0,
    "max_connections": 0,
}
_MOST = 1 << 40
_MOST_THREADS = 1 << 16
_MOST_OF = {
    "max_receives": 0xFFFFFFFF,
    "max_sends": 0xFFFFFFFF,
    "max_socket_receives": 0xFFFFFFFF,
    "max_socket_sends": 0xFFFFFFFF,
    "region_size": 1 << 30,
    "ring_entries": 32768,
    "posted_accepts": 1024,
    "drain_reads": 65535,
    "send_high": 0xFFFFFFFF,
    "send_low": 0xFFFFFFFF,
    "send_cap": 0xFFFFFFFF,
    "max_connections": 0xFFFFFFFF,
}
_SECONDS = {"close_timeout": 0.0, "queue_patience": 0.001, "idle_timeout": 0.0}


def _check_seconds(name: str, value: object, least: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ArgumentTypeError(22, f"{name} is a number of seconds, not {value!r}")
    if not least <= value <= 86400:
        raise ArgumentError(22, f"{name} is a number of seconds from {least:g} to 86400")


@dataclass(frozen=True, kw_only=True)
class AdaptiveRule:
    """When receive="adaptive" changes the way it receives.

    It starts as 'zero_byte'. After `messages` in a row, each within `window` seconds of the one
    before, the socket is busy and receives as `busy` says; after `idle` seconds without a message
    it is 'zero_byte' again. While `budget_percent` of the port's budget is in use nobody becomes
    busy, and busy ones go back. Both are looked at every `idle` / 2 seconds.
    Raises ArgumentError or ArgumentTypeError for a value that cannot be.
    """

    messages: int = 4
    """From 1 to 255."""

    window: float = 0.1
    """Seconds."""

    idle: float = 1.0
    """Seconds."""

    budget_percent: int = 75
    """Percent of the port's budget, from 1 to 100."""

    busy: str | None = None
    """'direct' or 'pooled'; None: what costs least on the backend ('direct' on iocp, 'pooled' on
    uring and epoll)."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, most in (("messages", 255), ("budget_percent", 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ArgumentTypeError(22, f"{name} is an int, not {value!r}")
            if not 1 <= value <= most:
                raise ArgumentError(22, f"{name} is an int from 1 to {most}, not {value!r}")
        for name in ("window", "idle"):
            _check_seconds(name, getattr(self, name), 0.001)
        if self.busy not in (None, "direct", "pooled"):
            raise ArgumentError(22, f"busy is 'direct', 'pooled' or None, not {self.busy!r}")


@dataclass(frozen=True, kw_only=True)
class PortConfig:
    """Everything a Port can be told when it is made; each field may also be a keyword of Port().

    Sizes are in bytes, times in seconds, and 0 means no limit where a limit is meant.
    Raises ArgumentError or ArgumentTypeError for a value that cannot be.
    """

    backend: str | Sim = ""
    """'auto', or a backend of this platform: 'uring' or 'epoll' on Linux, 'iocp' on Windows;
    empty: the environment's IOCP_SOCK_BACKEND, else 'auto'. A Sim: the model, in virtual time."""

    budget: int = 0
    """Bytes of whole pages that unfinished operations may keep locked."""

    over_budget: str = "raise"
    """A post over the budget or a cap: 'raise' BudgetExceeded, 'queue' behind the budget, or
    'degrade' (a receive over the budget waits without a buffer; all else raises)."""

    max_receives: int = 0
    """Unfinished receives of the port."""

    max_sends: int = 0
    """Unfinished sends of the port."""

    max_socket_receives: int = 0
    """Unfinished receives of each socket."""

    max_socket_sends: int = 0
    """Unfinished sends of each socket."""

    region_size: int = 256 << 10
    """Bytes of one region that pooled receives share; rounded up to a power of two."""

    region_limit: int = 256
    """Regions in use before received messages are handed out as copies of their own size."""

    ring_entries: int = 256
    """Submission entries of the io_uring; fewer are taken where the lock limit refuses them."""

    posted_accepts: int = 32
    """Accepts that accept_each keeps posted for a listener on Windows (AcceptEx); each holds a
    socket that is still to become a connection, and locks its address block (Ledger.internal)."""

    drain_reads: int = 8
    """Reads that one socket gets in one turn of the port."""

    drain_bytes: int = 256 << 10
    """Bytes that one socket gets in one turn of the port, as far as whole reads allow."""

    close_timeout: float = 5.0
    """Seconds without progress after which a close of a socket, or of the port, gives up on what
    is still to be sent, and resets the connection. Every byte that the peer takes starts them
    again."""

    queue_patience: float = 1.0
    """Seconds that a post waits in the budget queue for the memory it asks for (over_budget
    'queue'). After that a receive waits without its buffer, as a zero-byte one does; where a send
    is in front, receives that wait with a buffer give theirs up instead."""

    send_high: int = 65536
    """What Socket.set_send_marks(high=...) starts as, on every socket, in bytes."""

    send_low: int = 16384
    """What its low starts as, in bytes."""

    send_cap: int = 0
    """What its cap starts as, in bytes."""

    max_connections: int = 0
    """Connections made by accept_each that are open at once; who comes next waits in the
    listener's queue until one is closed (on Windows the posted accepts are taken in before)."""

    idle_timeout: float = 0.0
    """Seconds without progress after which an accepted connection is closed with TimedOut; 0:
    never. Progress is bytes that arrive, or, while some are queued to send, bytes that go."""

    adaptive: AdaptiveRule = field(default_factory=AdaptiveRule)
    """When receive='adaptive' changes the way it receives."""

    on_callback_error: str = "close"
    """What a callback that raises does to the connection that it serves, besides going to the error
    handler. 'close': it is closed at once, and on_close gets what was raised; 'keep': nothing. A
    connection is a stream socket whose receive(), marks or operations have the callback, or the one
    that was accepted for it; listeners and datagram sockets stay."""

    nodelay: bool = True
    """Whether TCP sockets start without Nagle's algorithm (TCP_NODELAY): those that the port makes,
    and what they accept. A small send then leaves at once, instead of waiting for the
    acknowledgement of the one before it. `Socket.nodelay` sets it for one socket."""

    skip_done_packets: bool = False
    """What Socket.skip_done_packets starts as, on every socket of the port, accepted ones too."""

    concurrency: int | None = None
    """None: one thread runs the port. Else any number of threads may run it at the same time, and
    so many of them (0: as many as there are processors) may have something in hand: they were
    called back, or given a completion, and have not asked for the next one since. The core sees to
    that on every system (CreateIoCompletionPort, NumberOfConcurrentThreads). Not with a Sim."""

    in_order: bool = False
    """Of a port with `concurrency`: a socket's next completion is handed out when the thread that
    has the last one asks for its next. Without it, that holds for callbacks of receive(),
    accept_each() and set_send_marks(), and for on_close, but completions of operations may be in
    the hands of several threads at once, in any order; Operation.sequence tells theirs."""

    latency: bool = False
    """Keep how long operations take, in Stats.latency. Each operation then costs two readings of
    the clock and one more taking of the port's lock; the histograms take 42 kB."""

    def __post_init__(self) -> None:
        """Check every field and settle the backend."""
        backend = self.backend or os.environ.get("IOCP_SOCK_BACKEND") or "auto"
        if not isinstance(backend, Sim) and backend not in _BACKENDS:
            raise ArgumentError(22, f"backend is one of {', '.join(_BACKENDS)}, not {backend!r}")
        object.__setattr__(self, "backend", backend)
        if self.over_budget not in _POLICIES:
            raise ArgumentError(
                22, f"over_budget is one of {', '.join(_POLICIES)}, not {self.over_budget!r}"
            )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ArgumentTypeError(22, f"{name} is an int, not {value!r}")
            most = _MOST_OF.get(name, _MOST)
            if not least <= value <= most:
                raise ArgumentError(22, f"{name} is an int from {least} to {most}, not {value!r}")
        if self.on_callback_error not in _ON_ERROR:
            raise ArgumentError(
                22,
                f"on_callback_error is one of {', '.join(_ON_ERROR)},"
                f" not {self.on_callback_error!r}",
            )
        self._check_concurrency()
        threads = (os.cpu_count() or 1) if self.concurrency == 0 else self.concurrency or 0
        object.__setattr__(self, "_threads", threads)
        for name in ("skip_done_packets", "latency", "in_order", "nodelay"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(22, f"{name} is True or False, not {getattr(self, name)!r}")
        for name, shortest in _SECONDS.items():
            _check_seconds(name, getattr(self, name), shortest)
        if self.send_low > self.send_high or 0 < self.send_cap < self.send_high:
            raise ArgumentError(
                22, "send_low is at most send_high, and that at most send_cap (0: no cap)"
            )
        if not isinstance(self.adaptive, AdaptiveRule):
            raise ArgumentTypeError(22, f"adaptive is an AdaptiveRule, not {self.adaptive!r}")

    # The core reads it while it makes a port. A property would run Python there, and before
    # Python 3.14 the interpreter's end unwinds a daemon thread that does.
    _threads: ClassVar[int]

    def _check_concurrency(self) -> None:
        given = self.concurrency
        if given is None:
            if self.in_order is True:
                raise ArgumentError(
                    22,
                    "in_order is for a port with concurrency; one thread alone "
                    "is given completions in order anyway",
                )
            return
        if not isinstance(given, int) or isinstance(given, bool):
            raise ArgumentTypeError(22, f"concurrency is an int or None, not {given!r}")
        if not 0 <= given <= _MOST_THREADS:
            raise ArgumentError(
                22, f"concurrency is an int from 0 to {_MOST_THREADS}, not {given!r}"
            )
        if isinstance(self.backend, Sim):
            raise ArgumentError(22, "the model runs in one thread: it would not be deterministic")
