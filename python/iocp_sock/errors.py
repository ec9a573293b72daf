"""The exceptions of this package: all OSError, and most a builtin of their meaning as well."""

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
    """Base of every exception that this package defines; `errno` is set.

    Errors that the system reports for a connection are not of this class: they are the builtin
    subclasses of OSError, such as ConnectionResetError.
    """


class Cancelled(Error):
    """The operation was cancelled before it finished (errno ECANCELED)."""


class TimedOut(Error, TimeoutError):
    """The operation's own timeout passed, and it was cancelled (errno ETIMEDOUT)."""


class StillPending(Error, BlockingIOError):
    """The result was asked for before the operation had finished (WSA_IO_INCOMPLETE there, errno
    EINPROGRESS)."""


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
    """The port is being run already, by this call's caller or by another thread (errno EBUSY)."""


class ForkedPort(Error, RuntimeError):
    """The port was made before a fork and belongs to the parent process (errno EPERM)."""


class NothingDue(Error, RuntimeError):
    """A wait in the virtual time of a model that nothing could end (errno EDEADLK)."""


class BackendUnavailable(Error):
    """The backend that was asked for cannot be had here; the message says why.

    `errno` is the system's number, ENOSYS where it gave none.
    """


class ControlUnavailable(Error):
    """There is no control socket here: the system has none, or no place for it is safe."""


class ResourceExhausted(Error):
    """The system ran out of memory, buffers or descriptors; retry after a completion.

    `ledger` holds the port's counters at that moment, as `Port.ledger` would have shown them:
    a dict of byte counts, empty when no port was involved.
    """

    ledger: dict[str, Any] = {}  # noqa: RUF012 - the empty default is never changed


class BudgetExceeded(ResourceExhausted):
    """The port's own budget, or one of its caps, refused the post (errno ENOBUFS)."""
