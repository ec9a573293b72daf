"""The result of an alertable wait in which completion routines ran."""

from __future__ import annotations

import enum
from typing import Final, Literal

__all__ = ["ROUTINES_RAN", "RoutinesRan"]


class RoutinesRan(enum.Enum):
    """The type of ROUTINES_RAN, which is false: no event of the wait is known to be set."""

    ROUTINES_RAN = "routines ran"

    def __bool__(self) -> bool:
        return False


ROUTINES_RAN: Final[Literal[RoutinesRan.ROUTINES_RAN]] = RoutinesRan.ROUTINES_RAN
"""An alertable wait ended because completion routines ran in it (WAIT_IO_COMPLETION)."""
