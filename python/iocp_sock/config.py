"""The configuration of a port."""

from __future__ import annotations

import errno
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
_MINIMUM = {
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
_MAXIMUM = 1 << 40
_MAX_THREADS = 1 << 16
_MAX_OF = {
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
        raise ArgumentTypeError(errno.EINVAL, f"{name} must be a number of seconds, not {value!r}")
    if not least <= value <= 86400:
        raise ArgumentError(
            errno.EINVAL,
            f"{name} must be a number of seconds from {least:g} to 86400, not {value!r}",
        )


@dataclass(frozen=True, kw_only=True)
class AdaptiveRule:
    """The rule by which receive="adaptive" changes its strategy.

    A subscription starts as 'zero_byte'. After `messages` in a row, each within `window` seconds of
    the one before, it is busy and uses the strategy `busy`. After `idle` seconds without a message
    it is 'zero_byte' again. While `budget_percent` of the port's budget is in use, no subscription
    becomes busy, and busy ones go back. The port checks for idle subscriptions, and checks the
    budget, every `idle` / 2 seconds. Raises ArgumentError or ArgumentTypeError for an invalid
    value.
    """

    messages: int = 4
    """The number of messages in a row, from 1 to 255."""

    window: float = 0.1
    """The maximum seconds between two messages of such a row."""

    idle: float = 1.0
    """The seconds without a message after which a busy subscription is 'zero_byte' again."""

    budget_percent: int = 75
    """The percentage of the port's budget, from 1 to 100."""

    busy: str | None = None
    """'direct' or 'pooled'; None: the cheaper one on the backend ('direct' on iocp, 'pooled' on
    uring and epoll)."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, most in (("messages", 255), ("budget_percent", 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ArgumentTypeError(errno.EINVAL, f"{name} must be an int, not {value!r}")
            if not 1 <= value <= most:
                raise ArgumentError(
                    errno.EINVAL, f"{name} must be an int from 1 to {most}, not {value!r}"
                )
        for name in ("window", "idle"):
            _check_seconds(name, getattr(self, name), 0.001)
        if self.busy not in (None, "direct", "pooled"):
            raise ArgumentError(
                errno.EINVAL, f"busy must be 'direct', 'pooled' or None, not {self.busy!r}"
            )


@dataclass(frozen=True, kw_only=True)
class PortConfig:
    """The settings of a Port; each field may also be a keyword of Port().

    Sizes are in bytes and times in seconds. 0 means no limit for a field that sets a limit. Raises
    ArgumentError or ArgumentTypeError for an invalid value.
    """

    backend: str | Sim = ""
    """'auto', or a backend of this platform: 'uring' or 'epoll' on Linux, 'iocp' on Windows. Empty:
    the environment variable IOCP_SOCK_BACKEND, else 'auto'. A Sim: the model, in virtual time."""

    budget: int = 0
    """The maximum that unfinished operations may keep locked, in bytes of whole pages."""

    over_budget: str = "raise"
    """The effect of a post over the budget or a cap: 'raise' BudgetExceeded, 'queue' it until there
    is room, or 'degrade' (a receive over the budget waits without a buffer; other posts raise)."""

    max_receives: int = 0
    """The maximum of unfinished receives of the port."""

    max_sends: int = 0
    """The maximum of unfinished sends of the port."""

    max_socket_receives: int = 0
    """The maximum of unfinished receives of each socket."""

    max_socket_sends: int = 0
    """The maximum of unfinished sends of each socket."""

    region_size: int = 256 << 10
    """The size of a region that pooled receives share, rounded up to a power of two."""

    region_limit: int = 256
    """The regions in use above which messages are handed out as copies of their own size."""

    ring_entries: int = 256
    """The submission entries of the io_uring; fewer if the system's lock limit refuses them."""

    posted_accepts: int = 32
    """The number of accepts that accept_each keeps posted for a listener on Windows (AcceptEx).
    Each holds a socket for a future connection, and locks its address block (Ledger.internal)."""

    drain_reads: int = 8
    """The maximum number of reads of one socket in one turn of the port."""

    drain_bytes: int = 256 << 10
    """The maximum of bytes of one socket in one turn of the port; the last datagram may pass it."""

    close_timeout: float = 5.0
    """The seconds without progress after which a close of a socket, or of the port, drops the
    unsent data and resets the connection. Every byte that the peer takes restarts the time."""

    queue_patience: float = 1.0
    """The seconds that a post waits in the budget queue for its memory (over_budget 'queue'). After
    that a receive makes a zero-byte receive without its buffer. If a send is in front, pending
    receives give their buffers up instead."""

    send_high: int = 65536
    """The initial high mark of every socket (Socket.set_send_marks()), in bytes."""

    send_low: int = 16384
    """The initial low mark of every socket, in bytes."""

    send_cap: int = 0
    """The initial cap of every socket, in bytes."""

    max_connections: int = 0
    """The maximum of open connections made by accept_each. Further ones wait in the listener's
    queue until one is closed; on Windows the posted accepts still take theirs."""

    idle_timeout: float = 0.0
    """The seconds without progress after which an accepted connection is closed with TimedOut; 0:
    never. Progress is received bytes or, while data is queued to send, sent bytes."""

    adaptive: AdaptiveRule = field(default_factory=AdaptiveRule)
    """The rule by which receive='adaptive' changes its strategy."""

    on_callback_error: str = "close"
    """The effect of a raising callback on the connection that it serves, beside the call of the
    error handler. 'close': the connection is closed at once, and on_close gets the exception.
    'keep': none. The connection is the stream socket whose receive(), marks or operations have the
    callback, or the one that was accepted for it. Listeners and datagram sockets stay open."""

    nodelay: bool = True
    """Whether TCP sockets that the port makes, and those that they accept, start without Nagle's
    algorithm (TCP_NODELAY). A small send then leaves at once, without waiting for the
    acknowledgement of the one before it. `Socket.nodelay` sets it for one socket."""

    skip_done_packets: bool = False
    """The initial Socket.skip_done_packets of every socket of the port, accepted ones too."""

    concurrency: int | None = None
    """None: one thread runs the port. Else any number of threads may run it at the same time.
    `concurrency` is the maximum of threads (0: the number of processors) that have something in
    hand: they run a callback, or got a completion and have not asked for the next. The core
    enforces it on every system (as NumberOfConcurrentThreads of CreateIoCompletionPort). Not with a
    Sim."""

    in_order: bool = False
    """For a port with `concurrency`: a socket's next completion is handed out when the thread that
    has the last one asks for the next. Without it this holds for callbacks of receive(),
    accept_each() and set_send_marks(), and for on_close. Completions of operations may then be in
    hand of several threads at once, in any order; Operation.sequence gives the posting order."""

    latency: bool = False
    """Whether to keep the durations of operations, in Stats.latency. Each operation then costs two
    readings of the clock and one more acquisition of the port's lock. The histograms take 42 kB."""

    def __post_init__(self) -> None:
        """Check every field and choose the backend."""
        backend = self.backend or os.environ.get("IOCP_SOCK_BACKEND") or "auto"
        if not isinstance(backend, Sim) and backend not in _BACKENDS:
            raise ArgumentError(
                errno.EINVAL, f"backend must be one of {', '.join(_BACKENDS)}, not {backend!r}"
            )
        object.__setattr__(self, "backend", backend)
        if self.over_budget not in _POLICIES:
            raise ArgumentError(
                errno.EINVAL,
                f"over_budget must be one of {', '.join(_POLICIES)}, not {self.over_budget!r}",
            )
        for name, least in _MINIMUM.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ArgumentTypeError(errno.EINVAL, f"{name} must be an int, not {value!r}")
            most = _MAX_OF.get(name, _MAXIMUM)
            if not least <= value <= most:
                raise ArgumentError(
                    errno.EINVAL, f"{name} must be an int from {least} to {most}, not {value!r}"
                )
        if self.on_callback_error not in _ON_ERROR:
            raise ArgumentError(
                errno.EINVAL,
                f"on_callback_error must be one of {', '.join(_ON_ERROR)}, not "
                f"{self.on_callback_error!r}",
            )
        self._check_concurrency()
        threads = (os.cpu_count() or 1) if self.concurrency == 0 else self.concurrency or 0
        object.__setattr__(self, "_threads", threads)
        for name in ("skip_done_packets", "latency", "in_order", "nodelay"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(
                    errno.EINVAL, f"{name} must be True or False, not {getattr(self, name)!r}"
                )
        for name, shortest in _SECONDS.items():
            _check_seconds(name, getattr(self, name), shortest)
        if self.send_low > self.send_high or 0 < self.send_cap < self.send_high:
            raise ArgumentError(
                errno.EINVAL,
                "send_low must be at most send_high, and send_high at most send_cap (0: no cap)",
            )
        if not isinstance(self.adaptive, AdaptiveRule):
            raise ArgumentTypeError(
                errno.EINVAL, f"adaptive must be an AdaptiveRule, not {self.adaptive!r}"
            )

    # The number of threads is a plain attribute, because the core reads it while it makes a port. A
    # property would run Python code then. Before Python 3.14, the end of the interpreter would
    # unwind a daemon thread in that code.
    _threads: ClassVar[int]

    def _check_concurrency(self) -> None:
        given = self.concurrency
        if given is None:
            if self.in_order is True:
                raise ArgumentError(
                    errno.EINVAL,
                    "in_order needs concurrency; a port without it hands completions out in "
                    "order anyway",
                )
            return
        if not isinstance(given, int) or isinstance(given, bool):
            raise ArgumentTypeError(
                errno.EINVAL, f"concurrency must be an int or None, not {given!r}"
            )
        if not 0 <= given <= _MAX_THREADS:
            raise ArgumentError(
                errno.EINVAL, f"concurrency must be an int from 0 to {_MAX_THREADS}, not {given!r}"
            )
        if isinstance(self.backend, Sim):
            raise ArgumentError(
                errno.EINVAL,
                "a Sim takes no concurrency: with several threads it would not be deterministic",
            )
