"""A plan as a picture; matplotlib is imported only when it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MIB = 1 << 20


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw locked memory, delay and whole memory by strategy; receives above, sends below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    for row, side in zip(figure.subplots(2, 3), ("receive", "send"), strict=True):
        ways = report[side]
        names = [one["strategy"] for one in ways]
        _bars(row[0], names, [("typical", ways, "locked_typical"), ("worst", ways, "locked_worst")])
        if report["load"]["budget"]:
            budget = report["load"]["budget"] / _MIB
            row[0].axhline(budget, linestyle=":", color="grey", label="the budget")
        row[0].set(title=f"to {side}: locked", ylabel="MiB")
        row[0].legend()
        delays = [one["added_delay_us"] / 1000 for one in ways]
        row[1].bar(names, delays)
        row[1].set_ylim(0, 1.05 * max(1.0, *delays))
        row[1].set(title="delay, the median", ylabel="milliseconds")
        row[2].bar(names, [one["memory"] / _MIB for one in ways])
        row[2].set(title="memory in all", ylabel="MiB")
    load = report["load"]
    measured = ", measured in part" if "calibration" in report else ""
    figure.suptitle(
        f"{load['connections']:,} connections, messages of {load['message']:,} B,"
        f" on the model of {load['preset']}{measured}"
    )
    figure.savefig(path)


def _bars(
    axes: Any, names: Sequence[str], series: Sequence[tuple[str, Sequence[dict[str, Any]], str]]
) -> None:
    width = 0.4
    for number, (label, ways, key) in enumerate(series):
        places = [index + (number - 0.5) * width for index in range(len(names))]
        axes.bar(places, [one[key] / _MIB for one in ways], width, label=label)
    axes.set_xticks(range(len(names)), names)
