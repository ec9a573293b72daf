"""Handles: what call_soon() and call_later() return, beside asyncio's own."""

import asyncio
import contextvars
import copy
import gc
import pickle
import sys
import weakref

import pytest

from iocp_sock import _core

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def turn(loop):
    loop.stop()
    loop.run_forever()


def both(loop, *arguments):
    """Make a handle of each kind, and asyncio's own beside it."""
    context = contextvars.copy_context()
    when = loop.time() + 1000
    return [
        (
            loop.call_soon(*arguments, context=context),
            asyncio.Handle(arguments[0], arguments[1:], loop, context),
        ),
        (
            loop.call_at(when, *arguments, context=context),
            asyncio.TimerHandle(when, arguments[0], arguments[1:], loop, context),
        ),
    ]


@pytest.mark.parametrize("count", range(8))
def test_any_number_of_arguments(loop, count):
    """R33: a callback gets its arguments, few or many."""
    seen = []
    arguments = tuple(range(count))
    handle = loop.call_soon(lambda *given: seen.append(given), *arguments)
    timer = loop.call_later(0, lambda *given: seen.append(given), *arguments)
    assert handle._args == timer._args == arguments
    turn(loop)
    assert seen == [arguments, arguments]


def test_a_handle_has_asyncios_interface(loop):
    """R33: a handle answers as asyncio's own, before and after its cancel."""
    for ours, theirs in both(loop, print, 1, "two"):
        for _ in range(2):
            for name in ("_callback", "_args", "_context", "_cancelled", "_loop"):
                assert getattr(ours, name) == getattr(theirs, name)
            assert ours._source_traceback is theirs._source_traceback is None
            assert ours.cancelled() == theirs.cancelled()
            assert repr(ours) == repr(theirs)
            assert ours.get_context() is ours._context
            ours.cancel()
            theirs.cancel()
            ours.cancel()


def test_a_timer_has_asyncios_interface(loop):
    """R33: a timer tells its time as it was given, and whether it is scheduled."""
    for when in (loop.time(), 10, 10**15, True):
        timer = loop.call_at(when, print)
        assert timer.when() is timer._when or type(when) is float
        assert timer.when() == when
        assert type(timer.when()) is type(when)
        assert hash(timer) == hash(when)
        assert f"when={when}" in repr(timer)
        assert timer._scheduled
        timer.cancel()
    turn(loop)
    assert not timer._scheduled


def test_timers_compare_as_asyncios(loop):
    """R33: timers are ordered by time, and equal if they would make the same call."""

    def made(kind):
        def make(when, *call):
            if kind == "ours":
                return loop.call_at(when, *call)
            return asyncio.TimerHandle(when, call[0], call[1:], loop)

        timers = [make(5, print), make(5, print), make(5, print, 1), make(6, print), make(5, repr)]
        timers.append(make(5, print))
        timers[-1].cancel()
        return timers

    def table(timers):
        return [
            [
                (one < two, one <= two, one > two, one >= two, one == two, one != two)
                for two in timers
            ]
            for one in timers
        ]

    ours = made("ours")
    assert table(ours) == table(made("asyncio"))
    assert ours[0] != 5
    with pytest.raises(TypeError):
        assert ours[0] < 5
    with pytest.raises(TypeError):
        assert ours[0] < loop.call_soon(print)


def test_a_cancelled_callback_does_not_run(loop):
    """R33: a cancelled handle does not run, and lets go of its callback and arguments at once."""

    class Argument:
        pass

    for schedule in (loop.call_soon, lambda *call: loop.call_later(0, *call)):
        for count in (1, 10):
            arguments = [Argument() for _ in range(count)]
            watches = [weakref.ref(argument) for argument in arguments]
            handle = schedule(pytest.fail, *arguments)
            del arguments
            handle.cancel()
            assert [watch() for watch in watches] == [None] * count
            assert handle._callback is handle._args is None
            handle._run()
    turn(loop)


def test_a_callback_that_cancels_its_own_handle(loop):
    """R33: the arguments of a running callback outlive its handle's cancel."""
    seen = []

    def callback(*arguments):
        for handle in handles:
            handle.cancel()
        gc.collect()
        seen.append([argument[0] for argument in arguments])

    handles = [
        loop.call_soon(callback, [1], [2]),
        loop.call_soon_threadsafe(callback, *([number] for number in range(10))),
    ]
    for handle in list(handles):
        handle._run()
        handles = [loop.call_soon(callback, *([number] for number in range(10)))]
    assert seen[0] == [1, 2]


# --- contexts -------------------------------------------------------------------------------------


def test_a_callback_runs_in_a_context(loop):
    """R33: a callback runs in the context given, or in a copy of the current one."""
    seen = []
    context = contextvars.copy_context()
    context.run(variable.set, "given")

    def callback():
        seen.append(variable.get())
        variable.set("changed")

    token = variable.set("current")
    try:
        loop.call_soon(callback)
        loop.call_soon(callback)
        loop.call_soon(callback, context=None)
        loop.call_soon(callback, context=context)
        loop.call_later(0, callback, context=context)
    finally:
        variable.reset(token)
    turn(loop)
    assert seen == ["current"] * 3 + ["given", "changed"]
    assert variable.get() == "none"
    assert context[variable] == "changed"


