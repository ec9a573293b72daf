"""The stream transports of a loop, by their descriptors."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iocp_sock.port import Port

__all__ = ["Streams"]


class Streams:
    """Finds the transport of a descriptor, without keeping it.

    An entry is the name of a Socket, which is never used again: after its end it finds nothing.
    So a connection costs eight bytes here, where a weak reference in a dict costs two hundred.
    """

    __slots__ = ("_names", "_port")

    def __init__(self, port: Port) -> None:
        self._port = port
        self._names = array("Q")

    def add(self, fd: int, name: int) -> None:
        """Note the Socket of a descriptor. One that an error has closed has none."""
        if fd < 0:
            return
        missing = fd + 1 - len(self._names)
        if missing > 0:
            self._names.frombytes(bytes(self._names.itemsize * (missing + 64)))
        self._names[fd] = name + 1  # 0 is no Socket

    def get(self, fd: int) -> Any:
        """Return the transport, or None."""
        name = self._names[fd] if 0 <= fd < len(self._names) else 0
        return self._port._receiver(name - 1) if name else None

    def __iter__(self) -> Iterator[Any]:
        for fd in range(len(self._names)):
            transport = self.get(fd)
            if transport is not None:
                yield transport
