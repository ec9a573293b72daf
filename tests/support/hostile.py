"""Arguments that no caller should pass, each made by its name, for tests of random calls."""

import array
import ctypes
import gc
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import iocp_sock


class HostileError(Exception):
    """The exception that hostile values raise."""


class Hostile:
    """A value that runs `act` when it is converted or called, then returns `answer` or raises."""

    def __init__(self, act: Callable[[], object], answer: Any = HostileError) -> None:
        self.act = act
        self.answer = answer

    def _asked(self, *_: Any) -> Any:
        self.act()
        if self.answer is HostileError:
            raise HostileError("asked")
        return self.answer

    __index__ = __float__ = __bool__ = __len__ = __iter__ = __getitem__ = _asked
    __call__ = __eq__ = __fspath__ = fileno = __next__ = __buffer__ = _asked
    __hash__ = object.__hash__


def released(view: memoryview) -> memoryview:
    """Release the view and return it."""
    view.release()
    return view


def growing(data: bytearray) -> Iterator[Any]:
    """Yield a buffer, change its size while the caller iterates, and yield it again."""
    yield data
    data.extend(b"more") if not data else data.clear()
    yield data


def failing() -> Iterator[bytes]:
    """Yield one buffer, then raise an exception."""
    yield b"one"
    raise HostileError("no more")


PLAIN: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    **{
        str(number): lambda number=number: number
        for number in (
            0,
            1,
            -1,
            2,
            3,
            7,
            100,
            4096,
            65_536,
            2**30,
            2**31 - 1,
            2**31,
            2**32,
            2**62,
            2**63 - 1,
            2**63,
            2**64,
            1 << 80,
            -(2**31),
            -(2**63),
            -(1 << 80),
        )
    },
    **{
        repr(number): lambda number=number: number
        for number in (
            0.0,
            -0.0,
            0.001,
            1.5,
            -1.0,
            1e-300,
            1e9,
            1e300,
            math.nan,
            math.inf,
            -math.inf,
        )
    },
    "empty string": str,
    "pooled": lambda: "pooled",
    "direct": lambda: "direct",
    "zero_byte": lambda: "zero_byte",
    "adaptive": lambda: "adaptive",
    "when_writable": lambda: "when_writable",
    "raise": lambda: "raise",
    "queue": lambda: "queue",
    "linux": lambda: "linux",
    "epoll": lambda: "epoll",
    "text with NUL": lambda: "a\0b",
    "surrogate": lambda: "\udc80",
    "long text": lambda: "x" * 70_000,
    "empty bytes": bytes,
    "bytes": lambda: b"bytes",
    "many bytes": lambda: bytes(70_000),
    "bytearray": lambda: bytearray(5000),
    "empty bytearray": bytearray,
    "strided view": lambda: memoryview(bytearray(100))[::2],
    "released view": lambda: released(memoryview(bytearray(10))),
    "view of doubles": lambda: memoryview(array.array("d", [1.0, 2.0])),
    "two dimensions": lambda: memoryview(bytearray(12)).cast("B", (3, 4)),
    "ctypes": lambda: (ctypes.c_char * 100)(),
    "loopback": lambda: ("127.0.0.1", 0),
    "loopback of six": lambda: ("::1", 0, 0, 0),
    "flow of six": lambda: ("::1", 0, 1 << 40, -1),
    "port too high": lambda: ("127.0.0.1", 65_536),
    "port of the wrong type": lambda: ("127.0.0.1", 1.5),
    "host of the wrong type": lambda: (5, 5),
    "empty tuple": tuple,
    "tuple of tuples": lambda: ((), ((),)),
    "empty list": list,
    "buffers": lambda: [b"one", bytearray(10), b""],
    "buffers and worse": lambda: [b"one", None],
    "many buffers": lambda: [b"x"] * 2000,
    "endless buffers": lambda: itertools.repeat(b"x"),
    "growing buffers": lambda: growing(bytearray(1)),
    "failing buffers": failing,
    "ancillary": lambda: [(1, 1, b"data")],
    "ancillary of the wrong shape": lambda: [(1, 1)],
    "dict": dict,
    "set": set,
    "object": object,
    "type": lambda: iocp_sock.Event,
    "lambda": lambda: lambda *_: None,
    "callback of one": lambda: lambda _one: None,
    "callback of none": lambda: lambda: None,
}
"""Plain values, which run no code of the test when they are converted."""


def acting(on: dict[str, Callable[[], object]]) -> dict[str, Callable[[], Any]]:
    """Return a hostile value for each pair of an act and an answer, named after the pair."""
    acts = {"nothing": lambda: None, "collecting": gc.collect, **on}
    answers = {"raising": HostileError, "one": 1, "many": 5000, "text": "text", "None": None}
    return {
        f"hostile: {act}, then {answer}": lambda act=act, answer=answer: Hostile(
            acts[act], answers[answer]
        )
        for act in acts
        for answer in answers
    }
