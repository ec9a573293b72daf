"""The descriptors that a loop watches for other code: add_reader(), pipes, pidfds, sock_*."""

from __future__ import annotations

import errno
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from iocp_sock.errors import Error

if TYPE_CHECKING:
    import asyncio

    from iocp_sock._core import Completion, Operation, Socket
    from iocp_sock.port import Port

    _Run: TypeAlias = Callable[[asyncio.Handle], object]

__all__ = ["Watches", "fileno_of", "is_watch"]


class _Direction:
    """One direction of a watched descriptor: its handle, and the wait that is under way.

    A wait is posted again after each run of the handle. So readiness is level-triggered, as with
    asyncio's own selectors.
    """

    __slots__ = ("_post", "_run", "_sock", "handle", "wait")

    def __init__(self, sock: Socket, post: Any, run: _Run) -> None:
        self.handle: asyncio.Handle | None = None
        self.wait: Operation | None = None
        self._sock = sock
        self._post = post
        self._run = run

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
                self._run(handle)
        finally:
            if self.handle is not None and not gone and not self._sock.closed:
                self.arm()


class _Watch:
    """A watched descriptor. `fileobj` is the object or the number that the caller gave for it."""

    __slots__ = ("fileobj", "reading", "sock", "writing")

    def __init__(self, sock: Socket, fileobj: Any, run: _Run) -> None:
        sock.skip_done_packets = False  # each wait has to call back
        self.fileobj = fileobj
        self.sock = sock
        self.reading = _Direction(sock, sock.recv_zero, run)
        self.writing = _Direction(sock, sock.wait_writable, run)

    def events(self) -> int:
        reading = selectors.EVENT_READ if self.reading.handle is not None else 0
        return reading | (selectors.EVENT_WRITE if self.writing.handle is not None else 0)


class Watches:
    """The watched descriptors of a loop, by their numbers. `run` is called with a handle to run."""

    def __init__(self, port: Port, run: _Run) -> None:
        self._port = port
        self._run = run
        self._watches: dict[int, _Watch] = {}

    def add(self, fileobj: Any, writing: bool, handle: asyncio.Handle) -> None:
        """Run the handle whenever the descriptor is ready, in place of an earlier handle."""
        fd = _number(fileobj)
        watch = self._watches.get(fd)
        if watch is None or watch.sock.closed:  # Windows: a closed socket has ended its watch
            watch = self._watches[fd] = _Watch(self._port.watch(fd), fileobj, self._run)
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
        """Stop watching one direction. Return whether it was watched."""
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
        """Return the watched directions of a descriptor. Raises KeyError if it is not watched."""
        fd = self._find(fileobj)
        watch = self._watches[fd]
        return selectors.SelectorKey(watch.fileobj, fd, watch.events(), None)

    def close(self) -> None:
        """Stop watching all descriptors."""
        for fd in list(self._watches):
            self.remove(fd, False)
            self.remove(fd, True)

    def _find(self, fileobj: Any) -> int:
        """Return the number of a descriptor, even for an object that was closed after add()."""
        try:
            return _number(fileobj)
        except ValueError:
            for fd, watch in self._watches.items():
                if watch.fileobj is fileobj:
                    return fd
            raise


def is_watch(callback: Any) -> bool:
    """Return whether a callback of the port is that of a watched descriptor."""
    return isinstance(getattr(callback, "__self__", None), _Direction)


def fileno_of(fileobj: Any) -> int:
    """Return the descriptor of an object, or -1 for a closed one. An int is a descriptor itself."""
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
