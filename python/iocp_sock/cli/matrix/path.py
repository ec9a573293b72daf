"""The path between the two ends of a cell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """The address of a cell's receiver, and the delay of the path to it.

    The receiver listens on `address`, with a socket made under `receiving()`. `one_way_us` is the
    delay that the path itself adds each way, in microseconds.
    """

    address: str = "127.0.0.1"
    receiving: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    one_way_us: float = 0.0


LOOPBACK = Path()
