"""The transport of a stream socket, for asyncio."""

from __future__ import annotations

import collections
import contextlib
import socket
from asyncio import constants, exceptions, protocols
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from iocp_sock.asyncio.transport import SocketTransport
from iocp_sock.errors import ArgumentError, ArgumentTypeError, Cancelled, SocketClosed

if TYPE_CHECKING:
    from iocp_sock._core import Buffer, Completion, Socket
    from iocp_sock.asyncio.loop import PortEventLoop

__all__ = ["StreamTransport"]


class StreamTransport(SocketTransport):
    """A stream connection: asyncio's semantics over receive() and send() of a Socket."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: PortEventLoop,
        core: Socket,
        sock: socket.socket | None,
        *rest: Any,
    ) -> None:
        self._eof = False
        self._sending_file = False
        self._write_error: BaseException | None = None  # reported after the data that has arrived
        self._read_ended = False
        self._held: collections.deque[bytes] | None = None  # data that a pause left undelivered
        core.skip_done_packets = False  # each queued send calls _sent()
        if sock is not None and core.family in (socket.AF_INET, socket.AF_INET6):
            core.nodelay = True
        super().__init__(loop, core, sock, *rest)

    def set_protocol(self, protocol: Any) -> None:
        if isinstance(protocol, protocols.BufferedProtocol):
            self._deliver = self._deliver_into_buffer
        else:
            self._deliver = self._deliver_bytes
        super().set_protocol(protocol)

    # --- receiving --------------------------------------------------------------------------------

    def _subscribe(self) -> Any:
        return self._core.receive(
            self._on_data, receive=self._loop._receive_strategy, on_close=self._on_close
        )

    def _on_data(self, _core: Socket, buffer: Buffer) -> None:
        if self._closing:
            return
        if len(buffer):
            self._context.run(self._deliver, bytes(buffer))
        else:
            self._context.run(self._on_eof)

    def _deliver_bytes(self, data: bytes) -> None:
        try:
            self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")

    def _deliver_into_buffer(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._closing:
            if self._paused or self._deliver != self._deliver_into_buffer:
                self._hold(bytes(view))
                return
            try:
                room = memoryview(self._protocol.get_buffer(-1)).cast("B")
                size = min(room.nbytes, view.nbytes)
                if not size:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                room[:size] = view[:size]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
                return
            view = view[size:]
            try:
                self._protocol.buffer_updated(size)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")
                return

    def _hold(self, rest: bytes) -> None:
        """Keep the rest of the data, because the protocol has paused, or was replaced."""
        if self._held is None:
            self._held = collections.deque()
        self._held.append(rest)
        if not self._paused:
            self._core.pause()  # later data must not overtake the rest
            self._loop.call_soon(self._deliver_held, context=self._context)

    def _go_on(self) -> None:
        if self._held is not None:
            self._loop.call_soon(self._deliver_held, context=self._context)
        else:
            super()._go_on()

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

    def write(self, data: Any) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._sending_file:
            raise RuntimeError("unable to write; sendfile is in progress")
        if not data:
            return
        if self._write_error is not None:
            return
        if self._conn_lost:
            self._drop_write()
            return
        core = self._core
        try:
            if not core.queued_bytes:
                sent = core.try_send(data)
                if sent == memoryview(data).nbytes:
                    return
                data = bytes(memoryview(data).cast("B")[sent:])
            elif type(data) is not bytes:
                data = bytes(data)  # the caller may change its buffer after the call
            core.send(data, callback=self._sent)
            self._unfinished += 1
        except (SystemExit, KeyboardInterrupt):
            raise
        except SocketClosed as exc:
            # An error has ended the Socket. _on_close() follows and reports the error, but only if
            # there is a subscription.
            if self._subscription is None:
                self._force_close(ConnectionResetError(*exc.args))
            return
        except BaseException as exc:
            self._write_failed(exc)
            return
        self._maybe_pause_protocol()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _send_failed(self, error: OSError) -> None:
        if self._conn_lost == 0:
            self._write_failed(error)

    def _write_failed(self, exc: BaseException) -> None:
        """End the transport because a write failed, but deliver the data that arrived before it.

        Such data may still be in the records of this turn, or in the system's receive buffer.
        """
        if self._subscription is None or self._read_ended or not self.is_reading():
            self._fatal_error(exc, "Fatal write error on socket transport")
        elif self._write_error is None:
            self._write_error = exc
            self._loop.call_soon(self._end_behind_data, exc, context=self._context)

    def is_closing(self) -> bool:
        # While writing is not paused, StreamWriter.drain() yields to the loop only if the transport
        # is closing. Without the yield, a loop of write() and drain() would never get the error.
        return self._closing or self._write_error is not None

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
        with contextlib.suppress(SocketClosed):  # after an error; _on_close() follows
            self._core.shutdown(socket.SHUT_WR)  # behind the queued sends

    def can_write_eof(self) -> bool:
        return True

    # --- files ------------------------------------------------------------------------------------

    async def _send_file(self, file: Any, offset: int, count: int | None) -> int:
        """Send a part of a file, in order with the writes; return the number of bytes."""
        if self._sending_file:
            raise RuntimeError("sendfile is in progress")
        future = self._loop.create_future()

        def done(completion: Completion) -> None:
            if not future.done():
                future.set_result(completion)

        self._sending_file = True
        try:
            try:
                op = self._core.send_file(file, offset, count, callback=done)
            except (ArgumentError, ArgumentTypeError) as exc:
                raise exceptions.SendfileNotAvailableError("not a regular file") from exc
            try:
                completion = await future
            except BaseException:
                op.cancel()
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
