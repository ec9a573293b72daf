"""The limits the system puts on a process; absent ones are reported as none."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """A soft and a hard limit; None is unlimited."""

    soft: int | None
    hard: int | None


if sys.platform == "win32":

    def open_files() -> Limit:
        """Sockets are not counted against a per-process limit here."""
        return Limit(None, None)

    def locked_memory() -> Limit:
        """Locked memory is bounded by the working set here, not by a process limit."""
        return Limit(None, None)

    def raise_open_files() -> int | None:
        """How many files may be open once the limit is as high as it goes."""
        return None

else:
    import resource

    def _read(which: int) -> Limit:
        soft, hard = (
            None if value == resource.RLIM_INFINITY else value
            for value in resource.getrlimit(which)
        )
        return Limit(soft, hard)

    def open_files() -> Limit:
        """The limit on open descriptors."""
        return _read(resource.RLIMIT_NOFILE)

    def locked_memory() -> Limit:
        """The limit on locked memory, in bytes."""
        return _read(resource.RLIMIT_MEMLOCK)

    def raise_open_files() -> int | None:
        """Raise the soft limit to the hard one, also for children; returns what then applies."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            except (OSError, ValueError):
                return open_files().soft
        return open_files().soft
