"""Fixtures: each available backend, ports that are checked for leaks, and raw peer sockets."""

import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import iocp_sock
import support
from support import (
    BACKENDS,
    FAMILIES,
    SLOWNESS,
    Peers,
    descriptors,
    lock_refused,
    model_lacks,
    settled,
    wait_for,
)
from support.backends import STATES
from support.places import python_path
from support.sim_peers import LacksError, SimPeers


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --fuzz-minutes, --stress-rounds and --every-allocation."""
    parser.addoption(
        "--fuzz-minutes",
        type=float,
        default=0.0,
        metavar="N",
        help="let each random test go on with new programs for N minutes",
    )
    parser.addoption(
        "--stress-rounds",
        type=float,
        default=1,
        metavar="N",
        help="play the stress scenarios with N times their rounds (0: none)",
    )
    parser.addoption(
        "--every-allocation",
        action="store_true",
        help="let every allocation fail, not only a sample",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the random tests their timeout, and skip tests that the model (Sim) cannot run."""
    limit = (300 + 60 * config.getoption("--fuzz-minutes")) * SLOWNESS
    for item in items:
        if "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(limit))
        if _on_the_model(item):
            reason = model_lacks.reason(item.path.stem, item.originalname)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=f"not in the model: {reason}"))


def pytest_configure() -> None:
    """Restore the handler of SIGINT, because a shell starts background jobs with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Freeze all objects once the tests are collected, so that garbage collections skip them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[passed] = report.passed
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Any:
    """Skip a test whose set-up needs a feature that a model lacks."""
    return (yield from _skipping_what_is_missing(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Skip a test that needs a feature that a model lacks, or more than RLIMIT_MEMLOCK allows."""
    return (yield from _skipping_what_is_missing(item))


def _skipping_what_is_missing(item: pytest.Item) -> Any:
    try:
        return (yield)
    except LacksError as error:
        pytest.skip(f"not in the model: {error}")
    except OSError as error:
        if _on_the_model(item) and error.errno in model_lacks.MISSING:
            pytest.skip(f"not in the model: {model_lacks.MISSING[error.errno]}")
        if lock_refused(error):
            pytest.skip(f"RLIMIT_MEMLOCK: {error}")
        raise


def _on_the_model(item: pytest.Item) -> bool:
    spec = getattr(item, "callspec", None)
    return spec is not None and spec.params.get("backend") == "sim"


passed = pytest.StashKey[bool]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the recorded properties, such as the number of random programs."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {name}: {value}")


@pytest.fixture
def fuzz(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[..., None]:
    """Return a function that runs a Hypothesis state machine for at least --fuzz-minutes."""
    from support.fuzzing import run_programs

    def run(machine: Any, programs: int) -> None:
        minutes = request.config.getoption("--fuzz-minutes")
        try:
            run_programs(machine, programs, minutes)
        finally:
            record_property("programs", machine.programs)
            if machine.failed_at:
                record_property("the first that failed", machine.failed_at)
            if machine.model_runs:
                record_property("runs of them on the model", machine.model_runs)

    return run


@pytest.fixture(params=[*BACKENDS, "sim"])
def backend(request: pytest.FixtureRequest) -> str | iocp_sock.Sim:
    """Return the name of each backend, or a model; skip a backend that the system refuses."""
    if request.param == "sim":
        return iocp_sock.Sim(preset="linux")
    state = STATES[request.param]
    if state != "ok":
        pytest.skip(f"{request.param}: {state}")
    return request.param


@pytest.fixture
def make_port(
    backend: str | iocp_sock.Sim, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., iocp_sock.Port]]:
    """Return a function that makes ports; close them after the test, and check for leaks."""
    before = descriptors()
    ports: list[iocp_sock.Port] = []
    if isinstance(backend, iocp_sock.Sim):
        peers = SimPeers(backend)
        monkeypatch.setattr(support, "clock", peers.pass_time)
    else:
        peers = Peers()

    def make(**options: Any) -> iocp_sock.Port:
        port = iocp_sock.Port(backend=backend, **options)
        ports.append(port)
        return port

    make.peers = peers  # type: ignore[attr-defined]
    yield make
    for port in ports:
        port.close(0)
    peers.open.close()
    peers.ours.clear()
    if request.node.stash.get(passed, False):
        for port in ports:
            settled(port)
        # The thread of an abandoned name lookup may still have a file open.
        wait_for(lambda: descriptors() <= before)


@pytest.fixture
def peers(make_port: Any) -> Peers:
    """Return the maker of the raw peer sockets, which are closed with the test."""
    return make_port.peers


@pytest.fixture
def port(make_port: Callable[..., iocp_sock.Port]) -> iocp_sock.Port:
    """Make one port of the backend."""
    return make_port()


@pytest.fixture(params=FAMILIES)
def pair(
    request: pytest.FixtureRequest, port: iocp_sock.Port, peers: Peers
) -> tuple[iocp_sock.Socket, socket.socket]:
    """Make a connected stream; return the port's Socket and the raw socket of its peer."""
    return peers.both(port, request.param)


@pytest.fixture
def in_subprocess() -> Callable[..., str]:
    """Return a function that runs a program in a fresh interpreter and returns its output.

    The program finds iocp_sock imported and BACKEND set. `before` is the command that starts the
    interpreter, such as unshare.
    """

    def run(
        program: str,
        backend: str = "auto",
        *,
        preamble: str = "",
        status: int = 0,
        before: Sequence[str] = (),
    ) -> str:
        source = f"import iocp_sock\nBACKEND = {backend!r}\n{textwrap.dedent(program)}"
        result = subprocess.run(
            [
                *before,
                *(sys.executable, "-X", "faulthandler", "-c"),
                textwrap.dedent(preamble) + source,
            ],
            env={**os.environ, **python_path()},
            capture_output=True,
            text=True,
            timeout=100 * SLOWNESS,
            check=False,
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result.stdout

    return run
