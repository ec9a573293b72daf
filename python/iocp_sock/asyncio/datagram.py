"""The transport of a datagram socket, for asyncio."""

from __future__ import annotations

import contextvars
import sys
from asyncio import transports, trsock
from typing import TYPE_CHECKING, Any

from iocp_sock.asyncio.transport import SocketTransport
from iocp_sock.errors import Error, ResourceExhausted

if TYPE_CHECKING:
    import socket

    from iocp_sock._core import Buffer, Completion, Operation, Socket
    from iocp_sock.asyncio.loop import PortEventLoop

__all__ = ["DatagramTransport"]

# From Python 3.13 on asyncio sends empty datagrams. Older versions drop them.
_SENDS_EMPTY = sys.version_info >= (3, 13)

MAX_SIZE = 256 << 10
"""The maximum size of a received datagram in bytes, the same as asyncio's; a longer one is
truncated."""
HEADER = 144
"""The bytes in front of a datagram in its region, which hold the sender's address."""


class DatagramTransport(SocketTransport, transports.DatagramTransport):
    """A datagram socket: asyncio's semantics over receive_from() and sendto() of a Socket."""

    __slots__ = (
        "__weakref__",
        "_address",
        "_closing",
        "_conn_lost",
        "_context",
        "_core",
        "_paused",
        "_protocol",
        "_protocol_connected",
        "_server",
        "_sock",
        "_sock_fd",
        "_subscription",
        "_unfinished",
    )

    def __init__(
        self,
        loop: PortEventLoop,
        core: Socket,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        core.skip_done_packets = True  # a datagram that went at once needs no completion
        self._address = address
        self._core = core
        self._sock = sock
        self._sock_fd = core.fileno()
        self._server = None
        self._context = contextvars.copy_context()
        self._subscription: Operation | None = None
        self._unfinished = 0  # sends whose completion is not handed out; they keep it open
        self._conn_lost = 0
        self._closing = False
        self._paused = False
        names = {
            "socket": trsock.TransportSocket(sock),
            "iocp_sock": core,
            "sockname": _name_or_none(core.getsockname),
            "peername": _name_or_none(core.getpeername),
        }
        super().__init__({**names, **(extra or {})}, loop)
        loop._transports[self._sock_fd] = self
        self._begin(protocol, waiter, None)

    # --- receiving --------------------------------------------------------------------------------

    def _reads(self) -> bool:
        return self._subscription is not None

    def _receive(self) -> None:
        self._subscription = self._core.receive_from(
            self._on_datagram,
            size=min(MAX_SIZE, self._loop.port.config.region_size - HEADER),
            on_error=self._on_error,
            on_close=self._on_close,
        )

    def _stop_receiving(self) -> None:
        if self._subscription is not None:
            self._subscription.cancel()

    def _on_close(self, _core: Socket, exc: BaseException | None) -> None:
        self._context.run(self._end_with, exc)

    def _on_datagram(self, _core: Socket, buffer: Buffer, address: Any) -> None:
        if not self._closing:
            self._context.run(self._call, self._protocol.datagram_received, bytes(buffer), address)

    def _on_error(self, _core: Socket, exc: OSError) -> None:
        if not self._closing and _reports(exc):
            self._context.run(self._call, self._protocol.error_received, exc)

    def _call(self, method: Any, *arguments: Any) -> None:
        try:
            method(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": f"Exception in {method.__name__}()",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    # --- sending ----------------------------------------------------------------------------------

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if not data and not _SENDS_EMPTY:
            return
        if self._address:
            if addr not in (None, self._address):
                raise ValueError(f"Invalid address: must be None or {self._address}")
            addr = self._address
        if self._conn_lost and self._address:
            self._drop_write()
            return
        core = self._core
        if core is None:
            return
        try:
            if self._extra["peername"]:
                op = core.send(bytes(data), callback=self._sent)
            else:
                op = core.sendto(bytes(data), addr, callback=self._sent)
            self._unfinished += op.outcome != "done"
        except (SystemExit, KeyboardInterrupt):
            raise
        except OSError as exc:
            if _reports(exc):
                self._protocol.error_received(exc)
            else:
                self._fatal_error(exc, "Fatal write error on datagram transport")
            return
        self._maybe_pause_protocol()

    def get_write_buffer_size(self) -> int:
        return self._core.queued_bytes if self._core is not None else 0

    def _sent(self, completion: Completion) -> None:
        """Take the end of a send that had to wait."""
        self._unfinished -= 1
        error = completion.error
        if error is not None:
            self._context.run(self._send_failed, error)
        elif self._conn_lost == 0:
            self._context.run(self._send_went)

    def _send_went(self) -> None:
        self._maybe_resume_protocol()  # which may write
        if self._closing and self._conn_lost == 0 and self._unfinished == 0:
            self._conn_lost += 1
            self._call_connection_lost(None)

    def _sent_all(self) -> bool:
        return self._unfinished == 0

    def _cancel_sends(self) -> None:
        if self._unfinished:
            self._core.cancel()

    def _send_failed(self, error: OSError) -> None:
        if _reports(error) and self._protocol is not None:
            self._call(self._protocol.error_received, error)
        if self._conn_lost == 0:
            self._send_went()

    # --- the end ----------------------------------------------------------------------------------

    def _give_up(self) -> tuple[Socket | None, socket.socket | None]:
        core, sock = self._core, self._sock
        self._core = self._sock = self._subscription = None
        return core, sock


def _reports(exc: OSError) -> bool:
    """Return whether error_received() gets the error: a system error, or a lack of resources."""
    return not isinstance(exc, Error) or isinstance(exc, ResourceExhausted)


def _name_or_none(name: Any) -> Any:
    try:
        return name()
    except OSError:
        return None
