"""The turn of a loop: its order, what runs in it, and what an exception leaves for the next one."""

import asyncio
import gc
import socket
import weakref
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from iocp_sock.asyncio import EventLoop

# --- asyncio's order ------------------------------------------------------------------------------

# What a callback does: a list of steps. Times are in the past, so that a timer is due in the next
# turn; no two are equal, because asyncio leaves the order of equal times open.
BODIES = st.recursive(
    st.lists(st.nothing(), max_size=0),
    lambda body: st.lists(
        st.one_of(
            st.tuples(st.just("soon"), body),
            st.tuples(st.just("at"), st.integers(1, 5), body),
            st.tuples(st.just("cancel"), st.integers(0, 20)),
            st.tuples(st.just("raise"), st.sampled_from([ValueError, asyncio.CancelledError])),
            st.tuples(st.just("step")),
        ),
        max_size=6,
    ),
    max_leaves=20,
)


class Play:
    """One program on one loop."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.log: list[Any] = []
        self.handles: list[Any] = []
        self.begun = loop.time()
        loop.set_exception_handler(lambda _loop, context: self.log.append(context["message"][:21]))

    def run(self, number: int, body: Any) -> None:
        self.log.append(number)
        for name, *arguments in body:
            getattr(self, name)(*arguments)

    def add(self, schedule: Any, *arguments: Any) -> None:
        number = len(self.handles)
        self.handles.append(schedule(*arguments[:-1], self.run, number, arguments[-1]))

    def soon(self, body: Any) -> None:
        self.add(self.loop.call_soon, body)

    def at(self, ago: int, body: Any) -> None:
        self.add(self.loop.call_at, self.begun - ago - len(self.handles) / 1000, body)

    def cancel(self, number: int) -> None:
        if number < len(self.handles):
            self.handles[number].cancel()

    def step(self) -> None:
        self.log.append("step")

    def raise_(self, kind: type[BaseException]) -> None:
        raise kind


setattr(Play, "raise", Play.raise_)


def play(loop: Any, body: Any) -> list[Any]:
    try:
        game = Play(loop)
        game.soon(body)
        for _ in range(12):
            loop.call_soon(game.log.append, "turn")
            loop.stop()
            loop.run_forever()
        return game.log
    finally:
        loop.close()


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=BODIES)
def test_a_turn_has_asyncios_order(backend, body):
    """R33: callbacks run in the turn and in the order in which asyncio's own loop runs them."""
    expected = play(asyncio.SelectorEventLoop(), body)
    log = play(EventLoop(backend=backend), body)
    note(f"asyncio: {expected}")
    note(f"ours:    {log}")
    assert log == expected


def turn(loop: Any) -> None:
    loop.stop()
    loop.run_forever()


def test_what_is_added_meanwhile_waits(loop):
    """R33: a handle that a callback adds runs in the next turn, behind that turn's poll."""
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "later")
        loop.call_at(loop.time() - 1, seen.append, "timer")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    turn(loop)
    assert seen == ["first", "second"]
    turn(loop)
    assert seen == ["first", "second", "later", "timer"]


def test_io_goes_on_beside_handles(loop):
    """R33: a loop that always has a handle to run still reads."""
    ours, theirs = socket.socketpair()
    again = True

    def busy():
        if again:
            loop.call_soon(busy)

    def readable():
        nonlocal again
        again = False
        loop.remove_reader(ours)
        loop.stop()

    with ours, theirs:
        loop.add_reader(ours, readable)
        theirs.send(b"x")
        loop.call_soon(busy)
        loop.run_forever()


