"""The exceptions of this package: all are OSErrors, and most also a fitting built-in."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "BackendUnavailable",
    "BudgetExceeded",
    "Cancelled",
    "ControlUnavailable",
    "Error",
    "ForkedPort",
    "NothingDue",
    "PortClosed",
    "PortRunning",
    "ResourceExhausted",
    "SocketClosed",
    "StillPending",
    "TimedOut",
    "WrongThread",
]


class Error(OSError):
    """The base of every exception that this package defines; `errno` is set.

    Errors that the system reports for a connection are not of this class. They are the built-in
    subclasses of OSError, such as ConnectionResetError.
    """


class Cancelled(Error):
    """The operation was cancelled before it finished (errno ECANCELED)."""


class TimedOut(Error, TimeoutError):
    """The operation's timeout passed, and it was cancelled (errno ETIMEDOUT)."""


class StillPending(Error, BlockingIOError):
    """result() was called before the operation had finished (errno EINPROGRESS)."""


class SocketClosed(Error):
    """The socket, or its sending side, is closed (errno EBADF)."""


class PortClosed(Error):
    """The port is closed (errno EBADF)."""


class ArgumentError(Error, ValueError):
    """An argument's value, or the socket's state, does not allow the call (errno EINVAL)."""


class ArgumentTypeError(Error, TypeError):
    """An argument is of the wrong type (errno EINVAL)."""


class WrongThread(Error, RuntimeError):
    """Another thread runs this port (errno EPERM)."""


class PortRunning(Error, RuntimeError):
    """Another thread, or a caller of this call, runs the port already (errno EBUSY)."""


class ForkedPort(Error, RuntimeError):
    """The port was made before a fork and belongs to the parent process (errno EPERM)."""


class NothingDue(Error, RuntimeError):
    """A wait in a model's virtual time could never end (errno EDEADLK)."""


class BackendUnavailable(Error):
    """The requested backend is not available here; the message gives the reason.

    `errno` is the system's number, or ENOSYS if it gave none.
    """


class ControlUnavailable(Error):
    """The control socket cannot be made: the system has none, or no directory for it is safe."""


class ResourceExhausted(Error):
    """The system ran out of memory, buffers or descriptors; retry after a completion.

    `ledger` has the port's counters at that moment: a dict of byte counts, with the names of
    `Port.ledger`. It is empty if no port was involved.
    """

    ledger: dict[str, Any] = {}  # noqa: RUF012 - the empty default is never changed


class BudgetExceeded(ResourceExhausted):
    """The port's own budget, or one of its caps, refused the post (errno ENOBUFS)."""
