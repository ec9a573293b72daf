"""An asyncio event loop on a completion port (R33).

    asyncio.Runner(loop_factory=iocp_sock.asyncio.new_event_loop)

or, shorter, `iocp_sock.asyncio.run(main())`. There is no event-loop policy, because Python is
removing policies.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

if sys.platform == "win32":
    from iocp_sock.asyncio.windows import EventLoop
else:
    from iocp_sock.asyncio.unix import EventLoop

__all__ = ["EventLoop", "new_event_loop", "run"]

_T = TypeVar("_T")


def new_event_loop(**options: Any) -> EventLoop:
    """Make an EventLoop. The options are those of EventLoop."""
    return EventLoop(**options)


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None, **options: Any) -> _T:
    """Run a coroutine on a new EventLoop, as asyncio.run() does, and close the loop.

    The options are those of EventLoop. Raises RuntimeError where another loop runs in this thread.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("iocp_sock.asyncio.run() cannot be called from a running event loop")
    factory = functools.partial(EventLoop, **options)
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            return runner.run(main)
    return _run(factory(), main, debug)


def _run(loop: EventLoop, main: Coroutine[Any, Any, _T], debug: bool | None) -> _T:
    """Do the same as asyncio.Runner, which Python 3.10 lacks."""
    if not asyncio.iscoroutine(main):
        loop.close()
        raise ValueError(f"a coroutine was expected, got {main!r}")
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all_tasks(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all_tasks(loop: EventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during asyncio.run() shutdown",
                    "exception": task.exception(),
                    "task": task,
                }
            )
