"""The live progress of the demo, on standard error."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class LiveProgress:
    """One line per phase; no output if standard error is not a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[note]}"),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID | None = None
        self.run = ""

    def __enter__(self) -> "LiveProgress":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._complete()
        self._progress.stop()

    def phase(self, title: str, total: float) -> None:
        """Complete the previous phase and begin a new one."""
        self._complete()
        self._task = self._progress.add_task(f"{self.run}: {title}", total=total, note="")

    def show(self, done: float, note: str) -> None:
        """Show the progress of the current phase, at most its total."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, note=note)

    def _complete(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=self._progress.tasks[self._task].total)
