"""A table of a scenario, read key by key; errors name unknown keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from iocp_sock.cli.quantity import seconds, size

T = TypeVar("T")

_LONGEST = 1_000_000.0


class ScenarioError(ValueError):
    """A scenario is invalid; the message names the table, the key and its valid values."""


class Table:
    """The keys of one table of a scenario file.

    The method for a type takes one key out of the table. It raises ScenarioError for an invalid
    value, and for a missing key without a `default`. `done()` raises ScenarioError for the keys
    that remain.
    """

    def __init__(self, name: str, values: object) -> None:
        if not isinstance(values, dict):
            raise ScenarioError(f"{name} must be a table, not {values!r}")
        self._name = name
        self._left: dict[str, Any] = dict(values)
        self._takes: list[str] = []

    def error(self, key: str, takes: str) -> ScenarioError:
        """Return an error about a key, for the caller to raise."""
        return ScenarioError(f"{self._where}{key} {takes}")

    def value(self, key: str, takes: str, check: Callable[[Any], T | None], default: T | None) -> T:
        """Return the result of `check` for the value; None rejects the value."""
        self._takes.append(key)
        if key not in self._left:
            if default is None:
                raise self.error(key, f"is missing: it must be {takes}")
            return default
        given = self._left.pop(key)
        found = check(given)
        if found is None:
            raise self.error(key, f"must be {takes}, not {given!r}")
        return found

    def whole(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """Take an integer from `least` to `most`."""

        def check(given: Any) -> int | None:
            return given if _is_whole(given) and least <= given <= most else None

        return self.value(key, f"a whole number from {least} to {most}", check, default)

    def bytes(self, key: str, least: int, most: int, default: int | None = None) -> int:
        """Take a number of bytes, or a size such as '64KiB'."""

        def check(given: Any) -> int | None:
            found = as_size(given)
            return found if found is not None and least <= found <= most else None

        takes = f"a size from {least} to {most} bytes, such as '64KiB'"
        return self.value(key, takes, check, default)

    def seconds(self, key: str, default: float | None = None) -> float:
        """Take a number of seconds, or a time such as '40ms'."""

        def check(given: Any) -> float | None:
            found = as_seconds(given)
            return found if found is not None and 0 <= found <= _LONGEST else None

        return self.value(
            key, f"a time from 0 to {_LONGEST:.0f} seconds, such as '40ms'", check, default
        )

    def flag(self, key: str, default: bool) -> bool:
        """Take true or false."""
        return self.value(
            key, "true or false", lambda given: given if isinstance(given, bool) else None, default
        )

    def word(self, key: str, words: Sequence[str], default: str | None = None) -> str:
        """Take a text that must be one of `words`."""
        takes = f"one of {', '.join(words)}"
        return self.value(key, takes, lambda given: given if given in words else None, default)

    def text(self, key: str, default: str | None = None) -> str:
        """Take any text."""
        return self.value(
            key, "a text", lambda given: given if isinstance(given, str) else None, default
        )

    def table(self, key: str) -> Table:
        """Take a table below this one; empty if there is none."""
        self._takes.append(key)
        return Table(f"[{key}]", self._left.pop(key, {}))

    def tables(self, key: str) -> Iterator[tuple[str, Table]]:
        """Take the tables below `key`, with their names."""
        self._takes.append(key)
        below = self._left.pop(key, {})
        if not isinstance(below, dict):
            raise self.error(key, f"must be made of tables, such as [{key}.one]")
        for name, values in below.items():
            yield name, Table(f"[{key}.{name}]", values)

    def listed(self, key: str) -> Iterator[Table]:
        """Take the tables [[key]], in their order."""
        self._takes.append(key)
        below = self._left.pop(key, [])
        if not isinstance(below, list):
            raise self.error(key, f"must be a list of tables, written [[{key}]]")
        for number, values in enumerate(below, 1):
            yield Table(f"[[{key}]] number {number}", values)

    def rest(self, takes: Sequence[str]) -> dict[str, Any]:
        """Take the remaining keys unchanged. Each must be among `takes`."""
        self._takes += takes
        self.done(takes)
        return self._left

    def done(self, taken: Sequence[str] = ()) -> None:
        """Refuse keys that were not read, such as misspelt ones, except those in `taken`."""
        for key in self._left:
            if key not in taken:
                raise ScenarioError(
                    f"{self._where}there is no key {key!r}; the keys are {', '.join(self._takes)}"
                )

    @property
    def _where(self) -> str:
        return f"{self._name}: " if self._name else ""


def as_size(given: Any) -> int | None:
    """Return the bytes of a whole number or a text; None for anything else."""
    if isinstance(given, str):
        try:
            return size(given)
        except ValueError:
            return None
    return given if _is_whole(given) else None


def as_seconds(given: Any) -> float | None:
    """Return the seconds of a number or a text; None for anything else."""
    if isinstance(given, str):
        try:
            return seconds(given)
        except ValueError:
            return None
    return float(given) if is_number(given) else None


def is_number(given: Any) -> bool:
    """Return whether `given` is a finite number, and not true or false."""
    return _is_whole(given) or (isinstance(given, float) and math.isfinite(given))


def _is_whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)
