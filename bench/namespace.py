"""A network namespace of this process's own, without a name: it goes with its last descriptor."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, empty but for a loopback device that is down.

    It lives until close(), and for as long as a socket made in it. Raises PermissionError without
    CAP_SYS_ADMIN.
    """

    def __init__(self) -> None:
        with _kept_place():
            _call(_libc.unshare(_CLONE_NEWNET))
            self._descriptor = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def inode(self) -> int:
        """What the system knows it by."""
        return os.fstat(self._descriptor).st_ino

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes in the block, and threads that it starts, are in it."""
        with _kept_place():
            _call(_libc.setns(self._descriptor, _CLONE_NEWNET))
            yield

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


@contextlib.contextmanager
def _kept_place() -> Iterator[None]:
    """After the block the thread is back in the namespace it was in."""
    before = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            yield
        finally:
            _call(_libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


def _call(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
