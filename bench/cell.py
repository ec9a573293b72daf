"""A cell of the echo benchmark: message size, connections, pieces per reply."""

from dataclasses import dataclass

from bench.selection import choose


def _bytes(size: int) -> str:
    return f"{size // 1024}KiB" if size % 1024 == 0 else f"{size}B"


@dataclass(frozen=True)
class Cell:
    """Each of `connections` connections sends `size` bytes and receives `pieces` times as many."""

    size: int
    connections: int
    pieces: int = 1

    @property
    def name(self) -> str:
        """The size and the connections, such as 64Bx100; 8x64Bx100 for replies of 8 pieces."""
        pieces = "" if self.pieces == 1 else f"{self.pieces}x"
        return f"{pieces}{_bytes(self.size)}x{self.connections}"


PIECES = Cell(64, 100, pieces=8)
ALL = [
    *(Cell(size, count) for size in (64, 1024, 102400) for count in (10, 100, 1000)),
    Cell(10240, 100),
    Cell(64, 1),
    PIECES,
]
WINDOWS = [Cell(64, 64), Cell(16384, 16)]
QUICK = [Cell(64, 100), Cell(1024, 1000), Cell(102400, 100), PIECES]


def select_cells(names: list[str]) -> list[Cell]:
    """The cells of these names, in order. An unknown name ends the program."""
    return choose("cell", {cell.name: cell for cell in [*ALL, *WINDOWS]}, names)
