"""The anonymous memory of this process, where the system tells it."""

from pathlib import Path

_STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int | None:
    """Resident anonymous memory (RssAnon) in bytes; None where there is no such figure."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None
