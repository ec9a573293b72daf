"""The attributes _ready and _scheduled of a loop, as views of its native queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iocp_sock import _core

__all__ = ["Ready", "Scheduled"]


class _View:
    """What asyncio's own code, and code that looks at a loop, does with these attributes."""

    __slots__ = ("_loop",)

    def __init__(self, loop: _core.EventLoop) -> None:
        self._loop = loop

    def _handles(self) -> list[Any]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._handles())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._handles())

    def __getitem__(self, place: Any) -> Any:
        return self._handles()[place]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._handles()!r}>"


class ReadyView(_View):
    """The handles that are ready, in their order."""

    __slots__ = ()

    def _handles(self) -> list[Any]:
        return self._loop._ready_handles()

    def append(self, handle: Any) -> None:
        self._loop._push(handle)

    def extend(self, handles: Any) -> None:
        for handle in handles:
            self._loop._push(handle)

    def clear(self) -> None:
        self._loop._clear_ready()


class ScheduledView(_View):
    """The handles of timers, the earliest first."""

    __slots__ = ()

    def _handles(self) -> list[Any]:
        return sorted(self._loop._scheduled_handles(), key=lambda timer: timer._when)

    def clear(self) -> None:
        self._loop._clear_scheduled()


class Ready:
    """The attribute _ready. A value that is stored replaces what is ready."""

    def __get__(self, loop: Any, _owner: Any = None) -> Any:
        return self if loop is None else ReadyView(loop)

    def __set__(self, loop: Any, handles: Any) -> None:
        handles = list(handles)
        loop._clear_ready()
        ReadyView(loop).extend(handles)


class Scheduled:
    """The attribute _scheduled. A value that is stored replaces the timers."""

    def __get__(self, loop: Any, _owner: Any = None) -> Any:
        return self if loop is None else ScheduledView(loop)

    def __set__(self, loop: Any, timers: Any) -> None:
        timers = list(timers)
        loop._clear_scheduled()
        for timer in timers:
            loop._push_timer(timer)
