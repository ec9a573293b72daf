"""A plan as tables and sentences on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from iocp_sock.cli.plan.load import Load

_TEXT = ("strategy", "breaks first")


def tables(load: Load, report: dict[str, Any]) -> Iterator[Table]:
    """Yield tables with a row for each strategy; a star marks measured figures."""
    size = f"{load.connections:,} connections, {load.busy:,} active, on the model of {load.preset}"
    columns = ["strategy", "locked", "at worst", "copies", "calls", "delay", "memory"]
    columns += ["CPU"] if "calibration" in report else []
    for side in ("receive", "send"):
        table = Table(title=f"To {side}: {size}", title_justify="left")
        for column in [*columns, "breaks first"]:
            table.add_column(column, justify="left" if column in _TEXT else "right")
        for one in report[side]:
            table.add_row(
                one["strategy"],
                *(_bytes(one, key) for key in ("locked_typical", "locked_worst")),
                f"{one['copies_per_byte']:g}",
                f"{one['calls_per_message']:g}",
                f"{one['added_delay_us']:,.0f} µs",
                _bytes(one, "memory"),
                *(
                    [f"{one['measured']['cpu_us_per_message']:,.1f} µs*"]
                    if "measured" in one
                    else []
                ),
                one["breaks_first"],
            )
        yield table


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the recommendation and the conditions of the measurement."""
    advice = report["recommended"]
    for side in ("receive", "send"):
        yield f"{side}: {advice[side]} ({advice[side + '_reason']})"
    if advice["nodelay"]:
        delay = f"{report['nagle_delay_us']:,.0f} µs"
        yield f"nodelay: Nagle's algorithm would delay a message by {delay}"
    if "calibration" in report:
        how = report["calibration"]
        yield (
            f"* measured here, on {how['backend']}: echoes of {how['message']:,} B at full speed,"
            f" {how['active']:,} of {how['connections']:,} connections active; the rest is the"
            " model's"
        )


def _bytes(one: dict[str, Any], key: str) -> str:
    replaced = key in one.get("modelled", {})
    return f"{one[key]:,} B{'*' if replaced else ''}"
