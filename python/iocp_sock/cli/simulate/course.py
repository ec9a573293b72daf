"""The run of a scenario: its ports take turns in one thread, and time passes when all are idle."""

from __future__ import annotations

import mmap
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from iocp_sock import Completion, NagleStallWarning, Port, Socket, Trace, UnpostedReceiveWarning
from iocp_sock.cli.simulate.agenda import Agenda
from iocp_sock.cli.simulate.connection import Connection
from iocp_sock.cli.simulate.outcome import HostOutcome, Outcome
from iocp_sock.cli.simulate.reading import ScenarioError
from iocp_sock.cli.simulate.scenario import Fault, Group, Listener, Scenario
from iocp_sock.cli.simulate.tally import Tally

_SECOND = 1_000_000_000
_STEP = 1_000_000
"""The nanoseconds between two checks of the ports' timers, in a scenario of a minute."""
_STEPS = 60_000
_MAX_TURNS = 100_000
_TRACED = 1 << 18
"""The maximum of events of each port in a trace."""


class ScenarioCourse:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, *, traced: bool) -> None:
        self._scenario = scenario
        self._traced = traced
        self._sim = scenario.make_sim()
        self._end = round(scenario.duration * _SECOND)
        self._step = max(_STEP, self._end // _STEPS)
        self._agenda = Agenda()
        self._ports: dict[str, Port] = {}
        self._traces: dict[str, Trace] = {}
        self._listening: dict[str, Socket] = {}
        self._tallies = {name: Tally() for name in scenario.groups}
        self._connections = {
            name: [
                Connection(f"{name} {number}", group.traffic, self, self._tallies[name])
                for number in range(group.count)
            ]
            for name, group in scenario.groups.items()
        }
        self._near: dict[Any, tuple[Group, Connection, Socket]] = {}
        self._far: dict[Any, tuple[Listener, Socket]] = {}
        self._ends: dict[int, str] = {}
        self._injected: Counter[int] = Counter()
        self._raised: list[BaseException] = []
        largest = max((_largest(group) for group in scenario.groups.values()), default=1)
        self.memory = memoryview(mmap.mmap(-1, largest))

    @property
    def now(self) -> int:
        """The current time in virtual nanoseconds."""
        return self._sim.world.now()

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Run an action at a time, in a turn of its own."""
        self._agenda.at(when, action)

    def run(self) -> Outcome:
        """Run the scenario from the first connect to the end of the duration.

        Raises ScenarioError if time cannot pass, or if a machine refuses a listener.
        """
        with warnings.catch_warnings():
            for category in (NagleStallWarning, UnpostedReceiveWarning):
                warnings.simplefilter("ignore", category)  # the figures report it
            try:
                self._begin()
                self._go_on()
                return self._outcome()
            finally:
                for port in self._ports.values():
                    port.close(0)

    def _begin(self) -> None:
        self._sim.keep_trace(self._traced)
        for host in self._scenario.hosts.values():
            port = Port(backend=self._sim, nodelay=False, **host.options)
            port.error_handler = lambda error, _callback: self._raised.append(error)
            self._ports[host.name] = port
            if self._traced:
                self._traces[host.name] = port.trace(_TRACED)
        for listener in self._scenario.listeners.values():
            try:
                sock = self._ports[listener.host].listen(self._address(listener))
            except OSError as error:
                raise ScenarioError(
                    f"[listeners.{listener.name}] is refused by its machine: {error.strerror}"
                ) from error
            self._ends[sock.fileno()] = f"{listener.name}: listener"
            sock.accept_each(partial(self._accepted, listener), on_error=_forgotten)
            self._listening[listener.name] = sock
        for group in self._scenario.groups.values():
            for number, connection in enumerate(self._connections[group.name]):
                when = round((group.start + number * group.every) * _SECOND)
                self.at(when, partial(self._connect, group, connection))
        for number, fault in enumerate(self._scenario.faults):
            self.at(round(fault.at * _SECOND), partial(self._inject_fault, number, fault))

    def _address(self, listener: Listener) -> tuple[str, int]:
        number = list(self._scenario.hosts).index(listener.host) + 1
        return f"10.0.{number >> 8}.{number & 0xFF}", listener.number

    def _go_on(self) -> None:
        while True:
            self._rest()
            left = self._end - self.now
            if left <= 0:
                return
            due = self._agenda.next
            until = left if due is None else max(0, due - self.now)
            self._sim.pass_time(min(left, self._step, until) / _SECOND)

    def _rest(self) -> None:
        """Run every port until nothing is due at this instant."""
        turns = 0
        done = 1
        while done:
            done = self._agenda.run_due(self.now)
            done += sum(port.run_once(0) for port in self._ports.values())
            if self._raised:
                raise self._raised[0]
            turns += 1
            if turns > _MAX_TURNS:
                raise ScenarioError(
                    f"the events at {self.now / _SECOND:g} s never end, so time stands still; "
                    "set [sim] delay to more than 0"
                )

    def _connect(self, group: Group, connection: Connection) -> None:
        tally = self._tallies[group.name]
        listener = self._scenario.listeners[group.listener]
        try:
            sock = self._ports[group.host].socket()
            group.manner.apply(sock)
            self._ends[sock.fileno()] = f"{connection.name}: near"
            sock.connect(
                self._address(listener), callback=partial(self._connected, group, connection, sock)
            )
        except OSError as error:
            tally.errors[type(error).__name__] += 1

    def _connected(
        self, group: Group, connection: Connection, sock: Socket, completion: Completion
    ) -> None:
        if completion.error is not None:
            self._tallies[group.name].errors[type(completion.error).__name__] += 1
            sock.close()
            return
        name = sock.getsockname()
        self._near[name] = (group, connection, sock)
        self._pair(name)

    def _accepted(self, listener: Listener, sock: Socket) -> None:
        name = sock.getpeername()
        listener.manner.apply(sock)
        self._far[name] = (listener, sock)
        self._pair(name)

    def _pair(self, name: Any) -> None:
        if name not in self._near or name not in self._far:
            return
        group, connection, near = self._near.pop(name)
        listener, far = self._far.pop(name)
        self._ends[far.fileno()] = f"{connection.name}: far"
        connection.open(near, group.manner, far, listener.manner)

    def _inject_fault(self, number: int, fault: Fault) -> None:
        connections = self._connections[fault.group]
        for which in fault.which or range(len(connections)):
            sock = connections[which].far if fault.far else connections[which].near
            if sock is not None and not sock.closed:
                self._injected[number] += self._sim.inject_fault(sock, fault.what)

    def _outcome(self) -> Outcome:
        machines = self._sim.machines()
        hosts = {
            name: HostOutcome.of(port, machine, self._traces[name].stop() if self._traced else None)
            for (name, port), machine in zip(self._ports.items(), machines, strict=True)
        }
        return Outcome(
            scenario=self._scenario,
            hosts=hosts,
            tallies=self._tallies,
            injected=tuple(self._injected[number] for number in range(len(self._scenario.faults))),
            counts=self._sim.counts(),
            trace_hash=self._sim.trace_hash(),
            lines=self._sim.trace() if self._traced else [],
            ends=self._ends,
        )


def _largest(group: Group) -> int:
    traffic = group.traffic
    return 1 if traffic is None else max(*traffic.parts, traffic.answer_bytes)


def _forgotten(_listener: Socket, _error: OSError) -> None:
    """Ignore the error, because the connecting end reports the failed connection."""
