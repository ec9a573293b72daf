"""Fixtures: an asyncio event loop on each backend, which must not leak a descriptor."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from iocp_sock.asyncio import EventLoop
from support import BACKENDS, descriptors, settled
from support.backends import STATES


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Return the name of each backend in turn; skip a backend that the system refuses."""
    name: str = request.param
    if STATES[name] != "ok":
        pytest.skip(f"{name}: {STATES[name]}")
    return name


@pytest.fixture
def make_loop(backend: str) -> Iterator[Callable[..., EventLoop]]:
    """Return a function that makes loops; close them after the test, and check for leaks."""
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
    """Return one loop, whose exception handler collects all errors in `loop.errors`."""
    loop = make_loop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    loop.errors = errors  # type: ignore[attr-defined]
    return loop


@pytest.fixture
def run(loop: EventLoop) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Return a function that runs a coroutine on the loop, for at most 20 s.

    An error that reaches the loop's exception handler fails the test.
    """

    def run_one(main: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(asyncio.wait_for(main, 20))

    yield run_one
    assert not loop.errors  # type: ignore[attr-defined]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return a raw connected pair over TCP: one end for the loop, and one for the test."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    theirs.setblocking(False)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs
