"""The transports of named pipes of Windows."""

from __future__ import annotations

from asyncio import constants
from typing import TYPE_CHECKING, Any

from iocp_sock.asyncio.stream import StreamTransport

if TYPE_CHECKING:
    from iocp_sock._core import Completion
    from iocp_sock.asyncio.loop import PortEventLoop

__all__ = ["DuplexPipeTransport", "PipeTransport", "WritePipeTransport"]


class PipeTransport(StreamTransport):
    """One end of a named pipe, opened for overlapped I/O.

    `pipe` is what the caller named it by, whose fileno() is a handle of Windows. The transport
    closes it.
    """

    _sendfile_compatible = constants._SendfileMode.UNSUPPORTED

    def __init__(
        self,
        loop: PortEventLoop,
        pipe: Any,
        protocol: Any,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        core = loop.port.adopt(pipe.fileno(), borrow=True)
        super().__init__(loop, core, pipe, protocol, waiter, extra)

    def _make_extra(self) -> dict[str, Any]:
        return {"pipe": self._sock, "iocp_sock": self._socket_object()}


class DuplexPipeTransport(PipeTransport):
    """A pipe that is read and written. Its directions end together."""

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("a pipe has no end of one direction")


class WritePipeTransport(PipeTransport):
    """A pipe that is only written."""

    def write_eof(self) -> None:
        self.close()

    def _start_reading(self) -> None:
        """Wait for the close of the other end.

        A pipe without the right to read has no such wait: the next write meets the close.
        """
        if not self._closing:
            try:
                self._core.recv_zero(callback=self._readable)
            except PermissionError:
                pass
            except OSError as exc:
                self._context.run(self._fatal_error, exc, "Fatal read error on pipe transport")

    def _readable(self, completion: Completion) -> None:
        if self._closing:
            return
        try:
            ended = completion.error is not None or self._core.try_recv(1) == b""
        except OSError:
            ended = True
        if not ended:
            self._start_reading()
        elif self.get_write_buffer_size():
            self._context.run(self._force_close, BrokenPipeError("the pipe's reader has gone"))
        else:
            self._context.run(self.close)
