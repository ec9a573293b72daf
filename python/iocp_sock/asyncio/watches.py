"""The descriptors that a loop watches for other code: add_reader(), pipes, pidfds, sock_*."""

from __future__ import annotations

import errno
import selectors
from typing import TYPE_CHECKING, Any

from iocp_sock.errors import Error

if TYPE_CHECKING:
    import asyncio

    from iocp_sock._core import Completion, Operation, Socket
    from iocp_sock.port import Port

__all__ = ["Watches", "fileno_of"]


class _Direction:
    """One direction of a watched descriptor: its handle, and the wait that is under way.

    A wait is posted again after each run of the handle, which makes the readiness a level, as
    asyncio's own selectors report it.
    """

    __slots__ = ("_post", "_sock", "handle", "wait")

    def __init__(self, sock: Socket, post: Any) -> None:
        self.handle: asyncio.Handle | None = None
        self.wait: Operation | None = None
        self._sock = sock
        self._post = post

    def arm(self) -> None:
        if self.wait is None:
            self.wait = self._post(callback=self._ready)

    def _ready(self, completion: Completion) -> None:
        """Run the handle, and wait again.

        A cancelled wait is posted again too, because the direction may have got a new handle since.
        On Windows the wait fails if the caller has closed the socket; nothing is ready then.
        """
        self.wait = None
        handle = self.handle
        error = completion.error
        gone = error is not None and error.errno == errno.ENOTSOCK
        try:
            if handle is not None and not gone and not isinstance(error, Error):
                handle._run()
        finally:
            if self.handle is not None and not gone and not self._sock.closed:
                self.arm()


class _Watch:
    """A watched descriptor. `fileobj` is what the caller named it by."""

    __slots__ = ("fileobj", "reading", "sock", "writing")

    def __init__(self, sock: Socket, fileobj: Any) -> None:
        sock.skip_done_packets = False  # each wait has to call back
        self.fileobj = fileobj
        self.sock = sock
        self.reading = _Direction(sock, sock.recv_zero)
        self.writing = _Direction(sock, sock.wait_writable)

    def events(self) -> int:
        reading = selectors.EVENT_READ if self.reading.handle is not None else 0
        return reading | (selectors.EVENT_WRITE if self.writing.handle is not None else 0)


class Watches:
    """The watched descriptors of a loop, by their numbers."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._watches: dict[int, _Watch] = {}

    def add(self, fileobj: Any, writing: bool, handle: asyncio.Handle) -> None:
        """Run the handle while the descriptor is ready, in place of the one before it."""
        fd = _number(fileobj)
        watch = self._watches.get(fd)
        if watch is None or watch.sock.closed:  # Windows: a closed socket has ended its watch
            watch = self._watches[fd] = _Watch(self._port.watch(fd), fileobj)
        direction = watch.writing if writing else watch.reading
        before, direction.handle = direction.handle, handle
        if before is not None:
            before.cancel()
        try:
            direction.arm()
        except BaseException:
            self.remove(fd, writing)
            raise

    def remove(self, fileobj: Any, writing: bool) -> bool:
        """Stop to watch one direction. Return whether it was watched."""
        fd = self._find(fileobj)
        watch = self._watches.get(fd)
        if watch is None:
            return False
        direction = watch.writing if writing else watch.reading
        handle, direction.handle = direction.handle, None
        if not watch.events():
            del self._watches[fd]
            watch.sock.close()
        elif direction.wait is not None:
            direction.wait.cancel()
        if handle is None:
            return False
        handle.cancel()
        return True

    def key(self, fileobj: Any) -> selectors.SelectorKey:
        """Return what is watched of a descriptor. Raises KeyError if nothing is."""
        fd = self._find(fileobj)
        watch = self._watches[fd]
        return selectors.SelectorKey(watch.fileobj, fd, watch.events(), None)

    def close(self) -> None:
        """Stop to watch everything."""
        for fd in list(self._watches):
            self.remove(fd, False)
            self.remove(fd, True)

    def _find(self, fileobj: Any) -> int:
        """Return a descriptor's number, also of an object that was closed since it was added."""
        try:
            return _number(fileobj)
        except ValueError:
            for fd, watch in self._watches.items():
                if watch.fileobj is fileobj:
                    return fd
            raise


def fileno_of(fileobj: Any) -> int:
    """Return the descriptor of an object, -1 if it is closed. An int is a descriptor itself."""
    if isinstance(fileobj, int):
        return fileobj
    try:
        return int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None


def _number(fileobj: Any) -> int:
    """Return the number of an open descriptor, as the selectors module does."""
    number = fileno_of(fileobj)
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number
