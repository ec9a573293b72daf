"""``iocp-sock plan``: the model's estimate of what each strategy locks, copies and delays."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from iocp_sock import ArgumentError
from iocp_sock.cli import plot
from iocp_sock.cli.plan import picture, table
from iocp_sock.cli.plan.advice import best
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.measured import Calibration
from iocp_sock.cli.plan.modelled import RECEIVE, SEND, Choice, trial
from iocp_sock.cli.plan.row import Row
from iocp_sock.cli.quantity import seconds, size
from iocp_sock.cli.table import wide_console

_HERE = "windows-10" if sys.platform == "win32" else "linux"
_STALL = 0.005
"""The minimum seconds that Nagle's algorithm must cost to be reported."""


def plan(
    connections: Annotated[int, typer.Option(min=1, help="The number of open connections.")],
    active: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The fraction of them that is active at a time.")
    ] = 0.02,
    message: Annotated[str, typer.Option(help="Size of a message, such as 1KiB.")] = "1KiB",
    rate: Annotated[
        float, typer.Option(min=0.001, help="Messages a second on an active connection.")
    ] = 10.0,
    rtt: Annotated[str, typer.Option(help="Round trip, such as 40ms.")] = "1ms",
    budget: Annotated[
        str, typer.Option(help="The maximum of locked memory, such as 64MiB; 0: no limit.")
    ] = "0",
    preset: Annotated[
        Literal["windows-2000", "windows-10", "linux"], typer.Option(help="The modelled system.")
    ] = _HERE,  # type: ignore[assignment]
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Measure this machine first (some seconds), to replace the model's assumptions.",
        ),
    ] = False,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the plan too (needs matplotlib)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output.")
    ] = False,
) -> None:
    """Estimate the cost of each receive and send strategy for a server under a load.

    A few connections of the load run on the model, in virtual time. Their figures are scaled to all
    connections. The plan recommends one receive and one send strategy.
    """
    obstacle = None if plot_file is None else plot.obstacle(plot_file)
    if obstacle is not None:
        raise typer.BadParameter(obstacle, param_hint="--plot")
    try:
        load = Load(connections, active, size(message), rate, seconds(rtt), size(budget), preset)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if load.message < 1:
        raise typer.BadParameter("a message must have at least one byte", param_hint="--message")
    report = make(load, _calibration(load) if calibrate else None)
    if plot_file is not None:
        picture.draw(report, plot_file)
    if as_json:
        print(json.dumps(report))
        return
    console = wide_console()
    for one in table.tables(load, report):
        console.print(one)
    for line in table.lines(report):
        console.print(line, highlight=False)


def _calibration(load: Load) -> Calibration:
    if load.preset != _HERE:
        raise typer.BadParameter(
            f"the measurement is of this system, but the preset {load.preset} models another; "
            "leave out --calibrate or --preset",
            param_hint="--calibrate",
        )
    try:
        return Calibration(load)
    except ArgumentError as error:
        raise typer.BadParameter(str(error.strerror), param_hint="--calibrate") from error


def make(load: Load, calibration: Calibration | None = None) -> dict[str, Any]:
    """Run every strategy on the model, and measure it if a calibration is given.

    Returns the report in the form of the JSON: bytes, and times in microseconds. Raises
    ArgumentError for a load that no strategy can serve, and ChildError or OSError if the
    measurement fails.
    """
    receive = []
    for way in RECEIVE:
        figures = trial(load, Choice(receive=way, nodelay=True), sending=False)
        measured = None if calibration is None else calibration.receive(way)
        receive.append(Row(way, load, figures, measured))
    send = []
    for sent in SEND:
        try:
            figures = trial(load, Choice(send=sent, nodelay=True), sending=True)
        except ArgumentError:
            if sent != "direct":  # the modelled Linux has no direct sends
                raise
            continue
        measured = None if calibration is None else calibration.send(sent)
        send.append(Row(sent, load, figures, measured))
    receiving, why_receive = best([one.estimate for one in receive], load)
    sending, why_send = best([one.estimate for one in send], load)
    nagle = trial(load, Choice(nodelay=False), sending=True).delay
    plain = next(one.estimate.added_delay for one in send if one.estimate.strategy == "buffered")
    report = {
        "load": asdict(load),
        "receive": [one.as_dict() for one in receive],
        "send": [one.as_dict() for one in send],
        "nagle_delay_us": round(nagle * 1e6, 1),
        "recommended": {
            "receive": receiving.strategy,
            "receive_reason": why_receive,
            "send": sending.strategy,
            "send_reason": why_send,
            "nodelay": nagle - plain > _STALL,
        },
    }
    if calibration is not None:
        report["calibration"] = calibration.as_dict()
    return report
