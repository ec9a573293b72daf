"""One run of the native load client against one running server."""

import json
import subprocess
from dataclasses import dataclass

from bench.cell import Cell
from bench.machine import pinned
from bench.program import program
from bench.server import RunningServer

QUIET = 0.1
"""The maximum CPU time of other processes in a quiet run, in CPU seconds per second."""
NOISY = "NOISY: other processes took CPU time during the runs; measure again without them"

_CONNECT_SECONDS = 60.0


class RunFailed(RuntimeError):
    """The client did not finish: a wrong or missing reply, a lost connection, a time limit."""


@dataclass(frozen=True)
class Measurement:
    """The client's figures for the measured time.

    The `_busy` figures are the CPU seconds per second of the server, of the client and of all other
    processes.
    """

    messages_per_second: float
    cpu_us_per_message: float
    p50_us: float
    p99_us: float
    server_busy: float
    client_busy: float
    other_busy: float


def measure(
    server: RunningServer, cell: Cell, cpu: int, *, seconds: float, warmup: float
) -> Measurement:
    """Runs the load client on one CPU: `warmup` seconds, then `seconds` that are measured."""
    limit = warmup + seconds + _CONNECT_SECONDS
    command = [str(program("client"))]
    for name, value in {
        "port": server.port, "pid": server.pid, "connections": cell.connections, "size": cell.size,
        "replies": cell.pieces, "warmup": warmup, "seconds": seconds, "limit": limit,
    }.items():  # fmt: skip
        command += [f"--{name}", str(value)]
    if server.also is not None:
        command += ["--also", str(server.also)]
    try:
        with pinned(cpu):
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=limit + _CONNECT_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"the client did not end within {error.timeout:.0f} s") from error
    if done.returncode != 0:
        complaint = server.complaint()
        raise RunFailed(done.stderr.strip() + (f" (server: {complaint})" if complaint else ""))
    seen = json.loads(done.stdout)
    return Measurement(
        messages_per_second=seen["messages"] / seen["seconds"],
        cpu_us_per_message=seen["server_cpu_seconds"] * 1e6 / seen["messages"],
        p50_us=seen["p50_us"],
        p99_us=seen["p99_us"],
        server_busy=seen["server_cpu_seconds"] / seen["seconds"],
        client_busy=seen["client_cpu_seconds"] / seen["seconds"],
        other_busy=seen["other_cpu_seconds"] / seen["seconds"],
    )
