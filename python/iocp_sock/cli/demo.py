"""``iocp-sock demo``: the cost of idle connections with posted and with zero-byte receives."""

import json
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from iocp_sock.cli import limits, plot, table
from iocp_sock.cli.choices import Backend, Receive
from iocp_sock.cli.experiment import Plan, Run, measure
from iocp_sock.cli.progress import LiveProgress

_CONNECTIONS, _HOT, _SECONDS = 9_000, 64, 5.0
_QUICK_CONNECTIONS, _QUICK_SECONDS = 1_000, 1.0


def demo(
    connections: Annotated[
        int | None,
        typer.Option(min=1, help="Open connections, hot ones included.", show_default="9000"),
    ] = None,
    hot: Annotated[
        int | None,
        typer.Option(
            min=1, help="Connections that exchange messages all the time.", show_default="64"
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Duration of the exchange in each of the two runs.", show_default="5"
        ),
    ] = None,
    backend: Annotated[
        Backend | None, typer.Option(help="The server's backend.", show_default="best")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="1000 connections, 1 second: done within 10 seconds.")
    ] = False,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the result too (needs matplotlib)."),
    ] = None,
    trace_file: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write a trace of the server's operations for ui.perfetto.dev. It covers the run"
            " with posted receives, and slows it a little.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output.")
    ] = False,
) -> None:
    """Serve many idle connections and a few hot ones, with posted and with zero-byte receives."""
    _check_plot(plot_file)
    _check_trace(trace_file)
    plan = _plan(connections, hot, seconds, backend, quick)
    runs = _measure_both(plan, trace_file)
    if plot_file is not None:
        plot.draw(runs, plot_file)
    if as_json:
        print(json.dumps(_report(runs)))
    else:
        Console().print(table.comparison(runs))


def _check_plot(path: Path | None) -> None:
    obstacle = None if path is None else plot.obstacle(path)
    if obstacle is not None:
        raise typer.BadParameter(obstacle, param_hint="--plot")


def _check_trace(path: Path | None) -> None:
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"there is no directory {path.parent}; make it first", param_hint="--trace"
        )


def _plan(
    connections: int | None,
    hot: int | None,
    seconds: float | None,
    backend: Backend | None,
    quick: bool,
) -> Plan:
    wanted = _fitting(connections, _QUICK_CONNECTIONS if quick else _CONNECTIONS)
    if hot is not None and hot > wanted:
        raise typer.BadParameter(
            f"{hot} hot connections do not fit in {wanted} connections", param_hint="--hot"
        )
    if seconds is not None and not isfinite(seconds):
        raise typer.BadParameter(
            f"seconds must be a finite number, not {seconds}", param_hint="--seconds"
        )
    return Plan(
        wanted,
        hot or min(_HOT, wanted),
        seconds or (_QUICK_SECONDS if quick else _SECONDS),
        backend,
    )


def _fitting(asked: int | None, usual: int) -> int:
    """Return the requested number of connections, or the usual one within the limit on files."""
    room = limits.room_for_connections()
    if asked is None:
        return usual if room is None else max(1, min(usual, room))
    if room is not None and asked > room:
        raise typer.BadParameter(
            f"{asked} connections do not fit: the limit on open files leaves room for {room}; "
            "raise the hard limit (ulimit -Hn) for more",
            param_hint="--connections",
        )
    return asked


def _measure_both(plan: Plan, trace: Path | None) -> list[Run]:
    ways: tuple[Receive, Receive] = ("direct", "zero_byte")
    traced = {"direct": replace(plan, trace=trace and trace.absolute())}
    runs = []
    with LiveProgress() as progress:
        for receive in ways:
            progress.run = table.TITLES[receive]
            runs.append(measure(traced.get(receive, plan), receive, progress))
    return runs


def _report(runs: list[Run]) -> dict[str, object]:
    return {
        "backend": runs[0].backend,
        "backend_reason": runs[0].backend_reason,
        "runs": [run.figures() for run in runs],
    }
