"""The measured strategies: the options of each server, and its ledger."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.selection import choose
from bench.server import RunningServer, Server, python_server

Direction = Literal["receive", "send"]

RECEIVE = ["pooled", "direct", "zero_byte", "adaptive"]
SEND = ["buffered", "when_writable", "direct"]


@dataclass(frozen=True)
class Strategy:
    """One receive strategy, with buffered sends, or one send strategy, with pooled receives."""

    direction: Direction
    name: str
    backend: str

    @property
    def label(self) -> str:
        """A label such as uring-receive-direct."""
        return f"{self.backend}-{self.direction}-{self.name}"

    def fields(self) -> dict[str, str]:
        """The fields that identify the strategy in a row of the JSON."""
        return {"direction": self.direction, "strategy": self.name, "backend": self.backend}

    @property
    def server(self) -> Server:
        return Server(
            self.label,
            python_server(
                "strategy_server", "--backend", self.backend, f"--{self.direction}", self.name
            ),
        )


def strategies(backends: Sequence[str], names: Sequence[str] | None) -> list[Strategy]:
    """Every strategy on every backend; with `names`, only the strategies with those labels."""
    found = [
        Strategy(direction, name, backend)
        for backend in backends
        for direction, known in (("receive", RECEIVE), ("send", SEND))
        for name in known
    ]
    if names is None:
        return found
    return choose("strategy", {strategy.label: strategy for strategy in found}, names)


@dataclass(frozen=True)
class Charges:
    """The ledger of a server at one moment, in bytes."""

    now: int
    peak: int
    kernel_locked: int
    registered: int


def charges(server: RunningServer) -> Charges:
    """Asks the server for its ledger."""
    return Charges(**json.loads(server.ask("ledger")))
