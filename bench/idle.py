"""The idle benchmark: the user-space memory of a server for an idle connection."""

import argparse
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from bench import report
from bench.load import RunFailed
from bench.machine import Cpus, describe, pinned
from bench.program import program
from bench.server import (
    IDLE_SERVERS,
    RunningServer,
    Server,
    ServerUnavailable,
    select_servers,
    with_before,
)

_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class IdleMemory:
    """The RssAnon of a server in bytes: listening, with N connections, after a message on each."""

    server: str
    connections: int
    listening_bytes: int
    connected_bytes: int
    echoed_bytes: int

    @property
    def bytes_per_connection(self) -> float:
        return (self.connected_bytes - self.listening_bytes) / self.connections

    @property
    def bytes_per_connection_after_echo(self) -> float:
        return (self.echoed_bytes - self.listening_bytes) / self.connections


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connections", type=int, default=9000, help="idle connections (9000)")


class IdleClient:
    """The native client process that holds the connections."""

    def __init__(self, process: "subprocess.Popen[str]", connections: int) -> None:
        self._process = process
        self._connections = connections

    def expect(self, word: str) -> None:
        """Waits for the line by which the client reports `word` for all connections."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], _LIMIT_SECONDS)
        line = self._process.stdout.readline().strip() if ready else ""
        if line != f"{word} {self._connections}":
            self._process.kill()
            _, errors = self._process.communicate(timeout=_LIMIT_SECONDS)
            late = f"the client did not report {word!r} within {_LIMIT_SECONDS:.0f} s"
            raise RunFailed(errors.strip() or late)

    def echo(self) -> None:
        """Sends one message on each connection, and checks the echo."""
        assert self._process.stdin is not None
        self._process.stdin.write("echo\n")
        self._process.stdin.flush()
        self.expect("echoed")


@contextmanager
def idle_client(server: RunningServer, connections: int, cpu: int) -> Iterator[IdleClient]:
    """Starts a client process that makes the connections and then stays idle."""
    command = [str(program("idle")), "--port", str(server.port), "--connections", str(connections)]
    with pinned(cpu):
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        yield IdleClient(process, connections)
    finally:
        process.kill()
        process.communicate(timeout=_LIMIT_SECONDS)


def wait_accepted(server: RunningServer, files: int) -> None:
    """Waits until the server has `files` descriptors open."""
    end = time.monotonic() + _LIMIT_SECONDS
    while server.open_files() < files:
        if time.monotonic() > end:
            missing = files - server.open_files()
            raise RunFailed(f"{missing} connections not accepted {server.complaint()}".strip())
        time.sleep(0.05)


def measure(kind: Server, connections: int, cpus: Cpus) -> IdleMemory:
    """Measures a server's memory: listening, with idle connections, and after a message on each."""
    with kind.start(cpus.server) as server:
        listening = server.settled_anonymous_bytes()
        files = server.open_files()
        with idle_client(server, connections, cpus.client) as client:
            client.expect("connected")
            wait_accepted(server, files + connections)
            connected = server.settled_anonymous_bytes()
            client.echo()
            echoed = server.settled_anonymous_bytes()
    return IdleMemory(kind.name, connections, listening, connected, echoed)


def _print_table(result: dict[str, Any]) -> None:
    columns = ["server", "connections", "B/connection", "B/connection after echo", "listening KiB"]
    lines = [
        [
            row["server"], f"{row['connections']:,}", f"{row['bytes_per_connection']:,.0f}",
            f"{row['bytes_per_connection_after_echo']:,.0f}", f"{row['listening_bytes'] // 1024:,}",
        ]
        for row in result["rows"]
    ]  # fmt: skip
    notes = [f"skipped {name}: {why}" for name, why in result["skipped"].items()]
    notes += [f"FAILED {at['server']}: {at['error']}" for at in result["failures"]]
    report.table("User-space memory per idle connection", columns, lines, names=1, notes=notes)


def main(options: argparse.Namespace) -> int:
    cpus = Cpus.choose(options.cpus)
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    failures: list[dict[str, str]] = []
    environment = describe(cpus)
    for server in select_servers(with_before(IDLE_SERVERS, options.before), options.servers):
        try:
            seen = measure(server, options.connections, cpus)
        except ServerUnavailable as error:
            skipped[server.name] = str(error)
            report.progress(f"{server.name:<26} skipped: {error}")
        except RunFailed as error:
            failures.append({"server": server.name, "error": str(error)})
            report.progress(f"{server.name:<26} failed: {error}")
        else:
            rows.append(
                {
                    **asdict(seen),
                    "bytes_per_connection": round(seen.bytes_per_connection, 1),
                    "bytes_per_connection_after_echo": round(
                        seen.bytes_per_connection_after_echo, 1
                    ),
                }
            )
            report.progress(
                f"{server.name:<26} {seen.bytes_per_connection:>8,.0f} B per connection"
            )
    result = {
        "benchmark": "idle",
        "environment": environment,
        "settings": {"connections": options.connections},
        "rows": rows,
        "skipped": skipped,
        "failures": failures,
    }
    report.write(result, as_json=options.json, out=options.out)
    if not options.json:
        _print_table(result)
    return 1 if failures or not rows else 0
