"""The figures of a port at one moment."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from iocp_sock.errors import ArgumentError
from iocp_sock.ledger import Ledger

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Histogram", "SocketStats", "Stats"]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Durations in nanoseconds, in buckets whose width is at most a sixteenth of the duration."""

    count: int
    """The number of durations."""

    sum: int
    """The sum of all durations, in nanoseconds."""

    max: int
    """The maximum, in nanoseconds."""

    buckets: tuple[tuple[int | None, int], ...]
    """Pairs of an upper bound in nanoseconds (inclusive) and the count of durations in the bucket.
    Empty buckets are left out; the order is ascending. None: longer than 4.9 hours."""

    def percentile(self, percent: float) -> int:
        """Return the upper bound, in nanoseconds, of a percentile's bucket; 0 if all are empty.

        Raises ArgumentError for a percent that is not from 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ArgumentError(
                errno.EINVAL, f"percent must be a number from 0 to 100, not {percent!r}"
            )
        wanted = self.count * percent / 100
        seen = 0
        for bound, count in self.buckets:
            seen += count
            if seen >= wanted and seen:
                return self.max if bound is None else min(bound, self.max)
        return self.max


@dataclass(frozen=True, kw_only=True)
class SocketStats:
    """One open socket's part of a port's figures."""

    id: int
    """The socket's name within the port; no other socket of the port ever has it."""

    fileno: int
    """The descriptor, or handle."""

    family: int
    """The address family, such as socket.AF_INET."""

    type: int
    """The socket type, such as socket.SOCK_STREAM."""

    state: str
    """'open'; 'draining' while queued sends go out after close(); 'cancelling' until the kernel has
    given all operations back."""

    charged: int
    """The bytes of whole pages that the socket's operations keep locked."""

    queued_bytes: int
    """The bytes of the socket's sends that are still to be sent."""

    outstanding: int
    """The number of accepted operations whose completion was not handed out yet."""

    receives: int
    """Unfinished operations of the receiving direction, subscriptions included."""

    sends: int
    """Unfinished operations of the sending direction."""

    accepts: bool
    """Whether accept_each() runs."""

    receiving_by: str | None
    """The strategy of receive() now: 'pooled', 'direct' or 'zero_byte'; 'datagrams':
    receive_from().

    None: neither runs."""

    adaptive: bool
    """Whether the strategy is 'adaptive'."""

    send_strategy: str
    """The strategy of sends: 'buffered', 'when_writable' or 'direct'."""

    send_paused: bool
    """Whether the sender was asked to pause, and not yet to go on."""


@dataclass(frozen=True, kw_only=True)
class Stats:
    """The figures of a port at one moment, taken under one acquisition of its lock.

    Counts are since the port was made. Sizes are in bytes.
    """

    ledger: Ledger
    """The account of locked memory."""

    operations_by_state: Mapping[str, int]
    """Unfinished operations: 'queued', 'pending', 'cancelling'."""

    operations_by_kind: Mapping[str, int]
    """Unfinished operations by Operation.kind."""

    outstanding: int
    """The accepted operations whose completion was not handed out yet, finished ones included."""

    budget_queue: int
    """Operations that the budget or a cap holds back; they are not charged."""

    lane_queue: int
    """Operations that wait behind others of their direction, for a flush, or for a pause's end."""

    send_queue_bytes: int
    """The bytes of all unfinished sends that are still to be sent."""

    ready: int
    """Results that wait to be handed out by the next turn."""

    sockets: int
    """Open sockets."""

    slots: int
    """Slots for operations. The table grows and never shrinks."""

    slots_free: int
    """Slots without an operation."""

    blocks: int
    """Blocks of the buffer pool, in use or not."""

    blocks_out: int
    """Blocks in use by operations, or by received buffers that the program keeps."""

    block_bytes: int
    """Memory of all blocks."""

    block_bytes_out: int
    """Memory of the blocks in use."""

    regions_out: int
    """Blocks in use that pooled receives share; `region_limit` counts these."""

    waits: int
    """Turns that asked the kernel."""

    packets: int
    """Events that the kernel reported."""

    late: int
    """Events of operations that had ended already; they were recognised and dropped."""

    flushes: int
    """Requests that carried sends."""

    sends: int
    """Sends that those requests carried."""

    drains: int
    """The number of times that a readable socket was drained."""

    refusals: int
    """Posts refused by the budget or a cap, or by the system for lack of a resource."""

    degraded: int
    """Receives that wait without their buffer."""

    switches: int
    """Changes of an adaptive subscription's strategy."""

    pauses: int
    """The number of times that a sender was asked to pause, at its high mark."""

    evictions: int
    """Connections closed because they made no progress."""

    nagle_stalls: int
    """Sockets whose sends waited for delayed acknowledgements."""

    latency: Mapping[str, Histogram] | None
    """Durations of operations by Operation.kind, from the post until the completion was handed out;
    subscriptions are left out. None unless the port was made with latency=True."""

    by_socket: tuple[SocketStats, ...]
    """The sockets that stats(sockets=n) lists, those with the largest charge first."""

    @classmethod
    def taken(cls, figures: dict[str, Any]) -> Self:
        """Make Stats of the core's figures."""
        latency = figures["latency"]
        return cls(
            **{
                **figures,
                "ledger": Ledger(**figures["ledger"]),
                "latency": latency and {kind: Histogram(**one) for kind, one in latency.items()},
                "by_socket": tuple(SocketStats(**one) for one in figures["by_socket"]),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as dicts, lists and numbers, which JSON can express."""
        return asdict(self)