def test_a_context_that_is_entered(loop):
    """R33: a callback whose context is entered already cannot run; the handler gets the error."""
    context = contextvars.copy_context()

    def inside():
        handle = loop.call_soon(pytest.fail, context=context)
        handle._run()

    context.run(inside)
    assert isinstance(loop.errors.pop()["exception"], RuntimeError)
    loop._clear_ready()


def test_an_exception_leaves_the_context(loop):
    """R33: a callback that raises leaves its context; the next one may enter it."""
    context = contextvars.copy_context()
    seen = []
    loop.call_soon(lambda: 1 / 0, context=context)
    loop.call_soon(seen.append, 1, context=context)
    turn(loop)
    assert seen == [1]
    assert len(loop.errors) == 1


def test_a_context_by_its_method_alone(loop):
    """R33: asyncio asks of a context no more than run(); any other object fails in its turn."""
    seen = []

    class Odd:
        def run(self, callback, *arguments):
            seen.append("run")
            callback(*arguments)

    loop.call_soon(seen.append, 1, context=Odd())
    loop.call_soon(seen.append, 2, context=object())
    loop.call_soon(seen.append, 3)
    turn(loop)
    assert seen == ["run", 1, 3]
    assert isinstance(loop.errors.pop()["exception"], AttributeError)


# --- lifetimes ------------------------------------------------------------------------------------


def test_weak_references(loop):
    """R33: a handle may be referred to weakly; it ends after its callback."""
    handle = loop.call_soon(int)
    timer = loop.call_later(0, int)
    ended = []
    watches = [weakref.ref(item, ended.append) for item in (handle, timer)]
    del handle, timer
    gc.collect()
    assert not ended
    turn(loop)
    assert len(ended) == 2
    assert [watch() for watch in watches] == [None, None]


@pytest.mark.parametrize("how", ["call_soon", "call_later"])
def test_a_long_chain_of_handles(loop, how):
    """A chain of handles, each an argument of the next, ends without a deep recursion."""
    handle = None
    for _ in range(200_000):
        if how == "call_soon":
            handle = loop.call_soon(int, handle)
        else:
            handle = loop.call_later(1000, int, handle)
    loop._clear_ready()
    loop._clear_scheduled()
    del handle
    gc.collect()


def test_a_handle_of_a_dead_loop(backend):
    """A handle that outlives its loop's use can be looked at, cancelled and run."""
    from iocp_sock.asyncio import EventLoop

    loop = EventLoop(backend=backend)
    seen = []
    handles = [loop.call_soon(seen.append, 1), loop.call_later(1, seen.append, 2)]
    loop.close()
    del loop
    gc.collect()
    for handle in handles:
        assert "Handle" in repr(handle)
        handle._run()
        handle.cancel()
    assert seen == [1, 2]


def test_references_are_given_back(loop):
    """Neither a run nor a cancel keeps a reference, however often."""
    argument = object()
    before = sys.getrefcount(argument)
    for count in (1, 3, 4, 10):
        for _ in range(100):
            loop.call_soon(lambda *_: None, *[argument] * count)
            loop.call_later(0, lambda *_: None, *[argument] * count)
            loop.call_soon(lambda *_: None, *[argument] * count).cancel()
            loop.call_later(1000, lambda *_: None, *[argument] * count).cancel()
    turn(loop)
    turn(loop)
    gc.collect()
    assert sys.getrefcount(argument) <= before + 1


# --- misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [_core.Handle, _core.TimerHandle])
def test_no_handle_without_a_loop(kind):
    """Only a loop makes handles, whatever a program tries."""
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(TypeError):
        kind.__new__(kind)
    with pytest.raises(TypeError):
        object.__new__(kind)
    if kind is _core.TimerHandle:
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})
        return
    derived = type("Derived", (kind,), {})
    for make in (derived, lambda: object.__new__(derived)):
        with pytest.raises(TypeError):
            make()


def test_handles_are_neither_copied_nor_pickled(loop):
    """A handle stands for a place in a queue, so it has no copy."""
    for handle in (loop.call_soon(int), loop.call_later(1000, int)):
        for action in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="pickle"):
                action(handle)


def test_a_callback_without_a_repr(loop):
    """An exception of a callback's repr reaches the caller of repr()."""

    class Unnamed:
        def __call__(self):
            raise AssertionError("it never runs")

        def __repr__(self):
            raise ValueError("no name")

    handle = loop.call_soon(Unnamed())
    with pytest.raises(ValueError, match="no name"):
        repr(handle)
    loop.set_debug(True)
    with pytest.raises(ValueError, match="no name"):
        handle.cancel()
    assert handle.cancelled()
    assert handle._callback is None
    turn(loop)
