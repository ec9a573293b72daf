"""The operations of a Socket as calls that wait, with the results of the socket module."""

from __future__ import annotations

import contextlib
from os import PathLike
from typing import TYPE_CHECKING, Any

from iocp_sock._core import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer as ReadableBuffer

    from iocp_sock._core import Operation, Socket

__all__ = ["BlockingSocket"]

_INTERRUPTED = 5.0
"""The seconds that an interrupted call waits for the kernel to give its buffer back."""


class BlockingSocket:
    """`Socket.blocking`: each call posts its operation, waits for its end, and returns the result.

    The results are those of the socket module, and an operation's error is raised. After `timeout`
    seconds a call raises TimedOut, a TimeoutError whose `transferred` is the number of bytes
    transferred. The socket has no blocking mode: other threads may use it at the same time, also
    with operations. The waiting thread holds no lock of the interpreter. If no thread runs the
    port, the wait runs it. Ctrl-C ends the call and cancels the operation.
    """

    __slots__ = ("socket",)

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        """The Socket itself, whose calls return operations."""

    def connect(self, address: Any, *, timeout: float | None = None) -> None:
        """Connect to address."""
        _finish(self.socket.connect(address, timeout=timeout, event=Event()))

    def accept(self, *, timeout: float | None = None) -> tuple[Socket, Any]:
        """Wait for a connection, and return its Socket and the address of its peer."""
        operation = _finish(self.socket.accept(timeout=timeout, event=Event()))
        assert operation.accepted is not None
        return operation.accepted, operation.address

    def recv(self, nbytes: int, *, flags: int = 0, timeout: float | None = None) -> bytes:
        """Receive the data that is there, at most nbytes; b"" at the end of the stream."""
        operation = self.socket.recv(nbytes, flags=flags, timeout=timeout, event=Event())
        return _data(_finish(operation))

    def recv_into(
        self, buffer: ReadableBuffer, *, flags: int = 0, timeout: float | None = None
    ) -> int:
        """Receive into a writable buffer, and return the number of bytes."""
        operation = self.socket.recv_into(buffer, flags=flags, timeout=timeout, event=Event())
        return _finish(operation).transferred

    def recvfrom(
        self, nbytes: int, *, flags: int = 0, timeout: float | None = None
    ) -> tuple[bytes, Any]:
        """Receive at most nbytes of a datagram, and return them with the sender's address."""
        operation = self.socket.recvfrom(nbytes, flags=flags, timeout=timeout, event=Event())
        return _data(_finish(operation)), operation.address

    def recvfrom_into(
        self, buffer: ReadableBuffer, *, flags: int = 0, timeout: float | None = None
    ) -> tuple[int, Any]:
        """Receive a datagram into a writable buffer; return its size and the sender's address."""
        operation = self.socket.recvfrom_into(buffer, flags=flags, timeout=timeout, event=Event())
        return _finish(operation).transferred, operation.address

    def recvmsg_into(
        self,
        buffers: Iterable[ReadableBuffer],
        ancillary_size: int = 0,
        *,
        flags: int = 0,
        timeout: float | None = None,
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        """Receive into writable buffers; return (bytes, ancillary data, MSG_* flags, address)."""
        operation = self.socket.recvmsg_into(
            buffers, ancillary_size=ancillary_size, flags=flags, timeout=timeout, event=Event()
        )
        _finish(operation)
        return operation.transferred, operation.ancillary, operation.flags, operation.address

    def recv_zero(self, *, timeout: float | None = None) -> None:
        """Wait until data, the end of the stream or an error is there, and leave it in place."""
        _finish(self.socket.recv_zero(timeout=timeout, event=Event()))

    def wait_writable(self, *, timeout: float | None = None) -> None:
        """Wait until there is room to send."""
        _finish(self.socket.wait_writable(timeout=timeout, event=Event()))

    def send(self, data: ReadableBuffer, *, flags: int = 0, timeout: float | None = None) -> int:
        """Send all of data, as one datagram on a datagram socket; return the number of bytes."""
        operation = self.socket.send(data, flags=flags, timeout=timeout, event=Event())
        return _finish(operation).transferred

    def sendall(
        self, data: ReadableBuffer, *, flags: int = 0, timeout: float | None = None
    ) -> None:
        """Send all of data."""
        self.send(data, flags=flags, timeout=timeout)

    def sendto(
        self,
        data: ReadableBuffer,
        address: Any,
        *,
        flags: int = 0,
        timeout: float | None = None,
    ) -> int:
        """Send a datagram to address, and return the number of bytes."""
        operation = self.socket.sendto(data, address, flags=flags, timeout=timeout, event=Event())
        return _finish(operation).transferred

    def sendmsg(
        self,
        buffers: Iterable[ReadableBuffer],
        ancillary: Iterable[tuple[int, int, ReadableBuffer]] | None = None,
        *,
        flags: int = 0,
        address: Any = None,
        timeout: float | None = None,
    ) -> int:
        """Send several buffers in order, with ancillary data, and return the number of bytes."""
        operation = self.socket.sendmsg(
            buffers,
            ancillary=ancillary,
            flags=flags,
            address=address,
            timeout=timeout,
            event=Event(),
        )
        return _finish(operation).transferred

    def send_file(
        self,
        file: str | bytes | PathLike[str] | PathLike[bytes] | int | Any,
        offset: int = 0,
        count: int | None = None,
        *,
        timeout: float | None = None,
    ) -> int:
        """Send bytes of a file, as Socket.send_file() does, and return their number."""
        operation = self.socket.send_file(file, offset, count, timeout=timeout, event=Event())
        return _finish(operation).transferred

    def disconnect(self, *, reuse: bool = False, timeout: float | None = None) -> None:
        """End the connection and keep the socket, as Socket.disconnect() does."""
        _finish(self.socket.disconnect(reuse=reuse, timeout=timeout, event=Event()))


def _finish(operation: Operation) -> Operation:
    """Wait for an operation's end. An exception that ends the wait early cancels the operation."""
    try:
        operation.result()
    except BaseException as error:
        if not operation.done:
            operation.cancel()
            with contextlib.suppress(OSError):
                operation.result(timeout=_INTERRUPTED)
        elif type(error) is type(operation.error):  # result() raises a new exception each time
            error.transferred = operation.transferred  # type: ignore[attr-defined]
        raise
    return operation


def _data(operation: Operation) -> bytes:
    assert operation.data is not None
    with operation.data as data:
        return bytes(data)
