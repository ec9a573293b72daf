"""The choice of servers and cells by name."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

_Thing = TypeVar("_Thing")


def choose(kind: str, known: Mapping[str, _Thing], names: Iterable[str]) -> list[_Thing]:
    """The entries of these names, in order. An unknown name ends the program."""
    names = list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no {kind} {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]
