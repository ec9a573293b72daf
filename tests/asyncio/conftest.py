"""Fixtures of the event loop: a loop on each backend, which must leave nothing behind."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from iocp_sock.asyncio import EventLoop
from support import BACKENDS, descriptors, settled
from support.backends import STATES


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name each backend that a loop runs on; skip a refused one with its reason."""
    name: str = request.param
    if STATES[name] != "ok":
        pytest.skip(f"{name}: {STATES[name]}")
    return name


@pytest.fixture
def make_loop(backend: str) -> Iterator[Callable[..., EventLoop]]:
    """Make loops on a backend. They are closed with the test, and must leave nothing."""
    before = descriptors()
    loops: list[EventLoop] = []

    def make(**options: Any) -> EventLoop:
        loop = EventLoop(backend=backend, **options)
        loops.append(loop)
        return loop

    yield make
    for loop in loops:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        settled(loop.port)
    assert descriptors() == before


@pytest.fixture
def loop(make_loop: Callable[..., EventLoop]) -> EventLoop:
    """Make one loop. Errors that reach its exception handler fail the test."""
    loop = make_loop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    loop.errors = errors  # type: ignore[attr-defined]
    return loop


@pytest.fixture
def run(loop: EventLoop) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run coroutines on the loop, each for at most 20 s; no error may reach the handler."""

    def run_one(main: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(asyncio.wait_for(main, 20))

    yield run_one
    assert not loop.errors  # type: ignore[attr-defined]
