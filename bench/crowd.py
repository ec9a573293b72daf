"""Idle connections, divided among as many servers as open files and ephemeral ports require."""

import contextlib
import resource
from dataclasses import dataclass

from bench.idle import idle_client, wait_accepted
from bench.machine import Cpus
from bench.strategy import Strategy, charges

_OTHER_FILES = 100
_PORTS = 25_000
"""The maximum number of connections from one loopback address to one server: fewer than there are
ephemeral ports."""


@dataclass(frozen=True)
class Crowd:
    """The idle connections of all servers; sizes in bytes, before and after a message on each."""

    connections: int
    processes: int
    bytes_per_idle_connection: float
    bytes_per_connection_after_echo: float
    charged_bytes: int
    kernel_locked_bytes: int


def shares(connections: int, open_files: int) -> list[int]:
    """The number of connections of each process; open_files is the limit of one process."""
    most = min(open_files - _OTHER_FILES, _PORTS)
    if most < 1:
        raise SystemExit(f"{open_files} open files are too few; raise the hard limit (ulimit -Hn)")
    processes = -(-connections // most)
    return [connections // processes + (at < connections % processes) for at in range(processes)]


def gather(strategy: Strategy, connections: int, cpus: Cpus) -> Crowd:
    """Measures idle connections, divided among servers, before and after a message on each."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    listening = 0
    servers, clients = [], []
    with contextlib.ExitStack() as everything:
        for share in shares(connections, limit):
            server = everything.enter_context(strategy.server.start(cpus.server))
            listening += server.settled_anonymous_bytes()
            files = server.open_files()
            client = everything.enter_context(idle_client(server, share, cpus.client))
            client.expect("connected")
            wait_accepted(server, files + share)
            servers.append(server)
            clients.append(client)
        idle = sum(server.settled_anonymous_bytes() for server in servers)
        ledgers = [charges(server) for server in servers]
        for client in clients:
            client.echo()
        echoed = sum(server.settled_anonymous_bytes() for server in servers)
    return Crowd(
        connections,
        len(servers),
        round((idle - listening) / connections, 1),
        round((echoed - listening) / connections, 1),
        sum(ledger.now for ledger in ledgers),
        sum(ledger.kernel_locked for ledger in ledgers),
    )
