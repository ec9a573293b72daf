"""A model of the stack below a port: deterministic, in virtual time, with faults from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from iocp_sock import _core
from iocp_sock.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from iocp_sock._core import Socket

__all__ = ["MISHAPS", "PRESETS", "Sim", "TraceLine"]

PRESETS = ("windows-2000", "windows-10", "linux")
"""The presets; README.md of the model says where their figures come from."""

MISHAPS = ("reset", "half_close", "stall", "vanish")
"""What can befall a connection, in the order of the model's own numbers."""

_SCALES = {"seconds": 1_000_000_000, "rate": 1_000_000, "number": 1, "switch": 1}
_LEAST = {"mss": 1, "receive_window": 1, "page_size": 1}
_MOST = {"mss": 1 << 20, "receive_window": 1 << 30, "send_buffer": 1 << 30}
_MOST |= {"receive_buffer": 1 << 30, "least_send_buffer": 1 << 30, "send_piece": 1 << 30}
_MOST |= {"least_receive_option": 1 << 30, "least_receive_window": 1 << 30, "window_limit": 1 << 30}


class TraceLine(NamedTuple):
    """One thing that happened in the model."""

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

    Every Sim is a world of its own; ports that are given the same object share it and reach each
    other by address, each on a machine of its own with its own locked pages, pool and network card.
    Time is virtual: a wait takes none, and one that nothing could end raises NothingDue. The same
    seed and the same calls give the same trace. One thread at a time runs the ports of a world.

    A parameter that is None has the preset's value; `values` shows them all. Times are in seconds,
    sizes in bytes, rates from 0 to 1. "003" is the document on the architecture of sockets that the
    model follows. Raises ArgumentError or ArgumentTypeError for a value that cannot be.
    """

    seed: int = 0
    """Of everything that chance decides; 64 bits."""
    preset: str = "linux"
    """'windows-2000', 'windows-10' or 'linux'."""

    locks: bool | None = _parameter("switch")
    """AFD (003, 4): a send that does not fit and a receive that waits lock their pages. False, as
    on Linux: what fits is copied, and nobody waits with memory."""
    send_buffer: int | None = _parameter("number")
    """Bytes copied and not acknowledged. 8,192 (AFD's DefaultSendWindow), 65,536, and 87,040 (a
    fresh Linux connection over Ethernet)."""
    receive_buffer: int | None = _parameter("number")
    """Bytes beside the transport's window (003, 6.2). 8,192 (AFD's DefaultReceiveWindow), 65,536,
    and 0: on Linux window and buffer are one."""
    one_more_send: bool | None = _parameter("switch")
    """A send of any size is taken while the buffer is not yet full (Windows); where `locks` is
    False, as much of it as fills the last segment that begins in the buffer."""
    whole_sends: bool | None = _parameter("switch")
    """What was copied takes room in the buffer until its whole send is acknowledged (Windows), not
    byte by byte."""
    send_piece: int | None = _parameter("number")
    """Where `locks` is False and there is any room, a send goes on for as long as the transport
    sends at once, and takes a piece of this more, of half the peer's window at most: 65,536 on
    Linux, whose sends look at the buffer's size once for each piece. 0: no more than fits."""
    dynamic_send_buffer: bool | None = _parameter("switch")
    """The buffer is at least as large as the peer's window until SO_SNDBUF is set (since Windows 7,
    where it follows the ideal send backlog)."""
    flush_interval: float | None = _parameter("seconds")
    """The send buffer goes to the transport so often at most, or with a full segment (003, 3.3,
    which guesses that there is an interval). 0: at once."""
    blocking_sends: bool | None = _parameter("switch")
    """Locked sends are those of callers that wait: one segment per acknowledgement with or without
    Nagle (003, 4.1)."""
    doubles_sizes: bool | None = _parameter("switch")
    """SO_SNDBUF and SO_RCVBUF read twice what was set (Linux, socket(7))."""
    least_send_buffer: int | None = _parameter("number")
    """What SO_SNDBUF cannot go below: 4,608 on Linux."""
    least_receive_option: int | None = _parameter("number")
    """What SO_RCVBUF reads at least: 2,304 on Linux."""
    receive_option_window: bool | None = _parameter("switch")
    """SO_RCVBUF sets the window (Linux), not the receive buffer (AFD)."""
    end_outlives_reset: bool | None = _parameter("switch")
    """A reader that the end of the stream has reached goes on to read the end after a reset
    (Linux)."""

    mss: int | None = _parameter("number")
    """Bytes of a full segment: 1,460, Ethernet's."""
    receive_window: int | None = _parameter("number")
    """17,520 on Windows 2000 (twelve segments; 003, 2.3), 65,535 on the others, without scaling."""
    least_receive_window: int | None = _parameter("number")
    """What SO_RCVBUF cannot make the window smaller than: 576 on Linux, a quarter of 2,304."""
    window_limit: int | None = _parameter("number")
    """The window grows to this while the reader keeps up, until SO_RCVBUF is set: 3,145,728 on
    Linux (half of a usual largest tcp_rmem). 0: it stays."""
    nagle: bool | None = _parameter("switch")
    """Nagle's algorithm on new sockets; TCP_NODELAY switches it off."""
    nagle_small_only: bool | None = _parameter("switch")
    """Only a segment in flight that was not full holds a small one back (Linux, after Minshall)."""
    ack_delay: float | None = _parameter("seconds")
    """0.2 on Windows (003, 8.3), 0.04 on Linux."""
    ack_on_read: bool | None = _parameter("switch")
    """A reader that empties the socket acknowledges at once while its side has not answered yet
    (Linux)."""
    retransmit_first: float | None = _parameter("seconds")
    """Timeout before a round trip was measured: 3 on Windows 2000 (RFC 1122), else 1 (RFC 6298)."""
    retransmit_least: float | None = _parameter("seconds")
    """0.3 on Windows, 0.2 on Linux."""
    retransmit_limit: int | None = _parameter("number")
    """Timeouts in a row that a connection survives: 5 (TcpMaxDataRetransmissions), 15 on Linux
    (tcp_retries2)."""
    connect_limit: int | None = _parameter("number")
    """SYNs sent again: 2 on Windows 2000, 4 on Windows 10, 6 on Linux (tcp_syn_retries)."""
    refuses_when_full: bool | None = _parameter("switch")
    """A listener whose queue is full answers with a reset (Windows) or not at all (Linux)."""

    delay: float | None = _parameter("seconds")
    """Of one way: 0.0001."""
    bandwidth: int | None = _parameter("number")
    """Bytes a second of a machine's card; 0: no limit."""
    header_bytes: int | None = _parameter("number")
    """Of each segment on the wire: 54 (Ethernet, IP and TCP)."""
    nic_queue: int | None = _parameter("number")
    """Bytes that may wait below the transport before more is dropped; 0: no limit."""
    loss: float | None = _parameter("rate")
    """Segments that are lost. What only reopens a window is not: there is no persist timer."""
    reorder: float | None = _parameter("rate")
    """Segments that come later by `reorder_delay`."""
    reorder_delay: float | None = _parameter("seconds")
    """0: the delay once more, at least a microsecond."""
    jitter: float | None = _parameter("seconds")
    """Added to the delay, evenly spread."""

    page_size: int | None = _parameter("number")
    """4,096, a power of two: x86's."""
    lock_limit: int | None = _parameter("number")
    """Pages that a machine can have locked before it refuses (003, 7.1); 0: no limit."""
    pool_limit: int | None = _parameter("number")
    """Bytes of a machine's non-paged pool (003, 7.2); 0: no limit."""
    socket_price: int | None = _parameter("number")
    """Pool bytes of a socket: 2,048, a round figure."""
    operation_price: int | None = _parameter("number")
    """Pool bytes of an operation that waits in AFD: 512, a round figure."""
    refuse_charge: int | None = _parameter("number")
    """The n-th charge of pages or pool of each machine is refused; 0: none."""

    short_operations: float | None = _parameter("rate")
    """Reads, and on Linux writes, that move a part only."""
    shuffle_wakeups: bool | None = _parameter("switch")
    """The packets of one turn come in any order."""
    wake_delay: float | None = _parameter("seconds")
    """From what ends a wait to the thread that waited: it finds what happens meanwhile as well."""
    reset_rate: float | None = _parameter("rate")
    """Connections that are reset within `mishap_span`."""
    half_close_rate: float | None = _parameter("rate")
    """Connections of which one end stops sending."""
    stall_rate: float | None = _parameter("rate")
    """Connections of which one end is not read any more."""
    vanish_rate: float | None = _parameter("rate")
    """Connections of which one end is gone without a word."""
    mishap_span: float | None = _parameter("seconds")
    """From the connect: 1."""

    lose_segment: int | None = _parameter("number")
    """This segment is lost, of all that leave, by its number from 1 on; 0: none."""
    late_segment: int | None = _parameter("number")
    """This one comes later, as with `reorder`."""
    shorten_operation: int | None = _parameter("number")
    """This call moves a half, of those that could move a part (counts(): 'divisible_calls')."""
    reset_event: int | None = _parameter("number")
    """The socket that this event (counts(): 'events') is for is reset before it."""
    half_close_event: int | None = _parameter("number")
    """Its sending side ends."""
    stall_event: int | None = _parameter("number")
    """It is not read any more."""
    vanish_event: int | None = _parameter("number")
    """It is gone without a word."""

    threads: bool | None = _parameter("switch")
    """Other threads post: a wait that nothing in the model can end sleeps until they do."""

    world: _core.World = field(init=False, repr=False, compare=False)
    """What the ports share."""

    def __post_init__(self) -> None:
        """Check every field and make the world."""
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ArgumentTypeError(22, f"seed is an int, not {self.seed!r}")
        if not 0 <= self.seed < 1 << 64:
            raise ArgumentError(22, f"seed is an int from 0 to 2**64 - 1, not {self.seed!r}")
        if self.preset not in PRESETS:
            raise ArgumentError(22, f"preset is one of {', '.join(PRESETS)}, not {self.preset!r}")
        values = _core.sim_preset(self.preset)
        for one in fields(self):
            given = getattr(self, one.name) if "kind" in one.metadata else None
            if given is not None:
                values[one.name] = _scaled(one.name, one.metadata["kind"], given)
        if values["page_size"] & (values["page_size"] - 1):
            raise ArgumentError(22, f"page_size is a power of two, not {self.page_size}")
        object.__setattr__(self, "world", _core.World(values, self.seed))

    @property
    def values(self) -> dict[str, float]:
        """Every parameter as it is: the preset's, or the one given here."""
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
        """Everything that has happened as 16 hexadecimal digits, alike on every platform."""
        return f"{self.world.hash():016x}"

    def counts(self) -> dict[str, int]:
        """What has happened so far: events, segments, retransmissions, bytes copied, and so on."""
        return self.world.counts()

    def machines(self) -> list[dict[str, int]]:
        """What each port's machine has lent, in bytes: locked, pool, and the peak of each."""
        return self.world.machines()

    def keep_trace(self, on: bool = True) -> None:
        """Keep the lines of the trace from here on; they take memory."""
        self.world.keep_lines(on)

    def trace(self) -> list[TraceLine]:
        """Give the lines that were kept."""
        return [TraceLine(line[0] / 1e9, *line[1:]) for line in self.world.lines()]

    def pass_time(self, timeout: float) -> bool:
        """Let virtual time pass until a port has something to do, for at most `timeout` seconds.

        For several ports that one thread runs in turn with run_once(0): the wait of one of them
        goes on while another is due. Returns False when the time is over and none is. Timers of the
        ports (call_later, timeouts) do not end it. Raises ArgumentError or ArgumentTypeError for a
        time that cannot be.
        """
        return self.world.pass_time(_scaled("timeout", "seconds", timeout))

    def befall(self, sock: Socket, mishap: str) -> bool:
        """Let something befall one end of a connection of this world; False: it is over already.

        'reset' ends both ends with an error; 'half_close' ends its sending side; after 'stall'
        nobody reads it any more; after 'vanish' nothing reaches it and nothing comes from it.
        """
        if mishap not in MISHAPS:
            raise ArgumentError(22, f"mishap is one of {', '.join(MISHAPS)}, not {mishap!r}")
        return self.world.befall(sock.fileno(), MISHAPS.index(mishap))


def _scaled(name: str, kind: str, given: Any) -> int:
    """Turn a parameter into what the model counts in: nanoseconds, millionths, bytes, 0 or 1."""
    if kind == "switch":
        if not isinstance(given, bool):
            raise ArgumentTypeError(22, f"{name} is True or False, not {given!r}")
        return int(given)
    wanted = (int,) if kind == "number" else (int, float)
    if not isinstance(given, wanted) or isinstance(given, bool):
        raise ArgumentTypeError(22, f"{name} is a number, not {given!r}")
    least = _LEAST.get(name, 0)
    most = 1 if kind == "rate" else _MOST.get(name, 1 << 40 if kind == "number" else 1_000_000)
    if not least <= given <= most:
        raise ArgumentError(22, f"{name} is a number from {least} to {most}, not {given!r}")
    return round(given * _SCALES[kind])
