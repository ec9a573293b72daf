"""The strategies benchmark as pictures: receive.png, send.png and idle.png."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise SystemExit("drawing needs matplotlib: pip install 'iocp-sock[bench]'") from error

_PANELS = {
    "messages_per_second": "messages/s",
    "cpu_us_per_message": "CPU of the server per message, µs",
    "p99_us": "99th percentile of latency, µs",
    "charged_bytes_peak": "peak charge, bytes",
    "idle_charged_bytes": "charged while idle, bytes",
    "bytes_per_connection_after_echo": "memory per connection, idle after a message, bytes",
}


def draw(result: dict[str, Any], directory: str) -> None:
    """Draw one picture for each direction, and one of the idle connections, into the directory."""
    where = Path(directory)
    where.mkdir(parents=True, exist_ok=True)
    for direction in ("receive", "send"):
        rows = [row for row in result["rows"] if row["direction"] == direction]
        if rows:
            _draw_busy(direction, rows, where / f"{direction}.png")
    if result["idle"]:
        _draw_idle(result["idle"], where / "idle.png")


def _draw_busy(direction: str, rows: Sequence[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(15, 8), layout="constrained")
    panels = figure.subplots(2, 3)
    labels = list(dict.fromkeys((row["backend"], row["strategy"]) for row in rows))
    for axes, (field, title) in zip(panels.flat, _PANELS.items(), strict=True):
        for backend, name in labels:
            own = [row for row in rows if (row["backend"], row["strategy"]) == (backend, name)]
            axes.plot(
                [row["connections"] for row in own],
                [row[field] for row in own],
                marker="o",
                linestyle="-" if backend == "uring" else "--",
                label=f"{name}, {backend}",
            )
        axes.set(xscale="log", xlabel="connections", title=title)
        axes.set_ylim(bottom=0)
    size = rows[0]["size"]
    figure.suptitle(f"Strategies to {direction}: an echo of {size:,} B, one in flight each")
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(labels)
    )
    figure.savefig(path)


def _draw_idle(rows: Sequence[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(12, 5), layout="constrained")
    memory, charge = figure.subplots(1, 2)
    labels = [f"{row['direction']} {row['strategy']}\n{row['backend']}" for row in rows]
    memory.barh(labels, [row["bytes_per_connection_after_echo"] for row in rows])
    memory.set(title="memory per connection after a message, bytes")
    charge.barh(labels, [row["charged_bytes"] / 2**20 for row in rows])
    charge.set(title="charged in all, MiB")
    charge.set_yticklabels([])
    first = rows[0]
    figure.suptitle(f"{first['connections']:,} idle connections, {first['processes']} servers")
    figure.savefig(path)
