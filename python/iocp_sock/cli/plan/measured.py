"""The measured cost of strategies on this machine, from short echo runs on loopback."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import Any

from iocp_sock import ArgumentError
from iocp_sock.cli import experiment, limits
from iocp_sock.cli.choices import Receive, Send
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.modelled import Figures
from iocp_sock.cli.progress import LiveProgress

LARGEST = 1 << 20
"""The maximum bytes of a measured message."""

_CONNECTIONS = 1000
_HOT = 16
_SECONDS = 0.4


@dataclass(frozen=True)
class Measured:
    """The cost of one strategy in an echo at full speed; sizes in bytes, times in seconds."""

    idle_charge: float | None
    """The ledger's charge for an idle connection; None for a send strategy, where nothing waits."""
    memory: float | None
    """The resident memory of an idle connection; None if the system does not report it."""
    cpu: float
    """The server's processor time for a message and its echo."""
    messages_per_second: float

    def correct(self, figures: Figures) -> Figures:
        """Return the model's figures with the measured ones in place of its assumptions."""
        corrected = replace(figures, memory=self.memory, cpu=self.cpu)
        if self.idle_charge is None:
            return corrected
        worst = max(figures.worst_charge, round(self.idle_charge))
        return replace(corrected, idle_charge=self.idle_charge, worst_charge=worst)

    @property
    def replaces(self) -> tuple[str, ...]:
        """Return the names of an estimate's figures that the measurement changes."""
        locked = () if self.idle_charge is None else ("locked_typical", "locked_worst")
        return locked if self.memory is None else (*locked, "memory")

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        memory, idle = self.memory, self.idle_charge
        return {
            "locked_idle_connection": None if idle is None else round(idle, 1),
            "memory_idle_connection": None if memory is None else round(memory, 1),
            "cpu_us_per_message": round(self.cpu * 1e6, 2),
            "messages_per_second": round(self.messages_per_second, 1),
        }


class Calibration:
    """The measurements for a load, one after the other; each starts its own processes."""

    def __init__(self, load: Load) -> None:
        """Choose the size of the runs. Raises ArgumentError for a message over LARGEST bytes."""
        if load.message > LARGEST:
            raise ArgumentError(
                errno.EINVAL, f"a measured message must have at most {LARGEST:,} bytes"
            )
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
        """Measure a receive strategy, with buffered sends.

        Not all blocks of posted receives are resident. So the memory beside them is taken from
        zero-byte receives, which have no blocks.
        """
        run = self._run(way, "buffered")
        bare = self._run("zero_byte", "buffered") if run.charged_bytes else run
        return _measured(run, bare, run.charged_bytes / run.connections)

    def send(self, way: Send) -> Measured:
        """Measure a send strategy, with pooled receives."""
        run = self._run("pooled", way)
        return _measured(run, run, None)

    def as_dict(self) -> dict[str, Any]:
        """Return the conditions of the runs for JSON. Precondition: there was a measurement."""
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
    """Return the cost of a run; `bare` is a run whose connections hold no buffers."""
    return Measured(
        idle_charge=idle_charge,
        memory=bare.rss_bytes_per_connection,
        cpu=run.server_cpu_us / 1e6,
        messages_per_second=run.messages_per_second,
    )
