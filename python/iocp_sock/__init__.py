"""Completion-port sockets on io_uring, epoll and Windows, with a ledger of locked memory."""

from iocp_sock._core import (
    PAGE_SIZE,
    Buffer,
    Completion,
    Event,
    Operation,
    RegisteredMemory,
    Socket,
    Timer,
    compiler,
    features,
    page_span,
    probe,
    sleep,
    version,
    wait_all,
    wait_any,
)
from iocp_sock.blocking import BlockingSocket
from iocp_sock.by_name import Connecting
from iocp_sock.config import AdaptiveRule, PortConfig
from iocp_sock.errors import (
    ArgumentError,
    ArgumentTypeError,
    BackendUnavailable,
    BudgetExceeded,
    Cancelled,
    ControlUnavailable,
    Error,
    ForkedPort,
    NothingDue,
    PortClosed,
    PortRunning,
    ResourceExhausted,
    SocketClosed,
    StillPending,
    TimedOut,
    WrongThread,
)
from iocp_sock.ledger import Ledger
from iocp_sock.options import KeepAlive
from iocp_sock.port import Port
from iocp_sock.routines import ROUTINES_RAN, RoutinesRan
from iocp_sock.sim import Sim
from iocp_sock.stats import Histogram, SocketStats, Stats
from iocp_sock.thread_port import thread_port
from iocp_sock.trace import Trace, TraceEvent
from iocp_sock.warning import NagleStallWarning, UnpostedReceiveWarning

__version__ = version()

__all__ = [
    "PAGE_SIZE",
    "ROUTINES_RAN",
    "AdaptiveRule",
    "ArgumentError",
    "ArgumentTypeError",
    "BackendUnavailable",
    "BlockingSocket",
    "BudgetExceeded",
    "Buffer",
    "Cancelled",
    "Completion",
    "Connecting",
    "ControlUnavailable",
    "Error",
    "Event",
    "ForkedPort",
    "Histogram",
    "KeepAlive",
    "Ledger",
    "NagleStallWarning",
    "NothingDue",
    "Operation",
    "Port",
    "PortClosed",
    "PortConfig",
    "PortRunning",
    "RegisteredMemory",
    "ResourceExhausted",
    "RoutinesRan",
    "Sim",
    "Socket",
    "SocketClosed",
    "SocketStats",
    "Stats",
    "StillPending",
    "TimedOut",
    "Timer",
    "Trace",
    "TraceEvent",
    "UnpostedReceiveWarning",
    "WrongThread",
    "compiler",
    "features",
    "page_span",
    "probe",
    "sleep",
    "thread_port",
    "version",
    "wait_all",
    "wait_any",
]
