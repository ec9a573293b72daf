"""Ctrl-C ends a wait at once; outstanding operations go on afterwards."""

import os
import signal
import threading
import time

import pytest

from support import OVERFLOW, Recorder, finish, interrupt, linux_only, run_until


def interrupt_soon(ready):
    """Interrupt this process when the main thread waits, as Ctrl-C does."""

    def work():
        ready.wait(20)
        time.sleep(0.05)
        interrupt()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["run", "run_once", "run_once_long", "get", "get_batch", "idle"])
def test_interrupt_ends_the_wait(port, pair, how):
    """Ctrl-C ends every kind of wait; outstanding operations stay outstanding."""
    sock, peer = pair
    got = Recorder()
    op = sock.recv(10, callback=got)
    calls = {
        "run": port.run,
        "run_once": port.run_once,
        "run_once_long": lambda: port.run_once(30),
        "get": port.get,
        "get_batch": lambda: port.get_batch(4),
        "idle": lambda: port.run(until_idle=True),
    }
    ready = threading.Event()
    thread = interrupt_soon(ready)
    began = time.monotonic()
    ready.set()
    with pytest.raises(KeyboardInterrupt):
        calls[how]()
    thread.join()
    assert time.monotonic() - began < 5
    assert op.pending
    peer.sendall(b"after")
    finish(port, op)
    run_until(port, lambda: got)
    assert bytes(op.data) == b"after"


def test_interrupt_ends_a_close(make_port, peers):
    """Ctrl-C ends a close() that waits for a peer; a second close() finishes."""
    port = make_port()
    sock, _peer = peers.pair(port)
    op = sock.send(bytes(OVERFLOW))
    ready = threading.Event()
    thread = interrupt_soon(ready)
    ready.set()
    with pytest.raises(KeyboardInterrupt):
        port.close(30)
    thread.join()
    assert not port.closed
    port.close(0)
    assert port.closed
    assert op.done


@linux_only("SIGALRM")
def test_signals_without_an_exception_do_not_end_a_wait(port):
    """A signal whose handler returns does not end a wait."""
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *_given: seen.append(1))
    before = signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        began = time.monotonic()
        assert port.run_once(0.2) == 0
        took = time.monotonic() - began
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, old)
    assert took >= 0.2
    assert len(seen) > 2


@linux_only("SIGUSR1 sent by os.kill()")
def test_handlers_run_while_the_port_is_busy(port):
    """A signal's handler runs between turns; it may stop the port."""
    old = signal.signal(signal.SIGUSR1, lambda *_given: port.stop())

    stopped = []

    def again(_completion):
        if not stopped:
            port.post(callback=again)

    port.post(callback=again)
    port.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        port.run()
    finally:
        stopped.append(True)
        signal.signal(signal.SIGUSR1, old)
