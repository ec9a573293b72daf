"""``iocp-sock simulate``: a scenario from a file, in the model's virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from iocp_sock.cli.simulate import perfetto, report
from iocp_sock.cli.simulate.course import ScenarioCourse
from iocp_sock.cli.simulate.reading import ScenarioError
from iocp_sock.cli.simulate.scenario import load
from iocp_sock.cli.table import wide_console


def simulate(
    scenario: Annotated[
        Path,
        typer.Argument(metavar="SCENARIO.toml", exists=True, dir_okay=False, readable=True),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="TRACE.json", help="Also write the trace, for ui.perfetto.dev."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=(1 << 64) - 1, help="The seed, in place of the file's own."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only JSON on standard output.")
    ] = False,
) -> None:
    """Run a scenario on the model: machines, connections, messages and faults from a TOML file.

    Virtual time costs only the time of the computation. The same file and the same seed give the
    same trace, byte for byte.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise typer.BadParameter(
            f"there is no directory {out.parent}; make it first", param_hint="--out"
        )
    try:
        outcome = ScenarioCourse(load(scenario, seed), traced=out is not None).run()
    except ScenarioError as error:
        raise typer.BadParameter(str(error), param_hint=scenario.name) from error
    if out is not None:
        perfetto.write(outcome, out)
    if as_json:
        print(json.dumps(outcome.as_dict()))
        return
    console = wide_console()
    for table in report.tables(outcome):
        console.print(table)
    for line in report.lines(outcome):
        console.print(line, highlight=False)
