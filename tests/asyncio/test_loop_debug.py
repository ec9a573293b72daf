"""Debug mode: asyncio's own handles and checks, and the names of slow callbacks."""

import asyncio
import logging
import os
import socket
import threading
import time
from unittest import mock

import pytest

from iocp_sock import _core


@pytest.fixture
def debugged(loop):
    """Make a loop in debug mode, to which every callback is slow."""
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    return loop


def turn(loop):
    loop.stop()
    loop.run_forever()


def slow(caplog):
    """Return what was reported as slow."""
    return [record.getMessage() for record in caplog.records if "took" in record.getMessage()]


def test_handles_know_where_they_were_made(debugged):
    """R33: in debug mode handles are asyncio's own, and end their traceback at the caller."""
    handles = [
        debugged.call_soon(int),
        debugged.call_soon_threadsafe(int, 1),
        debugged.call_later(0, int, 1, 2),
        debugged.call_at(0, int),
    ]
    assert [type(handle) for handle in handles] == [asyncio.Handle] * 2 + [asyncio.TimerHandle] * 2
    for handle in handles:
        frame = handle._source_traceback[-1]
        assert frame.filename == __file__
        assert frame.name == "test_handles_know_where_they_were_made"
        assert f"created at {__file__}:{frame.lineno}" in repr(handle)
    turn(debugged)


def test_the_context_of_a_handle(debugged):
    """R33: the context reaches asyncio's own handle."""
    import contextvars

    context = contextvars.copy_context()
    assert debugged.call_soon(int, context=context)._context is context
    assert debugged.call_later(0, int, context=context)._context is context
    turn(debugged)


def test_the_mode_may_change(loop):
    """R33: handles of both modes run in one order."""
    seen = []
    for number in range(10):
        loop.set_debug(number % 2)
        loop.call_soon(seen.append, number)
        loop.call_at(number, seen.append, 10 + number)
    turn(loop)
    assert seen == list(range(20))
    loop.set_debug(False)


def test_a_mode_that_a_test_replaces(loop):
    """R33: whatever is stored as _debug is given back, and counts by its truth."""
    for value in (mock.Mock(), [1], "yes", 1):
        loop._debug = value
        assert loop._debug is value
        assert loop.get_debug() is value
        assert type(loop.call_soon(int)) is asyncio.Handle
    for value in ([], None, 0, False):
        loop._debug = value
        assert loop._debug is value
        assert type(loop.call_soon(int)) is _core.Handle

    class NoTruth:
        def __bool__(self):
            raise ValueError("no truth")

    for name in ("_debug", "_stopping", "_closed"):
        with pytest.raises(ValueError, match="no truth"):
            setattr(loop, name, NoTruth())
        with pytest.raises(AttributeError):
            delattr(loop, name)
    turn(loop)


async def coroutine():
    """Do nothing."""


