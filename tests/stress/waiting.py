"""Threads that wait for events, results and routines of ports that others run and close."""

import contextlib
import itertools
import threading
from functools import partial

import iocp_sock
from iocp_sock import ROUTINES_RAN, Event, sleep, thread_port, wait_all, wait_any
from stress.scenarios import scenario
from stress.stage import GONE, Stage, ignore, times
from support import PATIENCE, socket_pair

THREADS = 3


def _wait(stage: Stage, port: iocp_sock.Port) -> None:
    pairs = stage.pairs(port, THREADS)

    def wait(sock, peer):
        first, second = Event(), Event(manual_reset=False)
        for number in range(30):
            sock.recv(1, event=first)
            sock.recv(1, event=second)
            peer.send(b"xy")
            if number % 3 == 0:
                assert wait_all([first, second], PATIENCE)
            elif number % 3 == 1:
                assert wait_any([first, second], PATIENCE) in (0, 1)
            assert first.wait(PATIENCE)
            if number % 3 == 2:
                assert second.wait(PATIENCE)
            # Receives complete in order. With this last result both events may be used again.
            peer.send(b"z")
            sock.recv(1).result(timeout=PATIENCE)

    stage.together(*(partial(wait, *pair) for pair in pairs))


@scenario(rounds=6)
def events_nobody_runs(stage: Stage) -> None:
    """Threads wait for events of a port that no other thread runs."""
    _wait(stage, stage.port())


@scenario(rounds=6)
def events_of_a_running_port(stage: Stage) -> None:
    """Threads wait for events of a port that another thread runs."""
    port = stage.port()
    with stage.running(port):
        _wait(stage, port)


@scenario(rounds=6)
def events_of_a_shared_port(stage: Stage) -> None:
    """Threads wait for events of a port that two threads run."""
    port = stage.port(concurrency=2)
    with stage.running(port, 2):
        _wait(stage, port)


@scenario(rounds=10)
def results_of_one_operation(stage: Stage) -> None:
    """Several threads wait for the result of one operation; all get the same."""
    port = stage.port()
    sock, peer = stage.pair(port)
    results: list[object] = []

    def ask(operation):
        results.append(operation.result(timeout=PATIENCE))

    for _ in range(20):
        operation = sock.recv(4)
        stage.together(*[partial(ask, operation)] * THREADS, partial(peer.send, b"abcd"))
    assert results == [(4, 0)] * 20 * THREADS


@scenario(rounds=10)
def cancels_of_awaited_operations(stage: Stage) -> None:
    """Threads cancel, close and reset operations that others wait for."""
    port = stage.port()

    def ask(operation):
        with contextlib.suppress(iocp_sock.Cancelled, *GONE):
            operation.result(timeout=PATIENCE)

    for number in range(10):
        sock, peer = stage.pair(port)
        operation = sock.recv(1)
        end = (operation.cancel, sock.abort, partial(sock.close, 0), peer.close)[number % 4]
        stage.together(*[partial(ask, operation)] * THREADS, end)


@scenario(rounds=10)
def events_closed_and_set(stage: Stage) -> None:
    """Threads set, reset, read and close events that others wait for and post with."""
    port = stage.port()
    sock, peer = stage.pair(port)

    for _ in range(6):
        event = Event()

        def wait(event=event):
            with contextlib.suppress(iocp_sock.ArgumentError):
                while True:
                    event.wait(0.001)

        def change(event=event):
            with contextlib.suppress(iocp_sock.ArgumentError):
                for _ in range(40):
                    event.set()
                    event.is_set()
                    event.reset()
                    event.wait(0)

        def post(event=event):
            for _ in range(20):
                with contextlib.suppress(iocp_sock.ArgumentError):
                    sock.recv(1, event=event)
                    peer.send(b"x")  # for the posted receive, which alone reads it
            event.close()

        stage.together(wait, wait, change, post)
        sock.cancel()


@scenario(rounds=10)
def routines(stage: Stage) -> None:
    """Threads post with routines and run them, and end with some still due."""

    def work():
        port = thread_port(backend=stage.backend)
        ours, theirs = socket_pair()
        sock = port.adopt(ours)
        got = []

        def routine(error, transferred, operation, flags):
            got.append((error, transferred))

        for _ in range(20):
            sock.recv(1, routine=routine)
            theirs.send(b"x")
        while len(got) < 20:
            assert sleep(PATIENCE, alertable=True) is ROUTINES_RAN
        sock.recv(1, routine=routine)
        sock.send(b"y", routine=routine)
        theirs.close()
        sock.close(0)
        port.close(0)

    stage.together(*[work] * THREADS)


@scenario(rounds=10)
def routines_of_a_foreign_thread(stage: Stage) -> None:
    """Threads end after posting with routines on sockets of another thread's port."""
    port = thread_port(backend=stage.backend)
    pairs = []
    for _ in range(THREADS):
        ours, theirs = socket_pair()
        pairs.append((port.adopt(ours), stage.keep(theirs)))
    posts = itertools.count()

    def post(sock, peer):
        for _ in range(20):
            sock.recv(1, routine=ignore)
            peer.send(b"x")
            next(posts)
        if stage.backend == "epoll":
            sleep(0.001, alertable=True)

    over = threading.Event()

    def posting():
        stage.together(*(partial(post, *pair) for pair in pairs))
        over.set()

    crowd = threading.Thread(target=posting)
    crowd.start()
    while not over.is_set():
        with contextlib.suppress(iocp_sock.PortRunning):
            port.run_once(0.001)
    crowd.join()
    for sock, _peer in pairs:
        sock.close(0)
    port.close(0)


@scenario(rounds=8)
def blocking_calls(stage: Stage) -> None:
    """Threads call the blocking methods of sockets that others close."""
    port = stage.port()

    def talk(sock, peer):
        with contextlib.suppress(OSError):
            for _ in range(20):
                sock.blocking.send(b"abcd")
                peer.recv(4)
                peer.send(b"abcd")
                sock.blocking.recv(4)

    for _ in range(3):
        pairs = stage.pairs(port, THREADS)
        stage.together(
            *(partial(talk, *pair) for pair in pairs),
            times(10, lambda: port.post(callback=ignore)),
            lambda pairs=pairs: pairs[0][0].close(0),
        )


@scenario(rounds=10)
def events_of_ports_that_close(stage: Stage) -> None:
    """Threads wait for events of several ports, while another thread closes the ports in turn."""
    ports = [stage.port(concurrency=2) for _ in range(3)]
    pairs = [stage.pair(port) for port in ports]
    begun = threading.Barrier(THREADS + 1)

    def wait():
        events = [Event() for _ in ports]
        for (sock, _peer), event in zip(pairs, events, strict=True):
            sock.recv(1, event=event)
        begun.wait()
        assert wait_any(events, PATIENCE) is not None
        assert wait_all(events, PATIENCE)

    def close():
        begun.wait()
        for port in ports:
            port.close(0)

    stage.together(*[wait] * THREADS, close)
