"""``iocp-sock plan``: what each strategy would lock, copy and delay, from the model."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from iocp_sock import ArgumentError
from iocp_sock.cli.plan.advice import Estimate, best
from iocp_sock.cli.plan.load import Load
from iocp_sock.cli.plan.modelled import RECEIVE, SEND, Choice, trial
from iocp_sock.cli.quantity import seconds, size
from iocp_sock.cli.table import wide_console

_HERE = "windows-10" if sys.platform == "win32" else "linux"
_STALL = 0.005
"""Seconds that Nagle's algorithm must cost before it is worth a word."""


def plan(
    connections: Annotated[int, typer.Option(min=1, help="Open at once.")],
    active: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Part of them that have messages at a time.")
    ] = 0.02,
    message: Annotated[str, typer.Option(help="Size of a message, such as 1KiB.")] = "1KiB",
    rate: Annotated[
        float, typer.Option(min=0.001, help="Messages a second on an active connection.")
    ] = 10.0,
    rtt: Annotated[str, typer.Option(help="Round trip, such as 40ms.")] = "1ms",
    budget: Annotated[str, typer.Option(help="What may be locked, such as 64MiB; 0: all.")] = "0",
    preset: Annotated[
        Literal["windows-2000", "windows-10", "linux"], typer.Option(help="The modelled system.")
    ] = _HERE,  # type: ignore[assignment]
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output.")
    ] = False,
) -> None:
    """Say what each way to receive and to send would cost a server under a load.

    A few connections of the load run on the model, in virtual time; what they lock, copy and wait
    is scaled to all of them. One way to receive and one to send is recommended.
    """
    try:
        load = Load(connections, active, size(message), rate, seconds(rtt), size(budget), preset)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if load.message < 1:
        raise typer.BadParameter("a message has at least one byte", param_hint="--message")
    report = make(load)
    if as_json:
        print(json.dumps(report))
    else:
        _show(load, report)


def make(load: Load) -> dict[str, Any]:
    """Run every choice on the model. Raises ArgumentError for a load that nothing can serve."""
    receive = [
        Estimate.of(way, load, trial(load, Choice(receive=way, nodelay=True), sending=False))
        for way in RECEIVE
    ]
    send = []
    for way in SEND:
        try:
            figures = trial(load, Choice(send=way, nodelay=True), sending=True)
        except ArgumentError:
            if way != "direct":  # which the modelled Linux does not have
                raise
            continue
        send.append(Estimate.of(way, load, figures))
    receiving, why_receive = best(receive, load)
    sending, why_send = best(send, load)
    nagle = trial(load, Choice(nodelay=False), sending=True).delay
    plain = next(one.added_delay for one in send if one.strategy == "buffered")
    return {
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


def _show(load: Load, report: dict[str, Any]) -> None:
    console = wide_console()
    title = f"{load.connections:,} connections, {load.busy:,} active, on the model of {load.preset}"
    for side in ("receive", "send"):
        table = Table(title=f"To {side}: {title}", title_justify="left")
        for column in ("strategy", "locked", "at worst", "copies", "calls", "delay", "memory"):
            table.add_column(column, justify="left" if column == "strategy" else "right")
        table.add_column("breaks first")
        for one in report[side]:
            table.add_row(
                one["strategy"],
                f"{one['locked_typical']:,} B",
                f"{one['locked_worst']:,} B",
                f"{one['copies_per_byte']:g}",
                f"{one['calls_per_message']:g}",
                f"{one['added_delay_us']:,.0f} µs",
                f"{one['memory']:,} B",
                one["breaks_first"],
            )
        console.print(table)
    advice = report["recommended"]
    for side in ("receive", "send"):
        console.print(f"{side}: {advice[side]} ({advice[side + '_reason']})", highlight=False)
    if advice["nodelay"]:
        delay = f"{report['nagle_delay_us']:,.0f} µs"
        console.print(
            f"nodelay: Nagle's algorithm would delay a message by {delay}", highlight=False
        )