@pytest.mark.parametrize("call", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def test_what_is_no_callback(debugged, call):
    """R33: in debug mode coroutines and what cannot be called are refused, as by asyncio."""
    leading = [0] if call in ("call_later", "call_at") else []
    made = coroutine()
    for wrong in (coroutine, made, 1, None):
        with pytest.raises(TypeError):
            getattr(debugged, call)(*leading, wrong)
    made.close()
    assert not debugged._ready
    assert not debugged._scheduled


def test_calls_of_another_thread(debugged):
    """R33: in debug mode the calls of another thread are refused, but for the one that may."""
    refused = []

    def other():
        for call in (debugged.call_soon, lambda f: debugged.call_later(1, f)):
            try:
                call(int)
            except RuntimeError as error:
                refused.append(str(error))
        debugged.call_soon_threadsafe(debugged.stop)

    thread = threading.Thread(target=other)
    debugged.call_soon(thread.start)
    debugged.run_forever()
    thread.join()
    assert len(refused) == 2
    assert all("Non-thread-safe" in text for text in refused)


def test_a_slow_handle(debugged, caplog):
    """R33: a slow callback is reported with its handle, a slow step with its task."""

    def culprit():
        assert debugged._current_handle is not None

    debugged.call_soon(culprit)
    debugged.call_at(0, culprit)
    turn(debugged)
    assert debugged._current_handle is None
    first, second = slow(caplog)
    assert "Executing <Handle test_a_slow_handle.<locals>.culprit()" in first
    assert "Executing <TimerHandle when=0 test_a_slow_handle.<locals>.culprit()" in second
    caplog.clear()
    debugged.run_until_complete(coroutine())
    assert any("name=" in text and "coroutine()" in text for text in slow(caplog))


def test_a_handle_from_before_debug_mode(loop, caplog):
    """R33: a handle that was made before debug mode is reported as well."""
    loop.call_soon(int)
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    turn(loop)
    assert any("Executing <Handle int() " in f"{text} " or "int()" in text for text in slow(caplog))


def test_a_quick_callback_is_not_reported(loop, caplog):
    """R33: only callbacks that take slow_callback_duration are reported."""
    loop.set_debug(True)
    loop.slow_callback_duration = 3600
    loop.call_soon(int)
    loop.port.post(callback=lambda _packet: None)
    turn(loop)
    assert not slow(caplog)


def test_a_slow_record_is_named(debugged, caplog):
    """R33: of the records of a turn each slow callback is reported by its own name."""

    def culprit(_packet):
        pass

    def failing(_packet):
        raise ValueError

    debugged.port.post(callback=culprit)
    debugged.port.post(callback=failing)
    turn(debugged)
    first, second = slow(caplog)
    assert "test_a_slow_record_is_named.<locals>.culprit()" in first
    assert "test_a_slow_record_is_named.<locals>.failing()" in second
    assert len(debugged.errors) == 1


def test_a_slow_reader_is_named(debugged, caplog):
    """R33: a slow reader is reported with its own handle, once."""
    ours, theirs = socket.socketpair()

    def culprit():
        debugged.remove_reader(ours)
        debugged.stop()

    with ours, theirs:
        debugged.add_reader(ours, culprit)
        theirs.send(b"x")
        debugged.run_forever()
    named = [text for text in slow(caplog) if "_Direction" in text or "culprit" in text]
    assert len(named) == 1
    assert "Executing <Handle" in named[0]


def test_a_slow_protocol_is_named(debugged, caplog):
    """R33: a slow protocol is reported with the transport that called it."""

    class Slow(asyncio.Protocol):
        def data_received(self, data):
            time.sleep(0.002)
            debugged.stop()

    async def connect():
        await debugged.connect_accepted_socket(Slow, ours)

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        debugged.run_until_complete(connect())
        theirs.send(b"x")
        debugged.slow_callback_duration = 0.001
        caplog.clear()
        debugged.run_forever()
        debugged.slow_callback_duration = 3600
    assert any("Transport" in text for text in slow(caplog))
    for transport in list(debugged._transports.values()):
        transport.abort()
    turn(debugged)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError])
def test_a_report_that_raises(debugged, raised, monkeypatch):
    """R33: an exception of the report leaves the turn, and the rest for the next one."""
    seen = []
    logger = logging.getLogger("asyncio")

    def fail(*_):
        monkeypatch.undo()
        raise raised

    monkeypatch.setattr(logger, "warning", fail)
    debugged.port.post(callback=lambda _packet: seen.append(1))
    debugged.port.post(callback=lambda _packet: seen.append(2))
    with pytest.raises(raised):
        turn(debugged)
    turn(debugged)
    assert seen == [1, 2]


def test_a_cancelled_handle_keeps_its_repr(loop):
    """R33: in debug mode a cancelled handle still shows its callback, as asyncio's does."""
    ours = [loop.call_soon(os.getcwd), loop.call_at(1000, os.getcwd)]
    theirs = [
        asyncio.Handle(os.getcwd, (), loop),
        asyncio.TimerHandle(1000, os.getcwd, (), loop),
    ]
    loop.set_debug(True)
    for handle in [*ours, *theirs]:
        handle.cancel()
    assert [repr(handle) for handle in ours] == [repr(handle) for handle in theirs]
    assert "getcwd" in repr(ours[0])
    assert ours[0]._args is None
    loop.set_debug(False)
    turn(loop)
