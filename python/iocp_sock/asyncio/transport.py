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

    from iocp_sock._core import Socket

__all__ = ["CoreSocket", "SocketTransport", "give_back", "lend"]

_attach: Any = getattr(base_events.Server, "_attach")  # noqa: B009 - unknown to the stubs
# From Python 3.13 on asyncio's Server keeps its transports, so that it can close them.
_SERVER_KNOWS_TRANSPORTS = _attach.__code__.co_argcount == 2


class CoreSocket(trsock.TransportSocket):
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

    `_sock` is the socket.socket of a connection that asyncio made, whose descriptor the Socket
    borrows; None for an accepted connection, whose descriptor is the Socket's own.
    """

    # The fields are a derived class's: slots, or those of a native base.
    if not TYPE_CHECKING:
        __slots__ = ()
    else:
        _loop: Any  # asyncio's own base has these, which its stubs leave out
        _extra: dict[str, Any]
        _protocol_paused: bool
        _high_water: int
        _low_water: int
        _maybe_pause_protocol: Callable[[], None]
        _maybe_resume_protocol: Callable[[], None]
        _core: Any  # the Socket, until connection_lost() was called
        _sock: socket.socket | None
        _sock_fd: int
        _context: contextvars.Context
        _protocol: Any
        _protocol_connected: bool
        _server: Any
        _conn_lost: int  # counts from the moment that connection_lost() is scheduled
        _closing: bool
        _paused: bool

    def _begin(self, protocol: Any, waiter: Any, server: Any) -> None:
        """Schedule connection_made() and what follows it."""
        loop = self._loop
        self.set_protocol(protocol)
        if server is not None:
            server._attach(*((self,) if _SERVER_KNOWS_TRANSPORTS else ()))
            self._server = server
        loop.call_soon(protocol.connection_made, self)
        if server is not None:
            # What arrives is delivered in a later turn, so behind connection_made().
            self._start_reading()
            return
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
            reading = self._reads() and self.is_reading()
            info.append(f"read={'polling' if reading else 'idle'}")
            size = self.get_write_buffer_size()
            info.append(f"write=<{'polling' if size else 'idle'}, bufsize={size}>")
        return f"<{' '.join(info)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_core", None) is not None:
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

    def _reads(self) -> bool:
        """Return whether the Socket receives for the transport, or did until the stream ended."""
        raise NotImplementedError

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if not self.is_reading():
            return
        self._paused = True
        if self._reads():
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
        if self._reads():
            self._core.resume()
        else:
            self._start_reading()

    def _start_reading(self) -> None:
        """Subscribe to received data, unless connection_made() has paused or closed reading."""
        if not self.is_reading() or self._reads():
            return
        try:
            self._receive()
        except ArgumentError:
            # The peer has reset the connection before the transport was made.
            self._force_close(ConnectionResetError("Connection lost"))
        except OSError as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")

    def _receive(self) -> None:
        """Subscribe to what arrives."""
        raise NotImplementedError

    def _stop_receiving(self) -> None:
        """End the subscription, if there is one."""
        raise NotImplementedError

    # --- sending ----------------------------------------------------------------------------------

    def _drop_write(self) -> None:
        """Count a write after the connection was lost, and log it from the fifth on."""
        if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
            logger.warning("socket.send() raised exception.")
        self._conn_lost += 1

    # --- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the transport once all written data is sent, however long that takes."""
        if self._closing:
            return
        self._closing = True
        self._stop_receiving()
        if self._sent_all():
            self._lose(None)

    def _sent_all(self) -> bool:
        """Return whether no write waits. If one does, the close goes on behind the last of them.

        While the protocol is paused, one does: the protocol may still write when it is resumed, as
        a TLS protocol does.
        """
        raise NotImplementedError

    def _cancel_sends(self) -> None:
        """Drop the writes that wait."""
        raise NotImplementedError

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
            self._stop_receiving()
        self._lose(exc)
        self._cancel_sends()

    def _end_with(self, exc: BaseException | None) -> None:
        """Handle a Socket that closed by itself, after an error or an idle timeout."""
        if self._conn_lost:
            return
        self._closing = True
        self._conn_lost += 1
        self._call_connection_lost(exc)

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
        core, sock = self._give_up()
        if core is None:
            return
        loop = self._loop
        if loop is None or loop.is_closed():
            core.close(0)  # only in a forked child is it open
            if sock is not None:
                give_back(sock)  # the closed port has let go of the descriptor
        else:
            loop._end(core, sock)

    def _give_up(self) -> tuple[Socket | None, socket.socket | None]:
        """Return the Socket and its socket.socket, and have them no more."""
        raise NotImplementedError

    def _owns(self, number: int) -> bool:
        """Return whether the transport still owns the descriptor of this number."""
        return self._core is not None and self._core.fileno() == number

    def _forget_protocol(self) -> None:
        """Make no more calls of the protocol, because its loop is closed and can run nothing."""
        self._closing = True
        self._conn_lost += 1


def lend(sock: socket.socket) -> None:
    """Keep the descriptor open until give_back(), even if the program closes its socket.socket.

    A Socket uses the number, which must not become another file's meanwhile. socket.makefile()
    counts the users of a descriptor in the same way.
    """
    sock._io_refs += 1  # type: ignore[attr-defined]


def give_back(lent: Any) -> None:
    """Close a socket.socket that was lent, or a pipe, which no other code holds."""
    if isinstance(lent, socket.socket):
        lent._decref_socketios()  # type: ignore[attr-defined]
    lent.close()


def _made(waiter: Any) -> None:
    if not waiter.cancelled():
        waiter.set_result(None)
