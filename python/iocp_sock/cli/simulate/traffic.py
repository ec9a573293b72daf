"""The messages of the connections of a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from iocp_sock.cli.simulate.reading import Table, as_size, is_number

Pace: TypeAlias = Literal["answered", "at_once"]

_LARGEST = 64 << 20
_KEYS = ("rate", "messages", "answer", "direction")


@dataclass(frozen=True)
class Traffic:
    """The messages of one end, and the other end's answers; sizes in bytes."""

    parts: tuple[int, ...]
    """The sizes of the sends that make up a message."""
    messages: int | None
    """The number of messages of each connection; None: until the scenario ends."""
    pace: float | Pace
    """The messages a second on each connection, or the event that starts the next one."""
    answer: int | Literal["echo"]
    """The answer to a whole message; 0: none."""
    from_far: bool
    """Whether the accepted end sends and the other one answers."""

    @property
    def message(self) -> int:
        """The size of a message."""
        return sum(self.parts)

    @property
    def answer_bytes(self) -> int:
        """The size of the answer to a message; 0: none."""
        return self.message if self.answer == "echo" else self.answer

    @classmethod
    def read(cls, table: Table) -> Traffic | None:
        """Read the keys of the traffic from the table; None: no messages. Raises ScenarioError."""
        parts: tuple[int, ...] = table.value(
            "message", f"{_SIZE}, or a list of such sizes, one for each send", _parts, ()
        )
        if not parts:
            for key in _KEYS:
                table.value(key, "given only with a message", _refused, 0)
            return None
        answer: int | Literal["echo"] = table.value(
            "answer", f"'none', 'echo' or {_SIZE}", _answer, 0
        )
        messages = table.whole("messages", 1, 10**9, 0) or None
        takes = "a number of messages a second, 'answered' or 'at_once'"
        pace: float | Pace = table.value("rate", takes, _pace, None)
        if pace == "answered" and not answer:
            raise table.error("rate", "can be 'answered' only if answer is 'echo' or a size")
        if pace == "at_once" and messages is None:
            raise table.error("rate", "can be 'at_once' only with a number of messages")
        direction = table.word("direction", ("up", "down"), "up")
        return cls(parts, messages, pace, answer, direction == "down")


_SIZE = f"a size from 1 to {_LARGEST} bytes, such as '64KiB'"


def _size(given: Any) -> int | None:
    found = as_size(given)
    return found if found is not None and 1 <= found <= _LARGEST else None


def _parts(given: Any) -> tuple[int, ...] | None:
    sizes = [_size(one) for one in (given if isinstance(given, list) else [given])]
    known = tuple(one for one in sizes if one is not None)
    return known if known and len(known) == len(sizes) and sum(known) <= _LARGEST else None


def _answer(given: Any) -> int | Literal["echo"] | None:
    if given == "none":
        return 0
    return "echo" if given == "echo" else _size(given)


def _pace(given: Any) -> float | Pace | None:
    if given in ("answered", "at_once"):
        return cast(Pace, given)
    return float(given) if is_number(given) and 1e-6 <= given <= 1e6 else None


def _refused(_given: Any) -> int | None:
    return None
