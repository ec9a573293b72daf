"""Timers: call_later(), their order, their cancel, and their effect on waits."""

import threading

from support import Recorder, finish, run_until


def test_fires_once_after_its_delay(port):
    """A timer runs its callback once, and not before its time."""
    calls = []
    before = port.time()
    timer = port.call_later(0.03, lambda: calls.append(port.time()))
    assert timer.active
    assert timer.when >= before + 0.03
    run_until(port, lambda: calls)
    assert calls[0] >= before + 0.03
    assert not timer.active
    assert not timer.cancel()
    port.run_once(0.01)
    assert len(calls) == 1


def test_order(port):
    """Timers fire in the order of their times; equal times in the order they were made."""
    calls = []
    for i, delay in enumerate((0.03, 0.01, 0.02, 0, 0)):
        port.call_later(delay, lambda i=i: calls.append(i))
    run_until(port, lambda: len(calls) == 5)
    assert calls == [3, 4, 1, 2, 0]


def test_cancel(port):
    """A cancelled timer never fires, even if it was due already."""
    calls = []
    timers = [port.call_later(0, lambda: calls.append(1)) for _ in range(3)]
    assert timers[1].cancel()
    assert not timers[1].cancel()
    assert not timers[1].active
    run_until(port, lambda: len(calls) == 2)
    port.run_once(0.01)
    assert len(calls) == 2


def test_cancel_of_a_due_timer_in_a_callback(port):
    """A timer cancelled by a callback of the same turn does not fire."""
    calls = []
    timers = []
    timers.append(port.call_later(0, lambda: calls.append(timers[1].cancel())))
    timers.append(port.call_later(0, lambda: calls.append("fired")))
    run_until(port, lambda: calls)
    port.run_once(0.01)
    assert calls == [True]


def test_cancel_in_its_own_callback(port):
    """A timer that fires is no longer active."""
    seen = []
    timer = port.call_later(0, lambda: seen.append((timer.active, timer.cancel())))
    run_until(port, lambda: seen)
    assert seen == [(False, False)]


def test_timer_in_a_timer(port):
    """A callback may arm the next timer."""
    calls = []

    def again():
        calls.append(1)
        if len(calls) < 5:
            port.call_later(0, again)

    port.call_later(0, again)
    run_until(port, lambda: len(calls) == 5)


def test_dropped_timer_still_fires(port):
    """A timer fires although the program dropped the Timer."""
    calls = []
    port.call_later(0.001, lambda: calls.append(1))
    run_until(port, lambda: calls)


def test_many_timers_in_random_order(port):
    """Of a thousand timers those that are not cancelled fire, in the order of their times."""
    calls = []
    timers = [
        port.call_later(((i * 7919) % 1000) / 50_000, lambda i=i: calls.append(i))
        for i in range(1000)
    ]
    for timer in timers[::2]:
        timer.cancel()
    run_until(port, lambda: len(calls) == 500)
    times = [timers[i].when for i in calls]
    assert times == sorted(times)
    assert all(i % 2 for i in calls)


def test_timer_from_another_thread(port):
    """A timer made by another thread wakes a port that sleeps."""
    fired = Recorder()
    started = threading.Event()

    def maker():
        started.wait(20)
        port.call_later(0.001, lambda: fired(1))

    thread = threading.Thread(target=maker)
    thread.start()
    started.set()
    run_until(port, lambda: fired)
    thread.join()


def test_operations_go_on_beside_timers(port, pair):
    """A far timer neither delays completions nor keeps the port awake."""
    sock, peer = pair
    timer = port.call_later(1000, Recorder())
    op = sock.recv(10)
    peer.sendall(b"abc")
    finish(port, op)
    waits = port.stats().waits
    port.run_once(0.05)
    assert port.stats().waits - waits < 20
    timer.cancel()


def test_endless_delays(port):
    """Delays beyond any clock never fire and do no harm."""
    timers = [port.call_later(delay, Recorder()) for delay in (1e9, 1e18, 1e300, float("inf"))]
    port.run_once(0)
    assert all(timer.active for timer in timers)
    assert all(timer.cancel() for timer in timers)
