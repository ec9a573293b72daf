"""Sizes and times with units."""

from __future__ import annotations

import re

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZES |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_TIMES = {"": 1.0, "S": 1.0, "MS": 1e-3, "US": 1e-6}
_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)")


def size(text: str) -> int:
    """Return the bytes of a size such as '64MiB', '1KiB', '1500' or '2MB'. Raises ValueError."""
    return int(_quantity(text, _SIZES, "a size such as 64MiB, 1KiB or 1500"))


def seconds(text: str) -> float:
    """Return the seconds of a time such as '40ms', '2s' or '500us'. Raises ValueError."""
    return _quantity(text, _TIMES, "a time such as 40ms, 2s or 500us")


def _quantity(text: str, units: dict[str, int] | dict[str, float], what: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found["unit"].upper() not in units:
        raise ValueError(f"{text!r} is not {what}")
    return float(found["number"]) * units[found["unit"].upper()]
