"""Runs CPython's own asyncio tests on a loop of this package, and on asyncio's own beside it.

Usage: python tools/asyncio_tests.py [--loop uring|epoll|iocp|asyncio]... [--jobs N] [PATTERN...]

Only the tests that reach a loop through its interface count: those of SelectorEventLoop run once,
in their epoll variant, on Windows those of ProactorEventLoop instead, and tests that replace a
loop's inner parts by mocks are left out. A Windows interpreter from tools/windows lacks these
tests: copy Lib/test of the same release there. Each test
runs in a process of its own, so that none can harm another. Without a PATTERN (a part of a test's
name) all run. Exits with 1 if a test fails that asyncio's own loop passes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

# The modules of test.test_asyncio that use a loop through its public interface, as any program.
MODULES = (
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_ensure_future",
    "test_events",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_graph",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_staggered",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_transports",
    "test_waitfor",
    "test_windows_events",
)
WINDOWS = sys.platform == "win32"
LOOPS = ("iocp",) if WINDOWS else ("epoll", "uring")
# Test classes that do not run: variants of a test for other selectors or with child watchers.
LEFT_OUT = (
    "SelectEventLoopTests",
    "PollEventLoopTests",
    "KqueueEventLoopTests",
    "ThreadedWatcher",
    "GenericWatcherTests",  # asyncio's own child watchers
)
KEPT = ("EPollEventLoopTests",)
if WINDOWS:
    LEFT_OUT += (
        "SelectorStartServerTests",  # of asyncio's other loop
        "BufferedProtocolSelectorTests",
        "SelectorStartTLSTests",
        "WinPolicyTests",
        "ProactorTests.test_address_argument_type_error",  # of the proactor inside a loop
        "ProactorTests.test_connect_pipe_cancel",
        "ProactorTests.test_wait_for_handle",
    )
SECONDS = 120


def install(name: str) -> None:
    """Make asyncio's own functions and classes for loops give loops of this package."""
    if name == "asyncio":
        return
    from iocp_sock.asyncio import EventLoop

    class Loop(EventLoop):
        def __init__(self, selector: object = None) -> None:
            super().__init__(backend=name)

    if sys.platform == "win32":
        from asyncio import windows_events

        asyncio.ProactorEventLoop = windows_events.ProactorEventLoop = Loop  # type: ignore[misc,assignment]
        asyncio.EventLoop = windows_events.EventLoop = Loop  # type: ignore[attr-defined]
        own = getattr(windows_events, "_WindowsProactorEventLoopPolicy", None)
        proactor_policy = own or getattr(windows_events, "WindowsProactorEventLoopPolicy", None)
        if proactor_policy is not None:
            proactor_policy._loop_factory = Loop
        return
    from asyncio import events, unix_events

    asyncio.SelectorEventLoop = unix_events.SelectorEventLoop = Loop  # type: ignore[misc,assignment]
    asyncio.EventLoop = Loop  # type: ignore[attr-defined]
    unix_events.EventLoop = Loop  # type: ignore[attr-defined]
    policy = getattr(unix_events, "_DefaultEventLoopPolicy", None) or getattr(
        unix_events, "_UnixDefaultEventLoopPolicy", None
    )
    if policy is not None:
        policy._loop_factory = Loop
    if policy is None or sys.version_info >= (3, 16):
        asyncio.new_event_loop = events.new_event_loop = Loop  # type: ignore[assignment]


def run_one(loop: str, test: str) -> None:
    """Run one test in this process, and end with its outcome."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore SIGINT
    install(loop)
    suite = unittest.defaultTestLoader.loadTestsFromName(test)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if result.errors or result.failures or result.unexpectedSuccesses:
        sys.exit(1)
    sys.exit(3 if result.skipped else 0)


def tests(patterns: list[str]) -> list[str]:
    """Return the names of all tests that match a pattern."""
    names: list[str] = []

    def walk(suite: unittest.TestSuite | unittest.TestCase) -> None:
        if isinstance(suite, unittest.TestCase):
            names.append(suite.id())
        else:
            for part in suite:
                walk(part)

    for module in MODULES:
        try:
            walk(unittest.defaultTestLoader.loadTestsFromName(f"test.test_asyncio.{module}"))
        except (ImportError, AttributeError):
            continue  # a module of another release
    return [
        name
        for name in names
        if "_FailedTest" not in name
        and (any(word in name for word in KEPT) or not any(word in name for word in LEFT_OUT))
        and (not patterns or any(pattern in name for pattern in patterns))
    ]


def outcome(loop: str, test: str) -> tuple[str, str]:
    """Run one test in a process of its own; return its outcome and what it printed."""
    command = [sys.executable, os.path.abspath(__file__), "--one", loop, test]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, text=True
        )
    except subprocess.TimeoutExpired as expired:
        return "hung", str(expired.stdout)
    return {0: "passed", 3: "skipped"}.get(done.returncode, "failed"), done.stdout


def main() -> int:
    """Run the tests on each loop, and print how many of them passed and failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--loop", action="append", choices=(*LOOPS, "asyncio"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", nargs=2, metavar=("LOOP", "TEST"), help=argparse.SUPPRESS)
    parser.add_argument("patterns", nargs="*")
    given = parser.parse_args()
    if given.one:
        run_one(*given.one)
    loops = given.loop or ["asyncio", *LOOPS]
    names = tests(given.patterns)
    outcomes: dict[str, dict[str, str]] = {}
    for loop in loops:
        with ThreadPoolExecutor(given.jobs) as pool:
            found = dict(zip(names, pool.map(outcome, [loop] * len(names), names), strict=True))
        outcomes[loop] = {name: verdict for name, (verdict, _) in found.items()}
        for name, (verdict, printed) in found.items():
            if verdict in ("failed", "hung") and (loop != "asyncio" or given.patterns):
                print(f"--- {verdict} on {loop}: {name}\n{printed}")
        print(f"{loop}: {dict(Counter(outcomes[loop].values()))}", flush=True)
    own = outcomes.get("asyncio")
    worse = {
        (loop, name)
        for loop in loops
        for name, verdict in outcomes[loop].items()
        if verdict in ("failed", "hung") and (own is None or own[name] not in ("failed", "hung"))
    }
    for loop, name in sorted(worse):
        print(f"only {loop}: {name}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