# --- exceptions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("place", ["handle", "record", "timer"])
def test_an_exit_leaves_the_rest_in_order(loop, kind, place):
    """R33: KeyboardInterrupt and SystemExit leave run_forever(); the next turn runs the rest."""
    seen = []

    def leave():
        seen.append("leave")
        raise kind

    loop.call_soon(seen.append, 1)
    if place == "handle":
        loop.call_soon(leave)
    loop.call_soon(seen.append, 2)
    loop.port.post(callback=lambda _packet: seen.append(3))
    if place == "record":
        loop.port.post(callback=lambda _packet: leave())
    loop.port.post(callback=lambda _packet: seen.append(4))
    loop.call_at(1, seen.append, 5)
    if place == "timer":
        loop.call_at(2, leave)
    loop.call_at(3, seen.append, 6)
    with pytest.raises(kind):
        loop.run_forever()
    loop.call_soon(seen.append, 7)
    turn(loop)
    assert seen[-1] == 7
    assert [item for item in seen if item != "leave"] == [1, 2, 3, 4, 5, 6, 7]
    assert seen.index("leave") == {"handle": 1, "record": 3, "timer": 5}[place]
    assert not loop.errors


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError, GeneratorExit, BaseException])
def test_other_exceptions_are_reported(loop, kind):
    """R33: every other exception of a callback goes to the handler, with asyncio's own words."""
    seen = []

    def fail(*_):
        raise kind("of the test")

    handle = loop.call_soon(fail, 1)
    loop.port.post(callback=fail)
    loop.call_soon(seen.append, "on")
    turn(loop)
    assert seen == ["on"]
    first, second = loop.errors
    assert type(first["exception"]) is type(second["exception"]) is kind
    assert first["handle"] is handle
    assert first["message"].startswith("Exception in callback test_other_exceptions_are_reported.")
    assert set(first) == {"message", "exception", "handle"}


def test_an_exit_of_the_handler_leaves_the_turn(loop):
    """R33: KeyboardInterrupt of the exception handler leaves the turn."""
    seen = []

    def interrupted(_loop, _context):
        raise KeyboardInterrupt

    loop.set_exception_handler(interrupted)
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, "left")
    with pytest.raises(KeyboardInterrupt):
        turn(loop)
    turn(loop)
    assert seen == ["left"]


# --- misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["handle", "record"])
def test_a_turn_inside_a_turn(loop, inside):
    """R33: a callback cannot make a turn of its own loop."""
    refused = []

    def nested(*_):
        with pytest.raises(RuntimeError, match="already running"):
            loop._run_once()
        refused.append(inside)

    if inside == "handle":
        loop.call_soon(nested)
    else:
        loop.port.post(callback=nested)
    turn(loop)
    assert refused == [inside]
    turn(loop)


def test_a_turn_of_a_closed_loop(make_loop):
    """R33: a closed loop, and one without a port, make no turn."""
    from iocp_sock import _core

    loop = make_loop()
    loop.close()
    with pytest.raises(OSError, match="closed"):
        loop._run_once()
    with pytest.raises(RuntimeError, match="closed"):
        _core.EventLoop()._run_once()


def test_a_loop_gets_one_port(loop, make_loop):
    """A loop keeps the port that it was made with, and takes nothing else for one."""
    from iocp_sock import Port, _core

    with pytest.raises(RuntimeError, match="has a port"):
        loop._attach(loop.port)
    bare = _core.EventLoop()
    for wrong in (None, 1, loop, object()):
        with pytest.raises(TypeError, match="needs a Port"):
            bare._attach(wrong)
    port = Port(concurrency=2, backend=loop.port.backend)
    with port, pytest.raises(OSError, match="one thread"):
        bare._attach(port)


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.call_soon(),
        lambda loop: loop.call_later(1),
        lambda loop: loop.call_at(),
        lambda loop: loop.call_soon(print, wrong=1),
        lambda loop: loop.call_soon(print, callback=print),
        lambda loop: loop.call_later(None, print),
        lambda loop: loop.call_at(None, print),
        lambda loop: loop.call_later("1", print),
        lambda loop: loop.call_at("1", print),
        lambda loop: loop.call_later(1j, print),
    ],
)
def test_wrong_arguments(loop, call):
    """R33: wrong arguments raise TypeError, as with asyncio's loops, and schedule nothing."""
    with pytest.raises(TypeError):
        call(loop)
    assert not loop._ready
    assert not loop._scheduled


