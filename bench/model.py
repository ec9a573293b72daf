"""The model's own speed: modelled events a second, and memory of a modelled connection."""

import argparse
import json
import multiprocessing
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import iocp_sock

_ADDRESS = ("10.0.0.1", 80)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class ModelSpeed:
    """One preset's figures of a bulk transfer and of idle connections."""

    preset: str
    events: int
    events_per_second: float
    connections: int
    bytes_per_connection: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mebibytes", type=int, default=256, help="size of the transfer (256)")
    parser.add_argument("--connections", type=int, default=20_000, help="idle connections (20000)")


def _anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def _transfer(preset: str, mebibytes: int) -> tuple[int, float]:
    """Send `mebibytes` one way; return the modelled events and their processor seconds."""
    sim = iocp_sock.Sim(preset=preset, nagle=False)
    data = bytes(_BLOCK)
    got = 0

    def count(_: iocp_sock.Socket, chunk: iocp_sock.Buffer) -> None:
        nonlocal got
        got += len(chunk)

    with iocp_sock.Port(backend=sim) as port:
        listener = port.listen(_ADDRESS)
        listener.accept_each(lambda conn: conn.receive(count))
        sender = port.connect(_ADDRESS).socket
        before = time.process_time()
        for sent in range(1, mebibytes + 1):
            sender.send(data)
            while got < sent * _BLOCK:
                port.run_once(1)
        spent = time.process_time() - before
        events = sim.counts()["events"]
        del listener
    return events, spent


def _idle(preset: str, connections: int) -> float:
    """The anonymous memory of one idle connection: its two ends, and its share of the core."""
    with iocp_sock.Port(backend=iocp_sock.Sim(preset=preset)) as port:
        accepted: list[iocp_sock.Socket] = []
        listener = port.listen(_ADDRESS, backlog=connections)
        listener.accept_each(accepted.append)
        before = _anonymous_bytes()
        clients = [port.connect(_ADDRESS).socket for _ in range(connections)]
        while len(accepted) < connections:
            port.run_once(1)
        spent = _anonymous_bytes() - before
        del clients, listener
    return spent / connections


def _measure(preset: str, mebibytes: int, connections: int) -> ModelSpeed:
    warnings.simplefilter("ignore", ResourceWarning)
    # Memory is measured first, because after the transfer the connections would reuse freed memory.
    memory = _idle(preset, connections)
    events, spent = _transfer(preset, mebibytes)
    return ModelSpeed(preset, events, events / spent, connections, memory)


def main(options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for preset in ("windows-2000", "windows-10", "linux"):
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            sizes = (options.mebibytes, options.connections)
            rows.append(asdict(fresh.apply(_measure, (preset, *sizes))))
    result = json.dumps({"rows": rows}, indent=1)
    if options.out:
        Path(options.out).write_text(result + "\n", encoding="utf-8")
    if options.json:
        print(result)
        return 0
    print(f"{'preset':14} {'events':>12} {'events/s':>12} {'connections':>12} {'bytes each':>12}")
    for row in rows:
        print(
            f"{row['preset']:14} {row['events']:12,} {row['events_per_second']:12,.0f} "
            f"{row['connections']:12,} {row['bytes_per_connection']:12,.0f}"
        )
    return 0
