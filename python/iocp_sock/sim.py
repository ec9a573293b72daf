"""A model of the stack below a port: deterministic, in virtual time, with faults from a seed."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from iocp_sock import _core
from iocp_sock.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from iocp_sock._core import Socket

__all__ = ["FAULTS", "PRESETS", "Sim", "TraceLine"]

PRESETS = ("windows-2000", "windows-10", "linux")
"""The presets; README.md of the model gives the sources of their figures."""

FAULTS = ("reset", "half_close", "stall", "vanish")
"""The faults of a connection, in the order of the model's own numbers."""

_SCALES = {"seconds": 1_000_000_000, "rate": 1_000_000, "number": 1, "switch": 1}
_MINIMUM = {"mss": 1, "receive_window": 1, "page_size": 1}
_MAXIMUM = {"mss": 1 << 20, "receive_window": 1 << 30, "send_buffer": 1 << 30}
_MAXIMUM |= {"receive_buffer": 1 << 30, "min_send_buffer": 1 << 30, "send_piece": 1 << 30}
_MAXIMUM |= {"min_receive_option": 1 << 30, "min_receive_window": 1 << 30, "window_limit": 1 << 30}


class TraceLine(NamedTuple):
    """One event in the model."""

    when: float
    """Virtual seconds."""
    step: str
    """'sent', 'arrived', 'lost', 'retransmitted', 'copied', 'delivered', 'locked', 'unlocked',
    'opened', 'closed', 'failed', or 'woken'."""
    endpoint: int
    """The socket's fileno()."""
    flags: int
    sequence: int
    length: int
    """Bytes."""
    acknowledged: int
    window: int


def _parameter(kind: str) -> Any:
    return field(default=None, metadata={"kind": kind})


