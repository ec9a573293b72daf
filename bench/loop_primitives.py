"""One primitive of an event loop, timed in this process: `python -m bench.loop_primitives`."""

import argparse
import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.servers.protocol_server import LOOPS, new_loop

_WIDE = 1000
"""Handles that are ready together, for call_soon_wide."""
_TASKS = 100


def _nothing() -> None:
    pass


def _run(loop: Any, first: Callable[[], object]) -> None:
    loop.call_soon(first)
    loop.run_forever()


def call_soon_chain(loop: Any, count: int) -> None:
    """One handle a turn, which schedules the next: a turn costs what this costs."""
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_soon(step)
        else:
            loop.stop()

    _run(loop, step)


def call_soon_wide(loop: Any, count: int) -> None:
    """Many handles a turn."""
    left = count

    def step() -> None:
        nonlocal left
        for _ in range(_WIDE):
            loop.call_soon(_nothing)
        left -= _WIDE
        loop.call_soon(step if left > 0 else loop.stop)

    _run(loop, step)


def call_later(loop: Any, count: int) -> None:
    """Timers that are made, wait among the others, and run."""

    def step() -> None:
        for number in range(count):
            loop.call_later(0.001 + number * 1e-8, _nothing)
        loop.call_later(0.002 + count * 1e-8, loop.stop)

    _run(loop, step)


def call_later_cancel(loop: Any, count: int) -> None:
    """Timers that are cancelled at once, as timeouts are."""
    left = count

    def step() -> None:
        nonlocal left
        for _ in range(100):
            loop.call_later(30, _nothing).cancel()
        left -= 100
        loop.call_soon(step if left > 0 else loop.stop)

    _run(loop, step)


def call_soon_threadsafe(loop: Any, count: int) -> None:
    """Calls of another thread."""

    def other() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(_nothing)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    _run(loop, thread.start)
    thread.join()


def sleep_0(loop: Any, count: int) -> None:
    """One task that lets the loop go on."""

    async def main() -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def task_switches(loop: Any, count: int) -> None:
    """Many tasks that do so."""

    async def work() -> None:
        for _ in range(count // _TASKS):
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(_TASKS)))

    loop.run_until_complete(main())


def new_tasks(loop: Any, count: int) -> None:
    """Tasks that are made and end."""

    async def work() -> None:
        pass

    async def main() -> None:
        for _ in range(count // _TASKS):
            await asyncio.gather(*(work() for _ in range(_TASKS)))

    loop.run_until_complete(main())


def futures(loop: Any, count: int) -> None:
    """Futures that a callback resolves while a task waits."""

    async def main() -> None:
        for _ in range(count):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    loop.run_until_complete(main())


def queue(loop: Any, count: int) -> None:
    """Items that go to another task and back through two queues."""

    async def main() -> None:
        there: asyncio.Queue[int] = asyncio.Queue()
        back: asyncio.Queue[int] = asyncio.Queue()

        async def peer() -> None:
            while True:
                back.put_nowait(await there.get())

        task = loop.create_task(peer())
        for number in range(count):
            there.put_nowait(number)
            await back.get()
        task.cancel()

    loop.run_until_complete(main())


PRIMITIVES: dict[str, Callable[[Any, int], None]] = {
    primitive.__name__: primitive
    for primitive in (
        call_soon_chain,
        call_soon_wide,
        call_later,
        call_later_cancel,
        call_soon_threadsafe,
        sleep_0,
        task_switches,
        new_tasks,
        futures,
        queue,
    )
}


def measure(name: str, primitive: str, count: int) -> float:
    """Return the nanoseconds of one step of a primitive; a first run warms up."""
    loop: Any = new_loop(name)
    try:
        asyncio.set_event_loop(loop)
        PRIMITIVES[primitive](loop, max(count // 10, _WIDE))
        begun = time.perf_counter_ns()
        PRIMITIVES[primitive](loop, count)
        return (time.perf_counter_ns() - begun) / count
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("primitive", choices=PRIMITIVES)
    parser.add_argument("count", type=int)
    given = parser.parse_args()
    print(measure(given.loop, given.primitive, given.count))


if __name__ == "__main__":
    main()
