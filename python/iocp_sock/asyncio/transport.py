"""The common part of the stream and datagram transports: asyncio's interface to a Socket."""

from __future__ import annotations

import contextvars
import socket
import warnings
from asyncio import base_events, constants, transports, trsock
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from iocp_sock.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from iocp_sock._core import Completion, Operation, Socket
    from iocp_sock.asyncio.loop import PortEventLoop

__all__ = ["SocketTransport"]

_attach: Any = getattr(base_events.Server, "_attach")  # noqa: B009 - unknown to the stubs
# From Python 3.13 on asyncio's Server keeps its transports, so that it can close them.
_SERVER_KNOWS_TRANSPORTS = _attach.__code__.co_argcount == 2


class _CoreSocket(trsock.TransportSocket):
    """The extra info "socket" of an accepted connection: a Socket in a socket.socket's form."""

    __slots__ = ()
    if TYPE_CHECKING:
        _sock: Any

        def __init__(self, sock: Any) -> None: ...

    @property
    def family(self) -> int:
        return socket.AddressFamily(self._sock.family)

    @property
    def type(self) -> int:
        return socket.SocketKind(self._sock.type)

    def dup(self) -> socket.socket:
        copy: socket.socket = self._sock.duplicate()
        return copy

    def get_inheritable(self) -> bool:
        return False


