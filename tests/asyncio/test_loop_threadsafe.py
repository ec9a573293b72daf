"""call_soon_threadsafe(): from many threads, into sleep, and into a loop that closes."""

import asyncio
import os
import threading

import pytest

from iocp_sock.asyncio import EventLoop
from support import linux_only

THREADS = 4


def together(*functions):
    """Run the functions in threads, and return the threads."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    return threads


def test_many_threads(loop):
    """R33: the calls of many threads all run, those of each thread in their order."""
    seen = [[] for _ in range(THREADS)]
    left = THREADS

    def ended():
        nonlocal left
        left -= 1
        if left == 0:
            loop.stop()

    def call(numbers):
        for number in range(2000):
            loop.call_soon_threadsafe(numbers.append, number)
        loop.call_soon_threadsafe(ended)

    threads = together(*(lambda numbers=numbers: call(numbers) for numbers in seen))
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert seen == [list(range(2000))] * THREADS


@pytest.mark.parametrize("timer", [False, True])
def test_each_call_ends_a_sleep(loop, timer):
    """R33: no call is lost, whether the loop sleeps, is about to, or is awake."""
    if timer:
        loop.call_later(1000, pytest.fail)
    answered = threading.Semaphore(0)

    def ask():
        for _ in range(3000):
            loop.call_soon_threadsafe(answered.release)
            assert answered.acquire(timeout=60)
        loop.call_soon_threadsafe(loop.stop)

    threads = together(ask)
    loop.run_forever()
    threads[0].join()
    loop._scheduled.clear()


def test_a_signal_handlers_callback_ends_a_sleep(loop):
    """R33: _add_callback_signalsafe(), which asyncio calls for signals, wakes the loop."""
    threads = together(lambda: loop._add_callback_signalsafe(asyncio.Handle(loop.stop, (), loop)))
    loop.run_forever()
    threads[0].join()


def test_threads_that_call_a_loop_which_closes(backend):
    """R33: a call into a loop that closes raises RuntimeError or is dropped; none hangs."""
    for _ in range(30):
        loop = EventLoop(backend=backend)
        ran = []
        refused = []
        begun = threading.Barrier(THREADS + 1)

        def call(loop=loop, ran=ran, refused=refused, begun=begun):
            begun.wait()
            while not refused:
                try:
                    loop.call_soon_threadsafe(ran.append, None)
                except RuntimeError as error:
                    assert str(error) == "Event loop is closed"  # noqa: PT017
                    refused.append(None)

        threads = together(*[call] * THREADS)
        begun.wait()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        for thread in threads:
            thread.join()
        assert refused
        assert not loop._ready
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_soon_threadsafe(int)


def test_a_loop_that_runs_again(loop):
    """R33: a call between two runs runs in the next one."""
    seen = []
    for number in range(20):
        threads = together(lambda number=number: loop.call_soon_threadsafe(seen.append, number))
        threads[0].join()
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert seen == list(range(number + 1))


@linux_only("os.fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_call_in_a_child(loop):
    """R33: a forked child's call into its parent's loop does not hang, and wakes nothing."""

    def fork():
        child = os.fork()
        if child == 0:
            try:
                loop.call_soon_threadsafe(int)
            finally:
                os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        loop.stop()

    loop.call_soon(fork)
    loop.run_forever()


def test_the_callbacks_of_an_executor(run):
    """R33: results of other threads reach their futures."""

    async def main():
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(None, int, n) for n in range(200)))
        assert results == list(range(200))

    run(main())
