"""The anonymous memory of this process, where the system tells it."""

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int | None:
    """Resident anonymous memory (RssAnon) in bytes; None where there is no such figure."""
    if sys.platform == "win32":
        return None  # a path without a drive would name a file of somebody's
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None
