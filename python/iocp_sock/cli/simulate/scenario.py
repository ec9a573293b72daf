"""A scenario: machines, connections, their messages, and the faults to inject."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from iocp_sock import Port, PortConfig, Sim
from iocp_sock.cli.simulate.manner import Manner
from iocp_sock.cli.simulate.reading import ScenarioError, Table, as_seconds, as_size
from iocp_sock.cli.simulate.traffic import Traffic
from iocp_sock.errors import Error
from iocp_sock.sim import FAULTS, PRESETS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NOT_OF_A_HOST = {
    "backend",
    "concurrency",
    "in_order",
    "adaptive",
    "skip_done_packets",
    "latency",
    "nodelay",  # each end sets it by itself
    "on_callback_error",
}
_CONVERT = {"seconds": as_seconds, "number": as_size}


@dataclass(frozen=True)
class Host:
    """A machine with one port."""

    name: str
    options: Mapping[str, Any]
    """The fields of PortConfig."""


@dataclass(frozen=True)
class Listener:
    """A listener, and the strategies and settings of the connections that it accepts."""

    name: str
    host: str
    number: int
    """The number of the TCP port."""
    manner: Manner


@dataclass(frozen=True)
class Group:
    """A group of equal connections; times in virtual seconds."""

    name: str
    host: str
    listener: str
    count: int
    start: float
    every: float
    """The time from one connect to the next."""
    manner: Manner
    """The strategies and settings of the connecting ends."""
    traffic: Traffic | None


@dataclass(frozen=True)
class Fault:
    """A fault to inject into connections of a group at a virtual second."""

    at: float
    what: str
    group: str
    which: tuple[int, ...]
    """The connections by number, from 0; empty: all."""
    far: bool
    """Whether the fault goes to the accepted ends of the connections."""


@dataclass(frozen=True)
class Scenario:
    """The checked content of a scenario file."""

    title: str
    seed: int
    preset: str
    parameters: Mapping[str, Any]
    """The fields of Sim."""
    duration: float
    """The duration in virtual seconds."""
    hosts: Mapping[str, Host]
    listeners: Mapping[str, Listener]
    groups: Mapping[str, Group]
    faults: tuple[Fault, ...]

    def make_sim(self) -> Sim:
        """Make a new model."""
        return Sim(seed=self.seed, preset=self.preset, **self.parameters)


def load(path: Path, seed: int | None = None) -> Scenario:
    """Read a scenario file; `seed` replaces the file's seed. Raises ScenarioError and OSError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ScenarioError(f"the file is not UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"the file is not TOML: {error}") from error
    return read(values if seed is None else {**values, "seed": seed}, path.stem)


def read(values: Mapping[str, Any], title: str) -> Scenario:
    """Make a Scenario of a file's values. Raises ScenarioError for an invalid value."""
    top = Table("", dict(values))
    title = top.text("title", title)
    seed = top.whole("seed", 0, (1 << 64) - 1, 0)
    preset = top.word("preset", PRESETS, "linux")
    duration = top.seconds("duration")
    parameters = _parameters(top.table("sim"))
    hosts = {name: _host(name, table) for name, table in top.tables("hosts")}
    if not hosts:
        raise ScenarioError(
            "hosts is missing: a scenario must have machines, such as [hosts.server]"
        )
    listeners = {name: _listener(name, table, hosts) for name, table in top.tables("listeners")}
    groups = {
        name: _group(name, table, hosts, listeners) for name, table in top.tables("connections")
    }
    faults = tuple(_fault(table, groups) for table in top.listed("faults"))
    top.done()
    for number, fault in enumerate(faults, 1):
        if fault.at > duration:
            raise ScenarioError(f"[[faults]] number {number}: at must not be after the duration")
    places = [(one.host, one.number) for one in listeners.values()]
    if len(set(places)) < len(places):
        raise ScenarioError("two listeners have the same host and port; give each its own")
    scenario = Scenario(title, seed, preset, parameters, duration, hosts, listeners, groups, faults)
    _try_out(scenario)
    return scenario


def _parameters(table: Table) -> dict[str, Any]:
    kinds = {one.name: one.metadata["kind"] for one in fields(Sim) if "kind" in one.metadata}
    del kinds["threads"]  # a scenario has one thread
    given = table.rest(list(kinds))
    return {name: _converted(kinds[name], value) for name, value in given.items()}


def _converted(kind: str, value: Any) -> Any:
    """Convert a text to its number; leave other values for Sim or PortConfig to check."""
    found = _CONVERT[kind](value) if isinstance(value, str) and kind in _CONVERT else None
    return value if found is None else found


def _host(name: str, table: Table) -> Host:
    kinds = {
        one.name: {"int": "number", "float": "seconds"}.get(str(one.type), "")
        for one in fields(PortConfig)
        if one.name not in _NOT_OF_A_HOST
    }
    given = table.rest(list(kinds))
    return Host(name, {key: _converted(kinds[key], value) for key, value in given.items()})


def _listener(name: str, table: Table, hosts: Mapping[str, Host]) -> Listener:
    found = Listener(
        name,
        table.word("host", list(hosts)),
        table.whole("port", 1, 65535, 80),
        Manner.read(table),
    )
    table.done()
    return found


def _group(
    name: str, table: Table, hosts: Mapping[str, Host], listeners: Mapping[str, Listener]
) -> Group:
    found = Group(
        name,
        table.word("from", list(hosts)),
        table.word("to", list(listeners)),
        table.whole("count", 1, 100_000, 1),
        table.seconds("start", 0.0),
        table.seconds("every", 0.0),
        Manner.read(table),
        Traffic.read(table),
    )
    table.done()
    return found


def _fault(table: Table, groups: Mapping[str, Group]) -> Fault:
    at = table.seconds("at")
    what = table.word("what", FAULTS)
    group = table.word("connections", list(groups))
    most = groups[group].count - 1

    def numbers(given: Any) -> tuple[int, ...] | None:
        listed = given if isinstance(given, list) else [given]
        good = bool(listed) and all(
            isinstance(one, int) and not isinstance(one, bool) for one in listed
        )
        return tuple(listed) if good and all(0 <= one <= most for one in listed) else None

    which: tuple[int, ...] = table.value(
        "which", f"a number from 0 to {most}, or a list of such numbers", numbers, ()
    )
    end = table.word("end", ("near", "far"), "near")
    table.done()
    return Fault(at, what, group, which, end == "far")


def _try_out(scenario: Scenario) -> None:
    """Make every model, configuration and socket once, because only that finds some errors.

    Raises ScenarioError.
    """
    try:
        sim = scenario.make_sim()
    except Error as error:
        raise ScenarioError(f"[sim]: {error.strerror}") from error
    for host in scenario.hosts.values():
        try:
            PortConfig(backend=sim, **host.options)
        except Error as error:
            raise ScenarioError(f"[hosts.{host.name}]: {error.strerror}") from error
    unlimited = {**scenario.parameters, "pool_limit": 0, "refuse_charge": 0}
    with Port(backend=Sim(preset=scenario.preset, **unlimited)) as port:
        named = [(f"[listeners.{one.name}]", one.manner) for one in scenario.listeners.values()]
        named += [(f"[connections.{one.name}]", one.manner) for one in scenario.groups.values()]
        for name, manner in named:
            with port.socket() as sock:
                try:
                    manner.apply(sock)
                except Error as error:
                    raise ScenarioError(f"{name}: {error.strerror}") from error
