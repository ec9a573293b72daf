"""How a port is made."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Literal

from iocp_sock.errors import ArgumentError, ArgumentTypeError

__all__ = ["BackendName", "OverBudget", "PortConfig"]

BackendName = Literal["auto", "uring", "epoll", "iocp"]
OverBudget = Literal["raise", "queue", "degrade"]

_BACKENDS = ("auto", "iocp") if sys.platform == "win32" else ("auto", "uring", "epoll")
_POLICIES = ("raise", "queue", "degrade")
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
}
_MOST = 1 << 40
_MOST_OF = {
    "max_receives": 0xFFFFFFFF,
    "max_sends": 0xFFFFFFFF,
    "max_socket_receives": 0xFFFFFFFF,
    "max_socket_sends": 0xFFFFFFFF,
    "region_size": 1 << 30,
    "ring_entries": 32768,
    "posted_accepts": 1024,
    "drain_reads": 65535,
}


@dataclass(frozen=True, kw_only=True)
class PortConfig:
    """Everything a Port can be told when it is made; each field may also be a keyword of Port().

    Sizes are in bytes, times in seconds, and 0 means no limit where a limit is meant.
    Raises ArgumentError or ArgumentTypeError for a value that cannot be.
    """

    backend: str = ""
    """'auto', or a backend of this platform: 'uring' or 'epoll' on Linux, 'iocp' on Windows;
    empty: the environment's IOCP_SOCK_BACKEND, else 'auto'."""

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
    """Seconds that queued sends get when a socket or the port is closed."""

    skip_done_packets: bool = False
    """What Socket.skip_done_packets starts as, on every socket of the port, accepted ones too."""

    def __post_init__(self) -> None:
        """Check every field and settle the backend."""
        backend = self.backend or os.environ.get("IOCP_SOCK_BACKEND") or "auto"
        if backend not in _BACKENDS:
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
        if not isinstance(self.skip_done_packets, bool):
            raise ArgumentTypeError(
                22, f"skip_done_packets is True or False, not {self.skip_done_packets!r}"
            )
        if not isinstance(self.close_timeout, (int, float)):
            raise ArgumentTypeError(
                22, f"close_timeout is a number of seconds, not {self.close_timeout!r}"
            )
        if not 0 <= self.close_timeout <= 86400:
            raise ArgumentError(22, "close_timeout is a number of seconds from 0 to 86400")
