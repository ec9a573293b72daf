"""The instructions of a server for each echoed message, counted by callgrind.

A count hardly depends on what else the machine does, so that two builds can be compared on a busy
one. It covers user space only: system calls count as the instructions around them.
"""

import argparse
import contextlib
import re
import shutil
import socket
import statistics
import subprocess
from collections.abc import Sequence
from typing import Any

from bench import report
from bench.cell import QUICK, Cell, select_cells
from bench.machine import Cpus, describe
from bench.program import CompileError
from bench.server import ECHO_SERVERS, Server, select_servers, with_before
from bench.servers.shape import HOST

_COLLECTED = re.compile(r"Collected : (\d+)")
_TIMEOUT = 120.0
_POLL = 0.2
_USUAL = "64Bx100,1KiBx100,8x64Bx100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cells", default=_USUAL, help=f"the cells ({_USUAL})")
    parser.add_argument("--rounds", type=int, default=3, help="counts of each server and cell (3)")
    parser.add_argument(
        "--messages", type=int, default=40, help="messages on each connection of a count (40)"
    )
    parser.add_argument("--baseline", help="the server to which the others are compared")


class CountFailed(RuntimeError):
    """The server gave no count, or a wrong reply; the message says which."""


def _converse(port: int, cell: Cell, messages: int) -> None:
    """Sends on every connection, then reads every reply, and repeats that."""
    request = bytes(index % 251 for index in range(cell.size))
    reply = cell.size * cell.pieces
    with contextlib.ExitStack() as scope:
        connections = [
            scope.enter_context(socket.create_connection((HOST, port), _TIMEOUT))
            for _ in range(cell.connections)
        ]
        for connection in connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(messages):
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                left = reply
                while left:
                    chunk = connection.recv(left)
                    if not chunk:
                        raise CountFailed("the server closed a connection")
                    left -= len(chunk)


def _end(process: "subprocess.Popen[str]", port: int | None) -> str:
    """Ends the server by the end of its stdin, and returns what it has written to stderr.

    Valgrind cannot interrupt a wait in io_uring_enter(2), so connections wake the server.
    """
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    for _ in range(int(_TIMEOUT / _POLL)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_POLL)[1]
        if port is not None:
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, port), _POLL).close()
    raise CountFailed("the server did not end")


def _count(server: Server, cell: Cell, messages: int) -> int:
    """Returns the instructions of a whole run of the server."""
    command = [
        "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=yes",
        *server.command(), "--pieces", str(cell.pieces), "--size", str(cell.size),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            if line.isdigit():
                _converse(int(line), cell, messages)
            errors = _end(process, int(line) if line.isdigit() else None)
        except BaseException:
            process.kill()
            raise
    counts = _COLLECTED.findall(errors)
    if not line.isdigit() or not counts:
        raise CountFailed((errors.strip().splitlines() or ["the server said nothing"])[-1])
    return int(counts[-1])


def _for_each_message(server: Server, cell: Cell, messages: int) -> float:
    """Returns the difference of a long run and a short one, so that the start does not count."""
    few, many = (_count(server, cell, times * messages) for times in (1, 2))
    return (many - few) / (messages * cell.connections)


def _rows(
    cells: Sequence[Cell], servers: Sequence[Server], baseline: str, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    counts: dict[tuple[Cell, str], list[float]] = {}
    skipped: dict[str, str] = {}
    for number in range(1, options.rounds + 1):
        for cell in cells:
            for server in servers:
                if server.name in skipped or (server.pieces_only and cell.pieces == 1):
                    continue
                try:
                    count = _for_each_message(server, cell, options.messages)
                except (CountFailed, CompileError, OSError) as error:
                    skipped[server.name] = str(error)
                    continue
                counts.setdefault((cell, server.name), []).append(count)
                label = f"round {number}/{options.rounds}  {cell.name:<12} {server.name:<18}"
                report.progress(f"{label} {count:>10,.0f}")
    rows = []
    for (cell, name), seen in counts.items():
        base = counts.get((cell, baseline))
        rows.append(
            {
                "cell": cell.name,
                "server": name,
                "instructions_per_message": round(statistics.median(seen)),
                "counts": [round(count) for count in seen],
                f"relative_to_{baseline}": None
                if base is None
                else round(statistics.median(seen) / statistics.median(base), 4),
            }
        )
    return rows, skipped


def main(options: argparse.Namespace) -> int:
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed")
    known = with_before(ECHO_SERVERS, options.before)
    names = options.servers or ["iocp_sock-uring", "iocp_sock-epoll", "uvloop"]
    servers = select_servers(known, names)
    baseline = options.baseline or servers[0].name
    cells = select_cells(options.cells.split(",")) if options.cells else QUICK
    rows, skipped = _rows(cells, servers, baseline, options)
    result = {
        "benchmark": "instructions",
        "environment": describe(Cpus.choose(options.cpus)),
        "settings": {"rounds": options.rounds, "messages": options.messages},
        "rows": rows,
        "skipped": skipped,
    }
    report.write(result, as_json=options.json, out=options.out)
    if not options.json:
        ratio = f"relative_to_{baseline}"
        lines = [
            [
                row["cell"], row["server"], f"{row['instructions_per_message']:,}",
                "-" if row[ratio] is None else f"{row[ratio]:.3f}",
            ]
            for row in rows
        ]  # fmt: skip
        report.table(
            "Instructions for each message, medians",
            ["cell", "server", "instructions", f"/ {baseline}"],
            lines,
            names=2,
            notes=[f"skipped {name}: {why}" for name, why in skipped.items()],
        )
    return 1 if not rows else 0
