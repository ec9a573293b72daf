"""Timers of a loop: their order, their numbers, and those that are cancelled."""

import asyncio
import fractions
import math

import pytest


def turn(loop):
    loop.stop()
    loop.run_forever()


def test_equal_times_run_in_the_order_of_their_calls(loop):
    """R33: timers of one time run in the order of their calls, many as well."""
    seen = []
    for number in range(1000):
        loop.call_at(number % 3, seen.append, number)
    turn(loop)
    assert seen == sorted(range(1000), key=lambda number: (number % 3, number))


@pytest.mark.parametrize(
    "when", [-math.inf, -1.0, -(10**300), 0, True, fractions.Fraction(1, 3), math.nan]
)
def test_times_that_have_passed(loop, when):
    """R33: a timer of the past runs in the next turn; so does one of NaN, as with asyncio."""
    seen = []
    loop.call_at(when, seen.append, "at")
    loop.call_later(-abs(when) if when == when else when, seen.append, "later")
    turn(loop)
    assert set(seen) == {"at", "later"}


@pytest.mark.parametrize("when", [math.inf, 1e300, 10**300, 1e12])
def test_times_that_never_come(loop, when):
    """R33: a timer of the far future neither runs nor keeps the others back."""
    never = loop.call_at(when, pytest.fail)
    loop.call_later(when, pytest.fail)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert never.when() == when
    assert never._scheduled


def test_a_time_that_is_too_large(loop):
    """R33: an int beyond every float raises OverflowError. asyncio's own turn would raise it."""
    with pytest.raises(OverflowError):
        loop.call_at(10**400, print)
    with pytest.raises(OverflowError):
        loop.call_later(10**400, print)


def test_nan_does_not_disturb_the_order(loop):
    """Timers of NaN do not disturb the order of the others."""
    seen = []
    for number in range(50):
        loop.call_at(math.nan, seen.append, "nan")
        loop.call_at(50 - number, seen.append, 50 - number)
    turn(loop)
    assert seen == ["nan"] * 50 + list(range(1, 51))


def test_a_wait_lasts_until_its_timer(loop):
    """R33: a loop with one timer makes few turns, and calls no callback before its time."""
    turns = 0
    original = loop._run_once

    def counted():
        nonlocal turns
        turns += 1
        original()

    loop._run_once = counted
    for delay in (1e-2, 1e-3, 1e-4, 1e-6, 1e-9):
        when = loop.time() + delay
        loop.call_at(when, loop.stop)
        loop.run_forever()
        assert loop.time() >= when - loop._clock_resolution
    assert turns <= 10


def test_cancelled_timers_in_front_are_dropped(loop):
    """R33: a turn drops the cancelled timers before the first that is not."""
    timers = [loop.call_later(1000 + number, pytest.fail) for number in range(10)]
    for number in (0, 1, 2, 5, 9):
        timers[number].cancel()
    turn(loop)
    assert [timer for timer in timers if timer._scheduled] == timers[3:]
    assert list(loop._scheduled) == timers[3:]


@pytest.mark.parametrize("debug", [False, True])
def test_many_cancelled_timers_are_removed(loop, debug):
    """R33: a turn removes the cancelled timers once they are more than half of more than 100."""
    loop.set_debug(debug)
    first = loop.call_later(500, pytest.fail)
    timers = [loop.call_later(1000 + number % 7, pytest.fail, number) for number in range(200)]
    for timer in timers[:100]:
        timer.cancel()
    turn(loop)
    assert len(loop._scheduled) == 201
    timers[150].cancel()
    turn(loop)
    kept = timers[100:150] + timers[151:]
    assert len(loop._scheduled) == 100
    assert {id(timer) for timer in loop._scheduled} == {id(timer) for timer in [first, *kept]}
    assert all(timer._scheduled for timer in kept)
    assert not any(timer._scheduled for timer in [*timers[:100], timers[150]])
    loop.set_debug(False)


def test_few_cancelled_timers_stay(loop):
    """R33: up to 100 timers are not worth a pass."""
    first = loop.call_later(500, pytest.fail)
    timers = [loop.call_later(1000, pytest.fail) for _ in range(99)]
    for timer in timers:
        timer.cancel()
    turn(loop)
    assert len(loop._scheduled) == 100
    first.cancel()
    turn(loop)
    assert len(loop._scheduled) == 0


def test_the_order_after_a_removal(loop):
    """R33: a removal of cancelled timers keeps the order of the others."""
    seen = []
    cancelled = []
    base = loop.time() + 0.05
    for number in range(300):
        cancelled.append(loop.call_at(base - 1, pytest.fail))
        loop.call_at(base + number // 30 * 1e-6, seen.append, number)
        cancelled.append(loop.call_at(base + 1000, pytest.fail))
    for timer in cancelled:
        timer.cancel()
    turn(loop)
    assert len(loop._scheduled) == 300
    loop.call_at(base + 0.01, loop.stop)
    loop.run_forever()
    assert seen == list(range(300))


def test_a_timer_that_another_one_cancels(loop):
    """R33: of two timers that are due in one turn the first may cancel the second."""
    second = None
    loop.call_at(1, lambda: second.cancel())
    second = loop.call_at(2, pytest.fail)
    turn(loop)
    assert not second._scheduled
    second.cancel()
    turn(loop)


def test_a_cancel_after_the_run(loop):
    """R33: the cancel of a timer that has run counts for no other."""
    timers = [loop.call_at(number, int) for number in range(300)]
    kept = [loop.call_later(1000, pytest.fail) for _ in range(200)]
    turn(loop)
    for timer in timers:
        timer.cancel()
    kept[0].cancel()
    turn(loop)
    assert list(loop._scheduled) == kept[1:]


def test_a_clock_that_a_test_replaces(loop):
    """R33: a loop asks its method time(), so that a test may set the time."""
    seen = []
    now = loop.time()
    loop.call_later(5000, seen.append, 1)
    loop.time = lambda: now + 5001
    assert loop.call_later(1, print).when() == now + 5002
    turn(loop)
    assert seen == [1]
    loop.time = lambda: "late"
    with pytest.raises(TypeError):
        turn(loop)
    loop.time = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        turn(loop)
    del loop.time
    turn(loop)
    loop._scheduled.clear()


def test_the_clock_of_a_loop(make_loop):
    """R33: time() is the clock of the port, and goes on when the loop is closed."""
    loop = make_loop()
    before = loop.time()
    assert before <= loop.port.time() <= loop.time()
    loop.close()
    assert before <= loop.time() < before + 1000


def test_sleeps(run):
    """R33: sleeps end in the order of their times."""

    async def main():
        seen = []

        async def sleep(number):
            await asyncio.sleep(number / 1000)
            seen.append(number)

        await asyncio.gather(*(sleep(number) for number in (5, 1, 9, 3)))
        assert seen == [1, 3, 5, 9]

    run(main())
