"""The anonymous memory of this process, if the system reports it."""

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int | None:
    """Return the resident anonymous memory (RssAnon) in bytes; None if it is not reported."""
    if sys.platform == "win32":
        return None  # Windows: a path without a drive could name any file
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None
