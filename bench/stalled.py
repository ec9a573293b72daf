"""The stalled benchmark: the cost of peers that never read, for a server and its other peers."""

import argparse
import contextlib
import json
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Any

from bench import report
from bench.cell import Cell
from bench.load import measure
from bench.machine import Cpus, describe
from bench.server import RunningServer, Server, python_server

_LIMIT_SECONDS = 30.0
_CELL = Cell(64, 100)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peers", type=int, default=1000, help="number of peers that never read (1000)"
    )
    parser.add_argument("--cap", type=int, default=256 << 10, help="bytes per socket (262144)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds with and without them (7)")
    parser.add_argument("--seconds", type=float, default=1.0, help="window of a run (1.0)")


def _ask(server: RunningServer) -> dict[str, int]:
    return json.loads(server.ask("figures"))


@contextlib.contextmanager
def stalled_peers(server: RunningServer, count: int) -> Iterator[dict[str, int]]:
    """Makes connections that never read; yields the server's figures once they stand still."""
    address = ("127.0.0.1", _ask(server)["port"])
    with contextlib.ExitStack() as open_peers:
        for _ in range(count):
            peer = open_peers.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(address)
        yield _settled(server, count)
    _settled(server, 0)


def _settled(server: RunningServer, count: int) -> dict[str, int]:
    end = time.monotonic() + _LIMIT_SECONDS
    before: dict[str, int] = {}
    while True:
        figures = _ask(server)
        if figures["connections"] == count and figures == before:
            return figures
        if time.monotonic() > end:
            raise RuntimeError(f"only {figures['connections']} of {count} connections stalled")
        before = figures
        time.sleep(0.1)


def _measure(server: RunningServer, cpus: Cpus, seconds: float) -> float:
    seen = measure(server, _CELL, cpus.client, seconds=seconds, warmup=seconds / 3)
    return seen.messages_per_second


def run(backend: str, options: argparse.Namespace, cpus: Cpus) -> dict[str, Any]:
    """Runs rounds on one server: a window without stalled peers, and one beside them."""
    command = python_server("stalled_server", "--backend", backend, "--cap", str(options.cap))
    alone, beside, figures = [], [], {}
    with Server(backend, command).start(cpus.server) as server:
        idle = server.settled_anonymous_bytes()
        for number in range(1, options.rounds + 1):
            alone.append(_measure(server, cpus, options.seconds))
            with stalled_peers(server, options.peers) as figures:
                grown = server.settled_anonymous_bytes() - idle
                beside.append(_measure(server, cpus, options.seconds))
            report.progress(
                f"round {number}/{options.rounds}  {backend:<6} {alone[-1]:>10,.0f}/s alone, "
                f"{beside[-1]:>10,.0f}/s beside"
            )
    ratios = [with_them / without for with_them, without in zip(beside, alone, strict=True)]
    return {
        "backend": backend,
        "messages_per_second_alone": round(statistics.median(alone)),
        "messages_per_second_beside": round(statistics.median(beside)),
        "ratio": round(statistics.median(ratios), 3),
        "queued_bytes": figures["queued"],
        "max_queued_bytes_of_one": figures["max_queued"],
        "charged_bytes": figures["charged"],
        "memory_grown_bytes": grown,
    }


_COLUMNS = ["backend", "alone/s", "beside/s", "ratio", "queued", "most of one", "charged", "memory"]


def main(options: argparse.Namespace) -> int:
    cpus = Cpus.choose(options.cpus)
    result = {
        "benchmark": "stalled",
        "environment": describe(cpus),
        "settings": {
            "peers": options.peers,
            "cap": options.cap,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "healthy": _CELL.connections,
        },
        "rows": [run(name, options, cpus) for name in options.servers or ("uring", "epoll")],
    }
    report.write(result, as_json=options.json, out=options.out)
    if not options.json:
        rows = [[row["backend"], *(f"{row[key]:,}" for key in list(row)[1:])]
                for row in result["rows"]]  # fmt: skip
        report.table(
            f"{options.peers:,} peers that never read, beside {_CELL.name}; bytes",
            _COLUMNS, rows, names=1, notes=[],
        )  # fmt: skip
    return 0
