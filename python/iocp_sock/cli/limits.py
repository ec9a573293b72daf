"""The limits that the system puts on a process, where it has such limits."""

import contextlib
import sys
from dataclasses import dataclass

_OTHER_FILES = 64
"""Descriptors that a process with connections needs besides them."""


@dataclass(frozen=True)
class Limit:
    """A soft and a hard limit; None is unlimited."""

    soft: int | None
    hard: int | None


if sys.platform == "win32":

    def open_files() -> Limit | None:
        """None: Windows has no limit of a process on its sockets."""
        return None

    def locked_memory() -> Limit | None:
        """None: on Windows the working set bounds locked memory, not a limit of the process."""
        return None

    def raise_open_files() -> int | None:
        """None: there is nothing to raise."""
        return None

else:
    import resource

    def _read(which: int) -> Limit:
        soft, hard = (
            None if value == resource.RLIM_INFINITY else value
            for value in resource.getrlimit(which)
        )
        return Limit(soft, hard)

    def open_files() -> Limit | None:
        """The limit on open descriptors."""
        return _read(resource.RLIMIT_NOFILE)

    def locked_memory() -> Limit | None:
        """The limit on locked memory, in bytes."""
        return _read(resource.RLIMIT_MEMLOCK)

    def raise_open_files() -> int | None:
        """Raise the soft limit to the hard one, also for children; returns what then applies."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return _read(resource.RLIMIT_NOFILE).soft


def room_for_connections() -> int | None:
    """How many a process may have, and its children, once its limit is raised; None: any number."""
    limit = raise_open_files()
    return None if limit is None else max(0, limit - _OTHER_FILES)
