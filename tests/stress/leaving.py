"""Processes that end while their threads use ports; the exit status is checked."""

import os
import sys
import threading
from functools import partial

import iocp_sock
from stress.scenarios import scenario
from stress.stage import Stage, ignore
from support import PATIENCE, socket_pair


def _daemon(work) -> None:
    threading.Thread(target=work, daemon=True).start()


def _daemons(work, seen: threading.Semaphore) -> None:
    """Start three threads, and wait until they have done the work twenty times together."""
    for _ in range(3):
        _daemon(work)
    for _ in range(20):
        seen.acquire()


def _forever(step):
    def work():
        while True:
            step()

    return work


def _use(port, sock, peer):
    operation = sock.recv(1, callback=ignore)
    peer.send(b"x")
    port.post(callback=ignore)
    port.call_later(0.0, lambda: None)
    port.stats(sockets=2)
    operation.cancel()


def _busy(stage: Stage, runners: int, **options) -> iocp_sock.Port:
    port = iocp_sock.Port(backend=stage.backend, **options)
    seen = threading.Semaphore(0)
    for pair in stage.pairs(port, 2):
        _daemon(_forever(partial(_use, port, *pair)))
    for _ in range(runners):
        _daemon(port.run)
    for _ in range(20):
        port.post(callback=lambda _c: seen.release())
    for _ in range(20):
        seen.acquire()
    return port


@scenario(rounds=1, leaves=True)
def exit_while_posting(stage: Stage) -> None:
    """The interpreter ends while daemon threads post to a port that a daemon thread runs."""
    stage.kept = _busy(stage, 1)


@scenario(rounds=1, leaves=True)
def exit_while_posting_shared(stage: Stage) -> None:
    """The interpreter ends while daemon threads post to a port that daemon threads run."""
    stage.kept = _busy(stage, 3, concurrency=2)


@scenario(rounds=1, leaves=True)
def exit_with_the_port_in_the_module(stage: Stage) -> None:
    """The port is a global of a module that is torn down while daemon threads use it."""
    sys.modules[__name__].port = _busy(stage, 1)


@scenario(rounds=1, leaves=True)
def exit_while_waiting(stage: Stage) -> None:
    """The interpreter ends while daemon threads wait for events, results and completions."""
    port = iocp_sock.Port(backend=stage.backend, concurrency=2)
    begun = threading.Semaphore(0)

    def wait_for_event(sock):
        event = iocp_sock.Event()
        sock.recv(1, event=event)
        begun.release()
        event.wait()

    def wait_for_result(sock):
        operation = sock.recv(1)
        begun.release()
        operation.result()

    def get():
        begun.release()
        port.get()

    pairs = stage.pairs(port, 4)
    for number, (sock, _peer) in enumerate(pairs):
        _daemon(partial((wait_for_event, wait_for_result)[number % 2], sock))
    _daemon(get)
    for _ in range(5):
        begun.acquire()
    sys.modules[__name__].kept = pairs


@scenario(rounds=1, leaves=True)
def exit_while_dropping(stage: Stage) -> None:
    """The interpreter ends while daemon threads make, use and drop ports."""
    begun = threading.Semaphore(0)

    def make():
        port = iocp_sock.Port(backend=stage.backend)
        sock, peer = stage.pair(port)
        sock.receive(ignore)
        peer.send(b"x")
        port.run_once(0)
        begun.release()
        if id(port) % 3:
            port.close(0)

    _daemons(_forever(make), begun)


@scenario(rounds=1, leaves=True)
def exit_closes(stage: Stage) -> None:
    """The main thread closes the port and exits, while daemon threads post to it."""
    port = _busy(stage, 1)
    port.close(0)


@scenario(rounds=1, leaves=True)
def exit_by_system_exit_of_a_callback(stage: Stage) -> None:
    """A callback of the main thread's port raises SystemExit while other threads post."""
    port = iocp_sock.Port(backend=stage.backend)
    for pair in stage.pairs(port, 2):
        _daemon(_forever(partial(_use, port, *pair)))

    def leave():
        sys.exit(0)

    port.call_later(0.02, leave)
    try:
        port.run()
    except SystemExit as left:
        os.environ["LEFT"] = str(left.code)
        raise


@scenario(rounds=1, leaves=True)
def exit_while_handling_errors(stage: Stage) -> None:
    """The interpreter ends while daemon threads handle exceptions of callbacks."""
    handled = threading.Semaphore(0)

    def fail(*_given):
        raise LookupError

    def handle(*_given):
        handled.release()
        fail()

    def run():
        port = iocp_sock.Port(backend=stage.backend)
        port.error_handler = handle
        while True:
            port.post(callback=fail)
            port.run_once(0)

    sys.unraisablehook = ignore
    _daemons(run, handled)


@scenario(rounds=1, leaves=True)
def exit_while_running_routines(stage: Stage) -> None:
    """The interpreter ends while daemon threads are in completion routines."""
    ran = threading.Semaphore(0)

    def routine(*_given):
        ran.release()

    def run():
        port = iocp_sock.thread_port(backend=stage.backend)
        ours, theirs = socket_pair()
        sock = port.adopt(ours)
        while True:
            sock.recv(1, routine=routine)
            theirs.send(b"x")
            iocp_sock.sleep(PATIENCE, alertable=True)

    _daemons(run, ran)


@scenario(rounds=1, leaves=True)
def exit_while_arguments_are_read(stage: Stage) -> None:
    """The interpreter ends while daemon threads run Python code of arguments, such as __index__."""
    read = threading.Semaphore(0)

    class Number:
        def __index__(self):
            read.release()
            return sum(1 for _ in range(1000)) // 250

        def __float__(self):
            return sum(0.0 for _ in range(1000))

    def several(items):
        for item in items:
            read.release()
            yield (item, sum(1 for _ in range(1000)))[0]

    def run():
        port = iocp_sock.Port(backend=stage.backend)
        sock, peer = stage.pair(port)
        while True:
            sock.sendmsg(several([b"abcd"] * 8))
            operation = sock.recv(Number(), timeout=None)
            peer.send(peer.recv(32)[:4])
            operation.result()
            port.get_batch(Number(), Number())
            port.call_later(Number(), ignore).cancel()
            iocp_sock.wait_any(several([iocp_sock.Event()] * 8), Number())

    _daemons(run, read)
