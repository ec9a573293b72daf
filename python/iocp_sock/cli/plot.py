"""The demo as a picture; matplotlib is imported only when it is drawn."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from iocp_sock.cli.experiment import Run
from iocp_sock.cli.table import TITLES


def obstacle(path: Path) -> str | None:
    """Return the reason why no picture can be written there, or None."""
    if find_spec("matplotlib") is None:
        return "drawing needs matplotlib: pip install 'iocp-sock[plot]'"
    if not path.parent.is_dir():
        return f"there is no directory {path.parent}"
    import matplotlib.figure

    kinds = matplotlib.figure.Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in kinds:
        return f"{path.name!r} must end in a known picture format, such as .png or .svg"
    return None


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw the charged memory over time, beside the speed and the memory per connection."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    over_time, speed, memory = figure.subplots(1, 3, width_ratios=[2, 1, 1])
    for run in runs:
        moments = [moment for moment, _ in run.charges]
        over_time.plot(
            moments, [charged / 2**20 for _, charged in run.charges], label=TITLES[run.receive]
        )
    over_time.set(
        xlabel="seconds", ylabel="MiB charged", title="memory charged to pending operations"
    )
    over_time.legend()
    titles = [TITLES[run.receive].replace(" ", "\n") for run in runs]
    colours = [f"C{index}" for index, _ in enumerate(runs)]
    speed.bar(titles, [run.messages_per_second / 1000 for run in runs], color=colours)
    speed.set(title="thousand messages/s")
    memory.bar(titles, [run.rss_bytes_per_connection or 0 for run in runs], color=colours)
    memory.set(title="bytes of memory per\nidle connection")
    figure.suptitle(f"{runs[0].connections:,} connections, {runs[0].hot:,} hot, {runs[0].backend}")
    figure.savefig(path)
