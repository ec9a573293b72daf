"""The trace of a run, for ui.perfetto.dev: each port's operations, and the model's own lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iocp_sock.chrome import chrome_events, named, write_events
from iocp_sock.cli.simulate.outcome import Outcome

_STRIDE = 1 << 20
"""The distance between the first process numbers of two ports: more than there are sockets."""
_MODEL = 1


def write(outcome: Outcome, path: Path) -> None:
    """Write the whole file, or leave an old one as it was. Raises OSError."""
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8", newline="\n") as file:
            write_events(file, _events(outcome), _about(outcome))
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _about(outcome: Outcome) -> dict[str, Any]:
    return {
        "scenario": outcome.scenario.title,
        "seed": outcome.scenario.seed,
        "trace_hash": outcome.trace_hash,
        "dropped_events": sum(_dropped(outcome).values()),
    }


def _dropped(outcome: Outcome) -> dict[str, int]:
    return {name: one.trace.dropped for name, one in outcome.hosts.items() if one.trace is not None}


def _events(outcome: Outcome) -> Iterator[dict[str, Any]]:
    yield from _model(outcome)
    for number, (name, host) in enumerate(outcome.hosts.items(), 1):
        if host.trace is not None:
            yield from chrome_events(
                host.trace,
                host.trace.dropped,
                name=f"port of {name}",
                first=number * _STRIDE,
                origin=0,
            )


def _model(outcome: Outcome) -> Iterator[dict[str, Any]]:
    yield named("process_name", _MODEL, 0, "model")
    for fileno, name in sorted(outcome.ends.items()):
        yield named("thread_name", _MODEL, fileno, f"{name} (descriptor {fileno})")
    for line in outcome.lines:
        yield {
            "ph": "i",
            "s": "t",
            "name": line.step,
            "cat": "model",
            "pid": _MODEL,
            "tid": line.endpoint,
            "ts": round(line.when * 1e6, 3),
            "args": {
                "sequence": line.sequence,
                "bytes": line.length,
                "acknowledged": line.acknowledged,
                "window": line.window,
                "flags": line.flags,
            },
        }
