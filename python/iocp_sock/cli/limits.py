"""The system's limits of a process, if it has such limits."""

import contextlib
import sys
from dataclasses import dataclass

_OTHER_FILES = 64
"""The descriptors that a process needs beside its connections."""


@dataclass(frozen=True)
class Limit:
    """A soft and a hard limit; None is unlimited."""

    soft: int | None
    hard: int | None


if sys.platform == "win32":

    def open_files() -> Limit | None:
        """Return None: Windows does not limit the sockets of a process."""
        return None

    def locked_memory() -> Limit | None:
        """Return None: on Windows the working set bounds locked memory, not a process limit."""
        return None

    def raise_open_files() -> int | None:
        """Return None: there is nothing to raise."""
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
        """Return the limit on open descriptors."""
        return _read(resource.RLIMIT_NOFILE)

    def locked_memory() -> Limit | None:
        """Return the limit on locked memory, in bytes."""
        return _read(resource.RLIMIT_MEMLOCK)

    def raise_open_files() -> int | None:
        """Raise the soft limit to the hard one, also for children; return the new limit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return _read(resource.RLIMIT_NOFILE).soft


def room_for_connections() -> int | None:
    """Raise the limit on files, and return the maximum of connections; None: no limit."""
    limit = raise_open_files()
    return None if limit is None else max(0, limit - _OTHER_FILES)