def test_arguments_by_name(loop):
    """R33: the arguments have asyncio's names."""
    seen = []
    loop.call_soon(callback=lambda: seen.append(1))
    loop.call_later(delay=0, callback=lambda: seen.append(2))
    loop.call_at(when=0, callback=lambda: seen.append(3))
    loop.call_soon_threadsafe(callback=lambda: seen.append(4))
    turn(loop)
    assert seen == [1, 4, 3, 2]


# --- what looks at a loop -------------------------------------------------------------------------


def test_the_queues_as_attributes(loop):
    """R33: _ready and _scheduled show what is queued, as code that looks at a loop expects it."""
    assert not loop._ready
    assert len(loop._scheduled) == 0
    first = loop.call_soon(print, 1)
    later = loop.call_later(1000, print)
    sooner = loop.call_later(500, print)
    assert list(loop._ready) == [first]
    assert loop._ready[0] is first
    assert list(loop._scheduled) == [sooner, later]
    foreign = asyncio.Handle(print, (2,), loop)
    loop._ready.append(foreign)
    loop._ready = [*loop._ready, foreign]
    assert list(loop._ready) == [first, foreign, foreign]
    assert "print(1)" in repr(loop._ready) or "print()" in repr(loop._ready)
    loop._ready.clear()
    loop._scheduled.clear()
    assert not loop._ready
    assert not loop._scheduled
    assert not later._scheduled


def test_a_queue_that_a_callback_clears(loop):
    """A callback may clear both queues."""
    seen = []
    loop.call_soon(loop._clear_ready)
    loop.call_soon(seen.append, 1)
    loop.port.post(callback=lambda _packet: seen.append("record"))
    loop.call_at(0, seen.append, 2)
    turn(loop)
    turn(loop)
    assert seen == ["record"]


def test_asyncios_own_handles(loop):
    """R33: the queue runs asyncio's own handles among ours."""
    seen = []
    loop.call_soon(seen.append, 1)
    loop._add_callback(asyncio.Handle(seen.append, (2,), loop))
    cancelled = asyncio.Handle(seen.append, (3,), loop)
    loop._add_callback(cancelled)
    cancelled.cancel()
    loop._add_callback(cancelled)
    loop.call_soon(seen.append, 4)
    turn(loop)
    assert seen == [1, 2, 4]


@pytest.mark.parametrize("handle", [None, 1, object()])
def test_no_handle(loop, handle):
    """What is no handle is refused, or fails in its turn; neither stops the others."""
    seen = []
    with pytest.raises(AttributeError):
        loop._add_callback(handle)
    with pytest.raises(AttributeError):
        loop._push_timer(handle)
    loop._push(handle)
    loop.call_soon(seen.append, 1)
    with pytest.raises(AttributeError):
        turn(loop)
    turn(loop)
    assert seen == [1]


def test_a_subclass_with_a_turn_of_its_own(backend):
    """R33: a class derived from the loop may replace its turn, its calls and its clock."""

    class Counting(EventLoop):
        turns = 0
        soon = 0

        def _run_once(self):
            self.turns += 1
            super()._run_once()

        def call_soon(self, *arguments, **options):
            self.soon += 1
            return super().call_soon(*arguments, **options)

        def time(self):
            return super().time() + 1000

    loop = Counting(backend=backend)
    try:
        loop.run_until_complete(asyncio.sleep(0.01))
        assert loop.turns >= 2
        assert loop.soon >= 2
        assert loop.call_later(0, print).when() > loop.port.time() + 900
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("closed", [False, True])
def test_the_collector_frees_a_loop(backend, closed):
    """R33: a loop that nothing refers to is collected with the handles that refer to it."""
    loop = EventLoop(backend=backend)
    handles = [
        loop.call_soon(print, loop),
        loop.call_later(1000, print, loop),
        loop.call_soon_threadsafe(print, *[loop] * 10),
    ]
    for handle in handles:
        loop.call_soon(handle.cancel)
    loop._push(asyncio.Handle(print, (loop,), loop))
    watches = [weakref.ref(item) for item in [loop, *handles]]
    if closed:
        loop.close()
    del loop, handle, handles
    gc.collect()
    assert [watch() for watch in watches] == [None] * 4
