"""What the strategies really take on this machine: short runs of the demo's echo on loopback."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from iocp_sock import ArgumentError
from iocp_sock.cli import experiment, limits
from iocp_sock.cli.choices import Receive, Send
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.modelled import Figures
from iocp_sock.cli.progress import LiveProgress

LARGEST = 1 << 20
"""Bytes of a message that is measured."""

_CONNECTIONS = 1000
_HOT = 16
_SECONDS = 0.4


@dataclass(frozen=True)
class Measured:
    """One strategy in an echo at full speed; sizes in bytes, times in seconds."""

    idle_charge: float | None
    """Of the ledger for a connection that waits; None: a way to send, for which nothing waits."""
    memory: float | None
    """Resident, for a connection that waits; None where the system does not tell."""
    cpu: float
    """Of the server's processor, for a message and its echo."""
    messages_per_second: float

    def correct(self, figures: Figures) -> Figures:
        """The model's figures with what was measured in place of what it assumes."""
        corrected = replace(figures, memory=self.memory, cpu=self.cpu)
        if self.idle_charge is None:
            return corrected
        worst = max(figures.worst_charge, round(self.idle_charge))
        return replace(corrected, idle_charge=self.idle_charge, worst_charge=worst)

    @property
    def replaces(self) -> tuple[str, ...]:
        """The figures of an estimate that it has a part in."""
        locked = () if self.idle_charge is None else ("locked_typical", "locked_worst")
        return locked if self.memory is None else (*locked, "memory")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        memory, idle = self.memory, self.idle_charge
        return {
            "locked_idle_connection": None if idle is None else round(idle, 1),
            "memory_idle_connection": None if memory is None else round(memory, 1),
            "cpu_us_per_message": round(self.cpu * 1e6, 2),
            "messages_per_second": round(self.messages_per_second, 1),
        }


class Calibration:
    """The measurements for a load, one after the other; each starts processes of its own."""

    def __init__(self, load: Load) -> None:
        """Choose the size; a message is at most LARGEST. Raises ArgumentError for a longer one."""
        if load.message > LARGEST:
            raise ArgumentError(22, f"messages of at most {LARGEST:,} bytes can be measured")
        room = limits.room_for_connections()
        most = _CONNECTIONS if room is None else max(1, min(room, _CONNECTIONS))
        connections = min(load.connections, most)
        self._plan = experiment.Plan(
            connections=connections,
            hot=min(load.busy, _HOT, connections),
            seconds=_SECONDS,
            backend=None,
            message=load.message,
            block=load.block,
        )
        self._runs: dict[tuple[Receive, Send], experiment.Run] = {}

    def receive(self, way: Receive) -> Measured:
        """That way to receive, with buffered sends.

        Some of the blocks of posted receives are resident, and some are not: the memory beside them
        is that of zero-byte receives, which have none.
        """
        run = self._run(way, "buffered")
        bare = self._run("zero_byte", "buffered") if run.charged_bytes else run
        return _measured(run, bare, run.charged_bytes / run.connections)

    def send(self, way: Send) -> Measured:
        """That way to send, with pooled receives."""
        run = self._run("pooled", way)
        return _measured(run, run, None)

    def as_dict(self) -> dict[str, Any]:
        """How it was measured, for JSON; only after a measurement."""
        first = next(iter(self._runs.values()))
        return {
            "backend": first.backend,
            "backend_reason": first.backend_reason,
            "connections": self._plan.connections,
            "active": self._plan.hot,
            "seconds": self._plan.seconds,
            "message": self._plan.message,
        }

    def _run(self, receive: Receive, send: Send) -> experiment.Run:
        if (receive, send) not in self._runs:
            with LiveProgress() as progress:
                progress.run = f"{receive} receives, {send} sends"
                run = experiment.measure(self._plan, receive, progress, send)
            self._runs[receive, send] = run
        return self._runs[receive, send]


def _measured(run: experiment.Run, bare: experiment.Run, idle_charge: float | None) -> Measured:
    """What a run says; `bare` is one whose connections hold no buffers."""
    return Measured(
        idle_charge=idle_charge,
        memory=bare.rss_bytes_per_connection,
        cpu=run.server_cpu_us / 1e6,
        messages_per_second=run.messages_per_second,
    )
