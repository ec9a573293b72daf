"""The matrix as a picture; matplotlib is imported only when it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iocp_sock.cli.matrix.cell import PATTERNS, STALLED_US, Measured, Pattern


def draw(cells: list[Measured], path: Path) -> None:
    """Draw the medians on a logarithmic scale: a panel for each pattern, Nagle on beside off."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8), layout="constrained")
    fields = figure.subplots(2, 2, sharey=True)
    for field, pattern in zip(fields.flat, PATTERNS, strict=True):
        _draw_pattern(field, pattern, [one for one in cells if one.cell.pattern == pattern])
    figure.suptitle("Median latency by send buffer (above) and receive buffer (below), in bytes")
    figure.legend(*fields[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path)


def _draw_pattern(axes: Any, pattern: Pattern, cells: list[Measured]) -> None:
    buffers = [one for one in cells if one.cell.nagle]
    titles = [f"{one.send_buffer_bytes:,}\n{one.receive_buffer_bytes:,}" for one in buffers]
    width = 0.4
    for offset, nagle in ((-width / 2, True), (width / 2, False)):
        medians = [one.median_us / 1000 for one in cells if one.cell.nagle is nagle]
        places = [index + offset for index in range(len(medians))]
        axes.bar(places, medians, width, label="Nagle on" if nagle else "Nagle off")
    axes.axhline(STALLED_US / 1000, linestyle=":", color="grey", label="20 ms: a stall")
    axes.set(yscale="log", ylabel="milliseconds", title=pattern)
    axes.set_xticks(range(len(titles)), titles, fontsize="small")
