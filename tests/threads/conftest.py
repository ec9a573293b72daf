"""Fixtures: programs of several threads, each in an interpreter of its own."""

import functools
from collections.abc import Callable

import pytest

from support import BACKENDS

THREADS = """
    import os, socket, sys, threading, time, warnings

    warnings.simplefilter("ignore", ResourceWarning)
    sys.setswitchinterval(1e-5)
    failures = []
    sys.unraisablehook = lambda given: failures.append(repr(given.exc_value))

    def backend():
        return iocp_sock.Sim(preset="linux") if BACKEND == "sim" else BACKEND

    def guarded(work, *arguments):
        def run():
            try:
                work(*arguments)
            except BaseException as error:
                failures.append(repr(error))
        return run

    def together(*works):
        threads = [threading.Thread(target=guarded(work), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        return threads

    def join(threads):
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread hangs"
        assert not failures, failures[:5]

    def check(port):
        from support import settled
        settled(port)
"""


@pytest.fixture
def with_threads(in_subprocess: Callable[..., str]) -> Callable[..., str]:
    """Run a program with the helpers for threads; takes the options of in_subprocess."""
    return functools.partial(in_subprocess, preamble=THREADS)


@pytest.fixture(params=[*BACKENDS, "sim"])
def threads(
    request: pytest.FixtureRequest, with_threads: Callable[..., str]
) -> Callable[[str], str]:
    """Run a program with the helpers for threads, on each backend and on the model."""
    return functools.partial(with_threads, backend=request.param)


@pytest.fixture(params=BACKENDS)
def system_threads(
    request: pytest.FixtureRequest, with_threads: Callable[..., str]
) -> Callable[[str], str]:
    """Run a program with the helpers for threads on each backend, but not on the model."""
    return functools.partial(with_threads, backend=request.param)
