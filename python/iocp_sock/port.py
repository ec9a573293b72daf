"""The completion port."""

from __future__ import annotations

import socket as _socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from iocp_sock import _core
from iocp_sock.address import AF_UNIX, family_of
from iocp_sock.by_name import Connecting
from iocp_sock.config import PortConfig
from iocp_sock.errors import ArgumentError, ArgumentTypeError
from iocp_sock.ledger import Ledger
from iocp_sock.stats import Stats
from iocp_sock.trace import Trace

if TYPE_CHECKING:
    from typing_extensions import Self

    from iocp_sock._core import Completion, Event, Operation, Socket

__all__ = ["Port"]


_REUSE: int = getattr(_socket, "SO_EXCLUSIVEADDRUSE", _socket.SO_REUSEADDR)
_MOST_LISTED = 1 << 30
_MOST_EVENTS = 1 << 20


class Port(_core.Port):
    """Sockets, the operations posted on them, and the queue of their completions.

    Port(config) or Port(backend="epoll", budget=4 << 20, ...) with the fields of PortConfig as
    keywords. One thread runs a port (run(), run_once(), get()); every other thread may post to it.
    As a context manager it closes itself. Raises BackendUnavailable when the backend that was asked
    for is refused here; with 'auto' the next one is taken and `backend_reason` says why.
    """

    def __init__(self, config: PortConfig | None = None, **options: Any) -> None:
        if config is None:
            if options.get("backend", "") is None:
                del options["backend"]
            try:
                config = PortConfig(**options)
            except TypeError as error:
                if isinstance(error, OSError):
                    raise
                raise ArgumentTypeError(22, f"Port(): {error}") from None
        elif options:
            raise ArgumentError(22, "give Port() a PortConfig or keywords, not both")
        elif not isinstance(config, PortConfig):
            raise ArgumentTypeError(22, "config is a PortConfig")
        super().__init__(config)
        self.config = config
        """What the port was made with."""
        self._trace: Trace | None = None

    def __repr__(self) -> str:
        try:
            name = f"<iocp_sock.Port {self.backend}"
        except TypeError:
            return "<iocp_sock.Port before its __init__()>"
        if self.closed:
            return f"{name}, closed>"
        try:
            sockets = self.stats().sockets
        except OSError:
            return f"{name}, of the parent process>"
        return f"{name}, open, sockets={sockets}, outstanding={self.outstanding}>"

    @property
    def ledger(self) -> Ledger:
        """The ledger of locked memory at this moment; readable also after close()."""
        return Ledger(**self._ledger())

    def stats(self, *, sockets: int = 0) -> Stats:
        """All figures of this moment; readable also after close().

        What it costs does not depend on how many operations and sockets there are, unless `sockets`
        asks for a list of them: at most so many, those with the largest charge first. (Where the
        system locks memory for operations, `ledger.kernel_locked` is asked of each of them.)
        Raises ArgumentError for a number that cannot be.
        """
        if not isinstance(sockets, int) or isinstance(sockets, bool):
            raise ArgumentTypeError(22, f"sockets is how many to list, an int, not {sockets!r}")
        if not 0 <= sockets <= _MOST_LISTED:
            raise ArgumentError(22, f"sockets is how many to list, from 0 to {_MOST_LISTED}")
        return Stats.taken(self._figures(sockets))

    def trace(self, events: int = 65536) -> Trace:
        """Start to record the life of every operation; returns the Trace, a context manager.

        The memory for `events` events, 56 bytes each, is taken now; when they are used up, the
        oldest are overwritten and counted. Raises ArgumentError while a trace runs already.
        """
        if not isinstance(events, int) or isinstance(events, bool):
            raise ArgumentTypeError(22, f"events is an int, not {events!r}")
        if not 1 <= events <= _MOST_EVENTS:
            raise ArgumentError(22, f"events is a number from 1 to {_MOST_EVENTS}, not {events!r}")
        return Trace._start(self, events)

    def stop_trace(self) -> Trace:
        """End the trace that trace() started, and return it with what it recorded.

        Also after close(). Raises ArgumentError when none runs.
        """
        return Trace._stop(self)

    def socket(
        self,
        family: int = _socket.AF_INET,
        type: int = _socket.SOCK_STREAM,
        proto: int = 0,
    ) -> Socket:
        """Make a socket, with the arguments of socket.socket().

        Raises ResourceExhausted when the system has no descriptor or memory for it.
        """
        return super().socket(family, type, proto)

    def adopt(self, sock: _socket.socket | int) -> Socket:
        """Take over a socket.socket, which is detached, or an open descriptor.

        The port owns it from here on; close() of the Socket closes it and leaves the connection to
        whoever holds a duplicate of the descriptor. Socket.detach() hands it back blocking or not
        as it was; Windows does not tell that of a bare descriptor, which is then blocking. Raises
        ArgumentTypeError for an ssl.SSLSocket.
        """
        if not isinstance(sock, _socket.socket):
            return self._adopt(sock)
        tls = sys.modules.get("ssl")
        if tls is not None and isinstance(sock, tls.SSLSocket):
            raise ArgumentTypeError(
                22, "adopt() takes no SSLSocket, whose TLS would be lost; adopt the socket below it"
            )
        adopted = self._adopt(sock.fileno(), sock.gettimeout() is not None)
        sock.detach()
        return adopted

    def listen(self, address: Any, *, backlog: int = 1024, reuse_port: bool = False) -> Socket:
        """Make a listening stream socket bound to address, with SO_REUSEADDR.

        The family follows from the address: a path is AF_UNIX, a host with a colon AF_INET6; the
        host "" is every IPv4 interface. A str "host:port" is refused, for it would be a path. On
        Windows, where SO_REUSEADDR would share the address with any program that asks, it is
        SO_EXCLUSIVEADDRUSE, and there is no reuse_port.
        """
        if reuse_port and not hasattr(_socket, "SO_REUSEPORT"):
            raise ArgumentError(22, "there is no SO_REUSEPORT here")
        sock = self.socket(family_of(address))
        try:
            if sock.family != AF_UNIX:
                sock.setsockopt(_socket.SOL_SOCKET, _REUSE, 1)
            if reuse_port:
                sock.reuse_port = True
            sock.bind(address)
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(
        self,
        address: Any,
        *,
        callback: Callable[[Completion], object] | None = None,
        timeout: float | None = None,
        event: Event | None = None,
    ) -> Operation:
        """Make a stream socket and post its connect; Operation.socket is the new Socket."""
        sock = self.socket(family_of(address))
        try:
            return sock.connect(address, callback=callback, timeout=timeout, event=event)
        except BaseException:
            sock.close()
            raise

    def connect_by_name(
        self,
        host: str | bytes | bytearray | None,
        service: int | str | bytes | None,
        *,
        family: int = _socket.AF_UNSPEC,
        callback: Callable[[Connecting], object] | None = None,
        timeout: float | None = None,
        resolver: Callable[..., Any] = _socket.getaddrinfo,
    ) -> Connecting:
        """Look a name up beside the port, and connect to the first of its addresses that answers.

        The addresses are tried in the order of RFC 8305 (happy eyeballs): the families take turns,
        the next one starts when the one before has failed or 0.25 s have passed, and the first
        connection wins; the others are given up. callback(connecting) comes once, in the thread
        that runs the port, unless the port is closed first. `timeout` (seconds) includes the
        lookup. `resolver` is called as socket.getaddrinfo is, in a thread of its own, four of them
        at a time for all ports; one that takes longer than 2 s, or was given up, delays no other. A
        numeric host with a numeric service needs no lookup, and no resolver is asked.
        A host that cannot be looked up ends in Connecting.error. Raises PortClosed, ArgumentError
        for a number that is no port, ArgumentTypeError for a callback that cannot be called, and
        ResourceExhausted where the system has no thread.
        """
        for what in (resolver, callback):
            if what is not None and not callable(what):
                raise ArgumentTypeError(22, f"{what!r} cannot be called")
        connecting = Connecting(self, host, service, callback)
        connecting._begin(family, resolver, timeout)
        return connecting

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
