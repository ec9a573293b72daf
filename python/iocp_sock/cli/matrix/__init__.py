"""``iocp-sock matrix``: the effect of socket buffers and Nagle's algorithm on traffic."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from iocp_sock.cli import plot
from iocp_sock.cli.child import ChildError
from iocp_sock.cli.choices import Backend
from iocp_sock.cli.matrix import picture, table
from iocp_sock.cli.matrix.cell import CELLS, PATTERNS, Measured, stalls
from iocp_sock.cli.matrix.quiet import unwarned
from iocp_sock.cli.matrix.sender import Effort, chosen_backend, measure
from iocp_sock.cli.progress import LiveProgress
from iocp_sock.cli.table import wide_console

_FULL = Effort({"one_way": 200, "write_write_read": 40, "gathered": 400, "bulk": 40}, 2.0)
_QUICK = Effort({"one_way": 20, "write_write_read": 6, "gathered": 40, "bulk": 6}, 0.2)


def matrix(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer messages: done within 20 seconds.")
    ] = False,
    backend: Annotated[
        Backend | None, typer.Option(help="The backend of both ends.", show_default="best")
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the medians too (needs matplotlib)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output.")
    ] = False,
) -> None:
    """Measure the effect of buffers and Nagle's algorithm on four patterns of traffic, on loopback.

    A cell is a send buffer (least, default, large), a receive buffer of the other end (least,
    default), Nagle on or off, and a pattern. A cell stalls for a delayed ACK if its median is over
    20 ms and that of the same cell without Nagle is under 5 ms.
    """
    obstacle = None if plot_file is None else plot.obstacle(plot_file)
    if obstacle is not None:
        raise typer.BadParameter(obstacle, param_hint="--plot")
    found = chosen_backend(backend)
    cells = _measure(backend, _QUICK if quick else _FULL)
    if plot_file is not None:
        picture.draw(cells, plot_file)
    if as_json:
        print(json.dumps(_report(cells, found, quick)))
        return
    console = wide_console()
    console.print(table.cells(cells, found["backend"]))
    for line in table.findings(cells):
        console.print(line, highlight=False)


def _measure(backend: Backend | None, effort: Effort) -> list[Measured]:
    cells: list[Measured] = []
    with LiveProgress() as progress, unwarned():
        progress.run = "matrix"
        progress.phase("cells", len(CELLS))
        for cell in CELLS:
            progress.show(len(cells), cell.name)
            try:
                cells.append(measure(cell, backend, effort))
            except OSError as error:
                raise ChildError(f"{cell.name}: {error}") from error
    return cells


def _report(cells: list[Measured], found: dict[str, Any], quick: bool) -> dict[str, Any]:
    stalling = stalls(cells)
    return {
        "system": f"{platform.system()} {platform.release()}",
        **found,
        "quick": quick,
        "patterns": PATTERNS,
        "cells": [one.figures(stalling.get(one.cell)) for one in cells],
        "stalls": [cell.name for cell, why in stalling.items() if why == "delayed_ack"],
    }
