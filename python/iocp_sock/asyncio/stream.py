"""The transport of a stream socket, for asyncio."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import socket
from asyncio import constants, exceptions, protocols, trsock
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from iocp_sock._core import StreamBase
from iocp_sock.asyncio.transport import CoreSocket, SocketTransport
from iocp_sock.errors import ArgumentError, ArgumentTypeError, Cancelled, SocketClosed

if TYPE_CHECKING:
    from iocp_sock._core import Completion, Socket
    from iocp_sock.asyncio.loop import PortEventLoop

__all__ = ["StreamTransport"]


HIGH = 64 << 10
LOW = HIGH // 4
"""The limits that asyncio gives a new transport."""


class StreamTransport(StreamBase, SocketTransport):
    """A stream connection: asyncio's semantics over receive() and send() of a Socket.

    The base has what each message needs: write(), and the way from the Socket to the protocol.
    """

    __slots__ = ()

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: PortEventLoop,
        core: Socket,
        sock: socket.socket | None,
        protocol: Any,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        peer: bytes | None = None,
    ) -> None:
        if sock is not None and core.family in (socket.AF_INET, socket.AF_INET6):
            core.nodelay = True
        self._loop = loop
        self._protocol_paused = False
        self._high_water = HIGH
        self._low_water = LOW
        name = self._open(core, sock, contextvars.copy_context(), peer)
        loop._streams.add(self._sock_fd, name)
        if extra:
            self._extra = {**self._make_extra(), **extra}
        self._begin(protocol, waiter, server)

    def _make_extra(self) -> dict[str, Any]:
        """Make the dict of get_extra_info(), by its first use: few connections are ever asked."""
        core, sock = self._socket_object(), self._sock
        return {
            "socket": trsock.TransportSocket(sock) if sock else CoreSocket(core),
            "iocp_sock": core,
            "sockname": self._name(False),
            "peername": self._name(True),
        }

    def set_protocol(self, protocol: Any) -> None:
        self._buffered = isinstance(protocol, protocols.BufferedProtocol)
        super().set_protocol(protocol)

    def _set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        super()._set_write_buffer_limits(high, low)  # type: ignore[misc]
        self._note_high(self._high_water)

    # --- receiving --------------------------------------------------------------------------------

    def _reads(self) -> bool:
        return self._subscribed

    def _receive(self) -> None:
        self._subscribe(self._loop._receive_strategy)

    def _stop_receiving(self) -> None:
        if not self._read_ended:
            self._unsubscribe()

    def _on_close(self, exc: BaseException | None) -> None:
        self._end_with(exc)

    def pause_reading(self) -> None:
        super().pause_reading()
        self._keep_while_busy()

    def _go_on(self) -> None:
        if self._held is not None:
            self._loop.call_soon(self._deliver_held, context=self._context)
        else:
            super()._go_on()
        self._keep_while_busy()

    def _hold(self, rest: bytes) -> None:
        """Keep the rest of the data, because the protocol has paused, or was replaced."""
        if self._held is None:
            self._held = collections.deque()
        self._held.append(rest)
        if not self._paused:
            self._core.pause()  # later data must not overtake the rest
            self._loop.call_soon(self._deliver_held, context=self._context)

    def _deliver_held(self) -> None:
        if not self.is_reading() or self._held is None:
            return
        held, self._held = self._held, None
        while held and self.is_reading():
            self._deliver(held.popleft())
        if held and not self._closing:
            self._held = held if self._held is None else self._held + held
        if self._held is None and self.is_reading():
            super()._go_on()

    def _on_eof(self) -> None:
        self._read_ended = True
        if self._loop.get_debug():
            logger.debug("%r received EOF", self)
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    # --- sending ----------------------------------------------------------------------------------

    def _refuse_write(self, data: Any) -> None:
        """Take a write that the base does not: after an end, or during sendfile()."""
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._sending_file:
            raise RuntimeError("unable to write; sendfile is in progress")
        if data and self._write_error is None:
            self._drop_write()

    def _maybe_pause_protocol(self) -> None:
        super()._maybe_pause_protocol()
        if self._protocol_paused:
            self._keep_until_sent()

    def _pause_for_budget(self) -> None:
        """Pause the protocol although its queue may be small: the port has no budget for it."""
        if not self._protocol_paused:
            self._protocol_paused = True
            try:
                self._protocol.pause_writing()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._loop.call_exception_handler(
                    {
                        "message": "protocol.pause_writing() failed",
                        "exception": exc,
                        "transport": self,
                        "protocol": self._protocol,
                    }
                )
        self._keep_while_busy()
        self._expect_fall(0)

    def _keep_until_sent(self) -> None:
        """Keep the transport until its writes have gone, and learn when they have fallen."""
        self._keep_while_busy()
        self._expect_fall(self._low_water if self._protocol_paused else 0)

    def _sends_fell(self) -> None:
        """Go on: the writes that wait have fallen to the low limit, or to none."""
        if self._conn_lost:
            return
        self._maybe_resume_protocol()  # which may write
        if self._conn_lost:
            return
        waits = self.get_write_buffer_size() != 0
        if self._closing and not waits and not self._protocol_paused:
            self._conn_lost += 1
            self._call_connection_lost(None)
        elif waits or self._closing:
            self._expect_fall(self._low_water if self._protocol_paused else 0)
        else:
            self._keep_while_busy()

    def _sent_all(self) -> bool:
        if self._flush() == 0 and not self._protocol_paused:
            return True
        self._expect_fall(self._low_water if self._protocol_paused else 0)
        return False

    def _cancel_sends(self) -> None:
        if self._flush():
            self._core.cancel()

    def _write_failed(self, exc: BaseException) -> None:
        """End the transport because a write failed, but deliver the data that arrived before it.

        Such data may still be in the records of this turn, or in the system's receive buffer.
        """
        if self._conn_lost:
            return
        if isinstance(exc, SocketClosed):
            # An error has ended the Socket, and _on_close() follows with it, if something reads.
            error = ConnectionResetError(*exc.args)
            if self._subscribed:
                self._write_error = error  # drain() must let the loop go on
            else:
                self._force_close(error)
        elif not self._subscribed or self._read_ended or not self.is_reading():
            self._fatal_error(exc, "Fatal write error on socket transport")
        elif self._write_error is None:
            self._write_error = exc
            self._loop.call_soon(self._end_behind_data, exc, context=self._context)

    def close(self) -> None:
        if self._write_error is not None and not self._closing:
            self._force_close(self._write_error)
        else:
            super().close()

    def _end_behind_data(self, exc: BaseException) -> None:
        if self._conn_lost:
            return
        if self.is_reading() and self._has_more_to_read():
            self._loop.call_soon(self._end_behind_data, exc, context=self._context)
        else:
            self._fatal_error(exc, "Fatal write error on socket transport")

    def _has_more_to_read(self) -> bool:
        try:
            return bool(self._core.available() > 0)
        except OSError:
            return False

    def write_eof(self) -> None:
        if self._closing or self._eof:
            return
        self._eof = True
        self._flush()
        with contextlib.suppress(SocketClosed):  # after an error; _end_with() follows
            self._core.shutdown(socket.SHUT_WR)  # behind the queued sends

    def can_write_eof(self) -> bool:
        return True

    # --- files ------------------------------------------------------------------------------------

    async def _send_file(self, file: Any, offset: int, count: int | None) -> int:
        """Send a part of a file, in order with the writes; return the number of bytes.

        A cancel ends it where it is: the file's position says where, and writes may follow.
        """
        if self._sending_file:
            raise RuntimeError("sendfile is in progress")
        future = self._loop.create_future()

        def done(completion: Completion) -> None:
            if not future.done():
                future.set_result(completion)

        self._sending_file = True
        try:
            try:
                op = self._core.send_file(file, offset, count, callback=done, _divisible=True)
            except (ArgumentError, ArgumentTypeError) as exc:
                raise exceptions.SendfileNotAvailableError("not a regular file") from exc
            try:
                completion = await asyncio.shield(future)
            except asyncio.CancelledError:
                op.cancel()
                await _ended(future)
                file.seek(offset + future.result().transferred)
                raise
        finally:
            self._sending_file = False
        sent, error = completion.transferred, completion.error
        file.seek(offset + sent)
        if error is None:
            return int(sent)
        if self._closing or isinstance(error, Cancelled):
            raise ConnectionError("Connection is closed by peer") from error
        raise error


async def _ended(future: asyncio.Future[Any]) -> None:
    """Wait for the end of a cancelled send, which takes a turn, whatever is cancelled meanwhile."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