@dataclass(frozen=True, kw_only=True)
class Sim:
    """A modelled network, for Port(backend=Sim(seed=1, preset="linux")).

    Every Sim is a world of its own. Ports with the same Sim share it and reach each other by
    address; each is a machine with its own locked pages, pool and network card. Time is virtual: a
    wait takes none, and a wait that could never end raises NothingDue. The same seed and the same
    calls give the same trace. Only one thread at a time may run the ports of a world.

    A parameter that is None has the preset's value; `values` has all of them. Times are in seconds,
    sizes in bytes, rates from 0 to 1. "003" is the document on the architecture of sockets that the
    model follows. Raises ArgumentError or ArgumentTypeError for an invalid value.
    """

    seed: int = 0
    """The seed of all random decisions: 64 bits."""
    preset: str = "linux"
    """'windows-2000', 'windows-10' or 'linux'."""

    locks: bool | None = _parameter("switch")
    """As in AFD (003, 4), a send that does not fit and a waiting receive lock their pages. False,
    as on Linux: the system copies what fits, and no operation holds memory while it waits."""
    send_buffer: int | None = _parameter("number")
    """The maximum of bytes copied and not acknowledged: 8,192 (AFD's DefaultSendWindow), 65,536,
    and 87,040 (a fresh Linux connection over Ethernet)."""
    receive_buffer: int | None = _parameter("number")
    """The bytes beside the transport's window (003, 6.2): 8,192 (AFD's DefaultReceiveWindow),
    65,536, and 0, because on Linux window and buffer are one."""
    one_more_send: bool | None = _parameter("switch")
    """The system takes a send of any size while the buffer is not yet full (Windows). If `locks` is
    False it takes as much as fills the last segment that begins in the buffer."""
    whole_sends: bool | None = _parameter("switch")
    """Copied bytes take room in the buffer until their whole send is acknowledged (Windows); False:
    until each byte is."""
    send_piece: int | None = _parameter("number")
    """If `locks` is False and there is any room, a send goes on while the transport sends at once.
    It then takes one more piece of this size, at most half the peer's window. 65,536 on Linux,
    whose sends check the buffer's size once for each piece. 0: no more than fits."""
    dynamic_send_buffer: bool | None = _parameter("switch")
    """The buffer is at least as large as the peer's window until SO_SNDBUF is set (since Windows 7,
    which follows the ideal send backlog)."""
    flush_interval: float | None = _parameter("seconds")
    """The minimum time between two hand-overs of the send buffer to the transport, except of a full
    segment (003, 3.3, which guesses that there is an interval). 0: at once."""
    blocking_sends: bool | None = _parameter("switch")
    """Locked sends act like those of waiting callers: one segment per acknowledgement, with or
    without Nagle (003, 4.1)."""
    doubles_sizes: bool | None = _parameter("switch")
    """SO_SNDBUF and SO_RCVBUF read twice the size set (Linux, socket(7))."""
    min_send_buffer: int | None = _parameter("number")
    """The minimum of SO_SNDBUF: 4,608 on Linux."""
    min_receive_option: int | None = _parameter("number")
    """The minimum that SO_RCVBUF reads: 2,304 on Linux."""
    receive_option_window: bool | None = _parameter("switch")
    """SO_RCVBUF sets the window (Linux), not the receive buffer (AFD)."""
    end_outlives_reset: bool | None = _parameter("switch")
    """A reader that has reached the end of the stream still reads the end after a reset (Linux)."""

    mss: int | None = _parameter("number")
    """The bytes of a full segment: 1,460, Ethernet's."""
    receive_window: int | None = _parameter("number")
    """17,520 on Windows 2000 (twelve segments; 003, 2.3), 65,535 on the others, without scaling."""
    min_receive_window: int | None = _parameter("number")
    """The minimum window that SO_RCVBUF can set: 576 on Linux, a quarter of 2,304."""
    window_limit: int | None = _parameter("number")
    """The maximum to which the window grows while the reader keeps up, until SO_RCVBUF is set:
    3,145,728 on Linux (half of the usual maximum of tcp_rmem). 0: it does not grow."""
    nagle: bool | None = _parameter("switch")
    """Nagle's algorithm on new sockets; TCP_NODELAY switches it off."""
    nagle_small_only: bool | None = _parameter("switch")
    """Only a segment in flight that was not full holds a small one back (Linux, after Minshall)."""
    ack_delay: float | None = _parameter("seconds")
    """The delay of an acknowledgement: 0.2 on Windows (003, 8.3), 0.04 on Linux."""
    ack_on_read: bool | None = _parameter("switch")
    """A reader that empties the socket acknowledges at once, while its side has sent no answer yet
    (Linux)."""
    retransmit_first: float | None = _parameter("seconds")
    """The timeout before the first measured round trip: 3 on Windows 2000 (RFC 1122), else 1."""
    retransmit_least: float | None = _parameter("seconds")
    """The minimum timeout: 0.3 on Windows, 0.2 on Linux."""
    retransmit_limit: int | None = _parameter("number")
    """The number of timeouts in a row that a connection survives: 5 (TcpMaxDataRetransmissions), 15
    on Linux (tcp_retries2)."""
    connect_limit: int | None = _parameter("number")
    """The repeated SYNs: 2 on Windows 2000, 4 on Windows 10, 6 on Linux (tcp_syn_retries)."""
    refuses_when_full: bool | None = _parameter("switch")
    """A listener whose queue is full answers with a reset (Windows) or not at all (Linux)."""

    delay: float | None = _parameter("seconds")
    """The delay of one way: 0.0001."""
    bandwidth: int | None = _parameter("number")
    """The bytes a second of a machine's card; 0: no limit."""
    header_bytes: int | None = _parameter("number")
    """The header of each segment on the wire: 54 (Ethernet, IP and TCP)."""
    nic_queue: int | None = _parameter("number")
    """The maximum of bytes that wait below the transport; more is dropped. 0: no limit."""
    loss: float | None = _parameter("rate")
    """The rate of lost segments. A segment that only reopens a window is never lost, because there
    is no persist timer."""
    reorder: float | None = _parameter("rate")
    """The rate of segments that arrive later by `reorder_delay`."""
    reorder_delay: float | None = _parameter("seconds")
    """0: the same as the delay, at least a microsecond."""
    jitter: float | None = _parameter("seconds")
    """The maximum added to the delay, evenly distributed."""

    page_size: int | None = _parameter("number")
    """A power of two: 4,096, x86's."""
    lock_limit: int | None = _parameter("number")
    """The maximum of pages that a machine locks before it refuses (003, 7.1); 0: no limit."""
    pool_limit: int | None = _parameter("number")
    """The bytes of a machine's non-paged pool (003, 7.2); 0: no limit."""
    socket_price: int | None = _parameter("number")
    """The pool bytes of a socket: 2,048, a round figure."""
    operation_price: int | None = _parameter("number")
    """The pool bytes of an operation that waits in AFD: 512, a round figure."""
    refuse_charge: int | None = _parameter("number")
    """Refuses the n-th charge of pages or pool of each machine; 0: none."""

    short_operations: float | None = _parameter("rate")
    """The rate of reads, and on Linux writes, that transfer only a part."""
    shuffle_wakeups: bool | None = _parameter("switch")
    """The packets of one turn come in a random order."""
    wake_delay: float | None = _parameter("seconds")
    """The time from a wait's end until its thread runs, which then finds later events too."""
    reset_rate: float | None = _parameter("rate")
    """The rate of connections that are reset within `fault_span`."""
    half_close_rate: float | None = _parameter("rate")
    """The rate of connections of which one end stops sending."""
    stall_rate: float | None = _parameter("rate")
    """The rate of connections of which one end is not read any more."""
    vanish_rate: float | None = _parameter("rate")
    """The rate of connections of which one end disappears without a segment."""
    fault_span: float | None = _parameter("seconds")
    """The time from the connect within which these faults happen: 1."""

    lose_segment: int | None = _parameter("number")
    """Loses this one of all segments sent, by its number, counted from 1; 0: none."""
    late_segment: int | None = _parameter("number")
    """Delays this segment, as with `reorder`."""
    shorten_operation: int | None = _parameter("number")
    """Lets this call transfer a half, of the calls that could transfer a part (counts():
    'divisible_calls')."""
    reset_event: int | None = _parameter("number")
    """Resets the socket of this event (counts(): 'events') before the event."""
    half_close_event: int | None = _parameter("number")
    """Ends the sending side of the event's socket."""
    stall_event: int | None = _parameter("number")
    """Stops all reading of the event's socket."""
    vanish_event: int | None = _parameter("number")
    """Makes the event's socket disappear without a segment."""

    threads: bool | None = _parameter("switch")
    """Other threads post: a wait that the model cannot end sleeps until they do."""

    world: _core.World = field(init=False, repr=False, compare=False)
    """The world that the ports share."""

    def __post_init__(self) -> None:
        """Check every field and make the world."""
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ArgumentTypeError(errno.EINVAL, f"seed must be an int, not {self.seed!r}")
        if not 0 <= self.seed < 1 << 64:
            raise ArgumentError(
                errno.EINVAL, f"seed must be an int from 0 to 2**64 - 1, not {self.seed!r}"
            )
        if self.preset not in PRESETS:
            raise ArgumentError(
                errno.EINVAL, f"preset must be one of {', '.join(PRESETS)}, not {self.preset!r}"
            )
        values = _core.sim_preset(self.preset)
        for one in fields(self):
            given = getattr(self, one.name) if "kind" in one.metadata else None
            if given is not None:
                values[one.name] = _scaled(one.name, one.metadata["kind"], given)
        if values["page_size"] & (values["page_size"] - 1):
            raise ArgumentError(
                errno.EINVAL, f"page_size must be a power of two, not {self.page_size}"
            )
        object.__setattr__(self, "world", _core.World(values, self.seed))

    @property
    def values(self) -> dict[str, float]:
        """The value of every parameter: the one given here, else the preset's."""
        values = _core.sim_preset(self.preset)
        shown: dict[str, float] = {}
        for one in fields(self):
            if "kind" in one.metadata:
                given = getattr(self, one.name)
                scale = _SCALES[one.metadata["kind"]]
                preset = values[one.name] if scale == 1 else values[one.name] / scale
                shown[one.name] = preset if given is None else given
        return shown

    @property
    def now(self) -> float:
        """Virtual seconds since the world was made."""
        return self.world.now() / 1e9

    def trace_hash(self) -> str:
        """Return a hash of all events so far: 16 hexadecimal digits, the same on every platform."""
        return f"{self.world.hash():016x}"

    def counts(self) -> dict[str, int]:
        """Return the counts so far: events, segments, retransmissions, bytes copied, and so on."""
        return self.world.counts()

    def machines(self) -> list[dict[str, int]]:
        """Return the bytes of each port's machine: locked, pool, and the peak of each."""
        return self.world.machines()

    def keep_trace(self, on: bool = True) -> None:
        """Keep the lines of the trace from here on, which takes memory."""
        self.world.keep_lines(on)

    def trace(self) -> list[TraceLine]:
        """Return the kept lines of the trace."""
        return [TraceLine(line[0] / 1e9, *line[1:]) for line in self.world.lines()]

    def pass_time(self, timeout: float) -> bool:
        """Let virtual time pass until a port has something to do, for at most `timeout` seconds.

        Use it when one thread runs several ports with run_once(0): a port's own wait would not end
        when another port is due. Returns False if the time is over and no port is due. Timers of
        the ports (call_later, timeouts) do not end it. Raises ArgumentError or ArgumentTypeError
        for an invalid time.
        """
        return self.world.pass_time(_scaled("timeout", "seconds", timeout))

    def inject_fault(self, sock: Socket, fault: str) -> bool:
        """Inject a fault into one end of a connection. False: the connection is over already.

        'reset' ends both ends with an error. 'half_close' ends this end's sending side. After
        'stall' this end is not read any more. After 'vanish' it neither receives nor sends a
        segment.
        """
        if fault not in FAULTS:
            raise ArgumentError(
                errno.EINVAL, f"fault must be one of {', '.join(FAULTS)}, not {fault!r}"
            )
        return self.world.inject_fault(sock.fileno(), FAULTS.index(fault))


def _scaled(name: str, kind: str, given: Any) -> int:
    """Convert a parameter to the model's units: nanoseconds, millionths, bytes, 0 or 1."""
    if kind == "switch":
        if not isinstance(given, bool):
            raise ArgumentTypeError(errno.EINVAL, f"{name} must be True or False, not {given!r}")
        return int(given)
    wanted, article = ((int,), "an int") if kind == "number" else ((int, float), "a number")
    if not isinstance(given, wanted) or isinstance(given, bool):
        raise ArgumentTypeError(errno.EINVAL, f"{name} must be {article}, not {given!r}")
    minimum = _MINIMUM.get(name, 0)
    maximum = (
        1 if kind == "rate" else _MAXIMUM.get(name, 1 << 40 if kind == "number" else 1_000_000)
    )
    if not minimum <= given <= maximum:
        raise ArgumentError(
            errno.EINVAL, f"{name} must be {article} from {minimum} to {maximum}, not {given!r}"
        )
    return round(given * _SCALES[kind])