class SocketTransport(transports._FlowControlMixin, transports.Transport):
    """A transport over a Socket of the loop's port.

    `sock` is the socket.socket of a connection that asyncio made, whose descriptor the Socket
    borrows; None for an accepted connection, whose descriptor is the Socket's own.
    """

    # Attributes that __del__() needs even if the constructor has failed.
    _core: Any = None  # the Socket, until connection_lost() was called
    _sock: socket.socket | None = None
    _server: Any = None
    if TYPE_CHECKING:  # members of asyncio's bases that the type stubs leave out
        _loop: Any
        _extra: dict[str, Any]
        _maybe_pause_protocol: Callable[[], None]
        _maybe_resume_protocol: Callable[[], None]

    def __init__(
        self,
        loop: PortEventLoop,
        core: Socket,
        sock: socket.socket | None,
        protocol: Any,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        super().__init__(extra, loop)
        self._core = core
        self._sock = sock
        self._sock_fd = core.fileno()
        self._extra["socket"] = trsock.TransportSocket(sock) if sock else _CoreSocket(core)
        self._extra["iocp_sock"] = core
        self._extra["sockname"] = _name_or_none(core.getsockname)
        if "peername" not in self._extra:
            self._extra["peername"] = _name_or_none(core.getpeername)
        self._context = contextvars.copy_context()
        self._subscription: Operation | None = None  # of receive() or receive_from()
        self._unfinished = 0  # unfinished sends, which keep the transport open
        self._conn_lost = 0  # counts from the moment that connection_lost() is scheduled
        self._closing = False
        self._paused = False
        self._protocol_connected = False
        self.set_protocol(protocol)
        if server is not None:
            server._attach(*((self,) if _SERVER_KNOWS_TRANSPORTS else ()))
            self._server = server
        loop._transports[self._sock_fd] = self
        loop.call_soon(self._protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        if waiter is not None:
            loop.call_soon(_made, waiter)

    def __repr__(self) -> str:
        info = [self.__class__.__name__]
        if self._core is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._sock_fd}")
        if self._core is not None and self._loop is not None and not self._loop.is_closed():
            reading = self._subscription is not None and self.is_reading()
            info.append(f"read={'polling' if reading else 'idle'}")
            size = self.get_write_buffer_size()
            info.append(f"write=<{'polling' if size else 'idle'}, bufsize={size}>")
        return f"<{' '.join(info)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._core is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._release()
            self._leave_server()

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._protocol_connected = True

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return self._core.queued_bytes if self._core is not None else 0

    # --- reading ----------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if not self.is_reading():
            return
        self._paused = True
        if self._subscription is not None:
            self._core.pause()
        if self._loop.get_debug():
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        self._go_on()
        if self._loop.get_debug():
            logger.debug("%r resumes reading", self)

    def _go_on(self) -> None:
        """Continue to read after a pause."""
        if self._subscription is None:
            self._start_reading()
        else:
            self._core.resume()

    def _start_reading(self) -> None:
        """Subscribe to received data, unless connection_made() has paused or closed reading."""
        if not self.is_reading() or self._subscription is not None:
            return
        try:
            self._subscription = self._subscribe()
        except ArgumentError:
            # The peer has reset the connection before the transport was made.
            self._force_close(ConnectionResetError("Connection lost"))
        except OSError as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")

    def _subscribe(self) -> Any:
        raise NotImplementedError

    # --- sending ----------------------------------------------------------------------------------

    def _drop_write(self) -> None:
        """Count a write after the connection was lost, and log it from the fifth on."""
        if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning("socket.send() raised exception.")
        self._conn_lost += 1

    def _sent(self, completion: Completion) -> None:
        """Handle the completion of a send that had to wait."""
        self._unfinished -= 1
        error = completion.error
        if error is not None:
            self._context.run(self._send_failed, error)
        elif self._conn_lost == 0:
            self._context.run(self._send_went)

    def _send_failed(self, error: OSError) -> None:
        raise NotImplementedError

    def _send_went(self) -> None:
        self._maybe_resume_protocol()  # the protocol may write
        if self._closing and self._conn_lost == 0 and self._unfinished == 0:
            self._conn_lost += 1
            self._call_connection_lost(None)

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the transport once all written data is sent, however long that takes."""
        if self._closing:
            return
        self._closing = True
        if self._subscription is not None:
            self._subscription.cancel()
        # The system may have taken all data while the protocol is still paused. Such a protocol may
        # write more once it is resumed, as TLS does. So while sends are unfinished, _send_went()
        # ends the transport later.
        if self._unfinished == 0:
            self._lose(None)

    def abort(self) -> None:
        """Close the transport now. Queued data is lost."""
        self._force_close(None)

    def _lose(self, exc: BaseException | None) -> None:
        """Schedule connection_lost() for the next turn."""
        self._conn_lost += 1
        self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if isinstance(exc, OSError) and not isinstance(exc, (ArgumentError, ArgumentTypeError)):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=True)
        else:
            self._loop.call_exception_handler(
                {
                    "message": message,
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        self._force_close(exc)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        if not self._closing:
            self._closing = True
            if self._subscription is not None:
                self._subscription.cancel()
        self._lose(exc)
        if self._unfinished:
            self._core.cancel()

    def _on_close(self, _core: Socket, exc: BaseException | None) -> None:
        """Handle a Socket that closed by itself, after an error or an idle timeout."""
        if self._conn_lost:
            return
        self._closing = True
        self._conn_lost += 1
        self._context.run(self._call_connection_lost, exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            if self._protocol_connected:
                self._protocol.connection_lost(exc)
        finally:
            self._release()
            self._protocol = None
            self._loop = None
            self._leave_server()

    def _leave_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server._detach(*((self,) if _SERVER_KNOWS_TRANSPORTS else ()))

    def _release(self) -> None:
        """Close the Socket, and then the descriptor that it borrowed."""
        core, self._core = self._core, None
        sock, self._sock = self._sock, None
        if core is None:
            return
        self._subscription = None
        loop = self._loop
        if loop is None or loop.is_closed():
            if sock is not None:
                sock.close()  # the closed port has given the descriptor back
        else:
            loop._end(core, sock)

    def _owns(self, number: int) -> bool:
        """Return whether the transport still owns the descriptor of this number."""
        return self._core is not None and self._core.fileno() == number

    def _forget_protocol(self) -> None:
        """Make no more calls of the protocol, because its loop is closed and can run nothing."""
        self._closing = True
        self._conn_lost += 1


def _made(waiter: Any) -> None:
    if not waiter.cancelled():
        waiter.set_result(None)


def _name_or_none(name: Any) -> Any:
    try:
        return name()
    except OSError:
        return None
