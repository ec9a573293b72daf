"""An unnamed network namespace of this process, which ends with its last descriptor."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000
_HERE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace, empty but for a loopback device that is down.

    The namespace lives until close() was called and the last socket in it is closed. Raises
    PermissionError without CAP_SYS_ADMIN.
    """

    def __init__(self) -> None:
        with _kept_place():
            _call(_libc.unshare(_CLONE_NEWNET))
            self._descriptor = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def inode(self) -> int:
        """The namespace's inode number in the system."""
        return os.fstat(self._descriptor).st_ino

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Puts the sockets and threads that this thread makes in the block into the namespace."""
        with _kept_place():
            _call(_libc.setns(self._descriptor, _CLONE_NEWNET))
            yield

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


@contextlib.contextmanager
def _kept_place() -> Iterator[None]:
    """Returns the thread to its previous namespace after the `with` block."""
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
