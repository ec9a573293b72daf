"""The completion port."""

from __future__ import annotations

import errno
import socket as _socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

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

    class HasFileno(Protocol):
        def fileno(self) -> int: ...


__all__ = ["Port"]


_REUSE: int = getattr(_socket, "SO_EXCLUSIVEADDRUSE", _socket.SO_REUSEADDR)
_MAX_LISTED = 1 << 30
_MAX_EVENTS = 1 << 20


class Port(_core.Port):
    """Sockets, the operations posted on them, and the queue of their completions.

    Port(config), or Port(backend="epoll", budget=4 << 20, ...) with the fields of PortConfig as
    keywords. One thread runs a port (run(), run_once(), get()); every thread may post to it. As a
    context manager it closes itself. Raises BackendUnavailable if the system refuses the requested
    backend. With 'auto' the port takes the next one, and `backend_reason` gives the reason.
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
                raise ArgumentTypeError(errno.EINVAL, f"Port(): {error}") from None
        elif options:
            raise ArgumentError(errno.EINVAL, "give Port() a PortConfig or keywords, not both")
        elif not isinstance(config, PortConfig):
            raise ArgumentTypeError(errno.EINVAL, f"config must be a PortConfig, not {config!r}")
        super().__init__(config)
        self.config = config
        """The configuration that the port was made with."""
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
        """The ledger of locked memory at this moment; readable even after close()."""
        return Ledger(**self._ledger())

    def stats(self, *, sockets: int = 0) -> Stats:
        """Return a snapshot of the port's statistics, even after close().

        `sockets` is the maximum number of sockets to list, those with the largest charge first.
        Without a list the cost does not grow with the number of sockets and operations. One figure
        is an exception: where the system locks memory, `ledger.kernel_locked` is summed over all
        operations. Raises ArgumentError for an invalid number.
        """
        if not isinstance(sockets, int) or isinstance(sockets, bool):
            raise ArgumentTypeError(
                errno.EINVAL,
                f"sockets must be an int, 0 or more (how many to list), not {sockets!r}",
            )
        if not 0 <= sockets <= _MAX_LISTED:
            raise ArgumentError(
                errno.EINVAL,
                f"sockets must be from 0 to {_MAX_LISTED} (how many to list), not {sockets!r}",
            )
        return Stats.taken(self._figures(sockets))

    def trace(self, events: int = 65536) -> Trace:
        """Start to record the life of every operation, and return the Trace, a context manager.

        The memory for `events` events, 56 bytes each, is taken now. When it is used up, new events
        overwrite the oldest, which are counted. Raises ArgumentError while a trace runs already.
        """
        if not isinstance(events, int) or isinstance(events, bool):
            raise ArgumentTypeError(
                errno.EINVAL, f"events must be an int (how many to keep), not {events!r}"
            )
        if not 1 <= events <= _MAX_EVENTS:
            raise ArgumentError(
                errno.EINVAL,
                f"events must be from 1 to {_MAX_EVENTS} (how many to keep), not {events!r}",
            )
        return Trace._start(self, events)

    def stop_trace(self) -> Trace:
        """End the trace that trace() started, and return it with its events.

        Works even after close(). Raises ArgumentError if no trace runs.
        """
        return Trace._stop(self)

    def socket(
        self,
        family: int = _socket.AF_INET,
        type: int = _socket.SOCK_STREAM,
        proto: int = 0,
    ) -> Socket:
        """Make a socket, with the arguments of socket.socket().

        Raises ResourceExhausted if the system has no descriptor or memory for it.
        """
        return super().socket(family, type, proto)

    def adopt(self, sock: _socket.socket | int, *, borrow: bool = False) -> Socket:
        """Take over an open descriptor, or a socket.socket, which is detached.

        The port then owns the descriptor. The Socket's close() closes it; holders of a duplicate
        keep the connection. Socket.detach() restores the blocking mode. Windows does not report the
        mode of a bare descriptor, which then becomes blocking. With borrow the descriptor stays the
        caller's, and a socket.socket is not detached. The Socket then ends as always, but leaves
        the descriptor open, and the caller closes it once Socket.closed is true. On Windows the
        handle of a named pipe that was opened for overlapped I/O becomes a stream without
        addresses, options, shutdown() and wait_writable(). Raises ArgumentTypeError for an
        ssl.SSLSocket.
        """
        if not isinstance(sock, _socket.socket):
            return self._adopt(sock, False, borrow)
        tls = sys.modules.get("ssl")
        if tls is not None and isinstance(sock, tls.SSLSocket):
            raise ArgumentTypeError(
                errno.EINVAL,
                "adopt() takes no SSLSocket, because its TLS would be lost; adopt the socket "
                "below it",
            )
        adopted = self._adopt(sock.fileno(), sock.gettimeout() is not None, borrow)
        if not borrow:
            sock.detach()
        return adopted

    def watch(self, fd: int | HasFileno) -> Socket:
        """Watch a descriptor that stays the caller's: a pipe, a terminal, a pidfd, a socket.

        The Socket takes readiness waits only: recv_zero() completes when there is something to
        read, the end of the stream or an error, and wait_writable() when there is room. Its close()
        leaves the descriptor open. Close the Socket before the descriptor, because it may keep the
        file open. Several Sockets may watch one descriptor, even that of a Socket of this port. On
        Windows watch() takes sockets only, and a wait on a socket that the caller closes fails.
        Raises PermissionError for a file that is always ready, such as a regular file, and OSError
        for a descriptor that is not open.
        """
        fileno: Any = getattr(fd, "fileno", None)
        number: Any = fileno() if callable(fileno) else fd
        return self._watch(number)

    def listen(self, address: Any, *, backlog: int = 1024, reuse_port: bool = False) -> Socket:
        """Make a listening stream socket bound to address, with SO_REUSEADDR.

        The address decides the family: a path is AF_UNIX, a host with a colon AF_INET6. The host ""
        is every IPv4 interface. A str "host:port" is refused, because it would be a path. On
        Windows SO_REUSEADDR would share the address with every program that asks. So listen() uses
        SO_EXCLUSIVEADDRUSE on Windows, and has no reuse_port there.
        """
        if reuse_port and not hasattr(_socket, "SO_REUSEPORT"):
            raise ArgumentError(
                errno.EINVAL, "this system has no SO_REUSEPORT; leave reuse_port out"
            )
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
        """Make a stream socket and post its connect. Operation.socket is the new Socket."""
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
        """Look a name up in a thread, and connect to the first of its addresses that answers.

        The attempts follow RFC 8305 (happy eyeballs): the families alternate, the next attempt
        starts when the one before has failed or 0.25 s have passed, and the first connection ends
        the others. The thread that runs the port calls callback(connecting) once, unless the port
        is closed first. `timeout` (seconds) includes the lookup. `resolver` is called like
        socket.getaddrinfo, in a thread of its own. At most four run at a time for all ports; one
        that takes longer than 2 s, or was given up, delays no other. A numeric host with a numeric
        service needs no lookup and no resolver. A failed lookup is reported in Connecting.error.
        Raises PortClosed, ArgumentError for an invalid port number, ArgumentTypeError for a
        callback or resolver that is not callable, and ResourceExhausted if the system has no
        thread.
        """
        for what in (resolver, callback):
            if what is not None and not callable(what):
                raise ArgumentTypeError(
                    errno.EINVAL, f"callback and resolver must be callable, not {what!r}"
                )
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
