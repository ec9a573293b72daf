"""The output of results: JSON on stdout or in a file, tables, progress."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_PLAIN_WIDTH = 120


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write(result: dict[str, Any], *, as_json: bool, out: str | None) -> None:
    """Prints the result as JSON if wanted, and writes it to `out` if it is given."""
    text = json.dumps(result, indent=1)
    if as_json:
        print(text)
    if out:
        Path(out).write_text(text + "\n")


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str] | None],
    *,
    names: int,
    notes: Iterable[str],
) -> None:
    """Prints a table: `names` columns of text, then numbers. A row that is None draws a line."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title)
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index < names else "right", no_wrap=True)
    for row in rows:
        if row is None:
            drawn.add_section()
        else:
            drawn.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    console.print(drawn)
    for note in notes:
        console.print(note, highlight=False)
