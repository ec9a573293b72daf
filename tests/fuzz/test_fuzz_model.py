"""Random programs on the model (Sim), and on each backend compared with the model (R20)."""

import socket
import sys
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

import iocp_sock
from support import BACKENDS, PAGE, WINDOWS, descriptors, linux_only
from support.differential import Differential
from support.fuzzing import Machine

NUMBERS = st.integers(0, 1000)
ROOMS = st.sampled_from([1, 100, PAGE, PAGE + 1, 20_000, 70_000])
SIZES = st.sampled_from([1, 2, 100, 1460, PAGE, 20_000, 70_000, 200_000])
TIMEOUTS = st.sampled_from([None, None, None, 0.001])


class Programs(Machine):
    """A state machine of random programs: connections between the sockets of one port."""

    backend = ""
    same_programs = True

    @initialize(
        budget=st.sampled_from([None, None, 0, PAGE, 3 * PAGE, 20 * PAGE]),
        over_budget=st.sampled_from(["raise", "queue", "degrade"]),
    )
    def begin(self, budget: int | None, over_budget: str) -> None:
        self.begun()
        self.before = descriptors()
        options = {} if budget is None else {"budget": budget, "over_budget": over_budget}
        self.program = Differential(self.backend, **options)
        self.sides = 0
        self.connect()

    @property
    def posts(self) -> int:
        return len(self.program.models[0].run.posts)

    @rule()
    def connect(self) -> None:
        if self.sides < 6:
            self.program.step("connect")
            self.sides += 2

    @rule(side=NUMBERS, size=ROOMS, timeout=TIMEOUTS, whole=st.booleans())
    def recv(self, side: int, size: int, timeout: float | None, whole: bool) -> None:
        flags = int(socket.MSG_WAITALL) if whole else 0
        self.program.step("recv", side % self.sides, size, timeout, flags)

    @rule(side=NUMBERS, sizes=st.lists(ROOMS, min_size=1, max_size=4))
    def recv_into(self, side: int, sizes: list[int]) -> None:
        self.program.step("recv_into", side % self.sides, sizes)

    @rule(side=NUMBERS, timeout=TIMEOUTS)
    def recv_zero(self, side: int, timeout: float | None) -> None:
        self.program.step("recv_zero", side % self.sides, timeout)

    @rule(side=NUMBERS)
    def wait_writable(self, side: int) -> None:
        self.program.step("wait_writable", side % self.sides)

    @rule(side=NUMBERS, size=SIZES, timeout=TIMEOUTS)
    def send(self, side: int, size: int, timeout: float | None) -> None:
        self.program.step("send", side % self.sides, size, timeout)

    @rule(side=NUMBERS, sizes=st.lists(SIZES, min_size=1, max_size=3))
    def sendmsg(self, side: int, sizes: list[int]) -> None:
        self.program.step("sendmsg", side % self.sides, sizes)

    @rule(side=NUMBERS, receive=st.sampled_from(["pooled", "zero_byte", "direct", "adaptive"]))
    def subscribe(self, side: int, receive: str) -> None:
        self.program.step("subscribe", side % self.sides, receive)

    @rule(side=NUMBERS, receive=st.sampled_from(["pooled", "zero_byte", "direct", "adaptive"]))
    def receive_strategy(self, side: int, receive: str) -> None:
        self.program.step("receive_strategy", side % self.sides, receive)

    @rule(side=NUMBERS, send=st.sampled_from(["buffered", "when_writable"]))
    def send_strategy(self, side: int, send: str) -> None:
        self.program.step("send_strategy", side % self.sides, send)

    @precondition(lambda self: self.posts)
    @rule(which=NUMBERS)
    def cancel(self, which: int) -> None:
        self.program.step("cancel", which % self.posts)

    @rule(side=NUMBERS)
    def cancel_all(self, side: int) -> None:
        self.program.step("cancel_all", side % self.sides)

    @rule(side=NUMBERS)
    def shutdown(self, side: int) -> None:
        self.program.step("shutdown", side % self.sides)

    @rule(side=NUMBERS, how=st.sampled_from(["close", "now", "reset"]))
    def close(self, side: int, how: str) -> None:
        self.program.step("close", side % self.sides, how)

    def teardown(self) -> None:
        if not hasattr(self, "program"):
            return
        note(f"As a plain script:\n\n{self.program.script()}")
        type(self).model_runs += self.program.model_runs
        if sys.exc_info()[0] is not None:
            self.program.abandon()
            return
        self.program.end()
        assert descriptors() == self.before


@pytest.mark.parametrize("system", [*BACKENDS, "sim"])
def test_programs(system: str, fuzz: Any) -> None:
    """R03 R04 R06 R07 R09 R20 R30 R31: a backend's outcome is one that the model can have."""
    if system != "sim":
        if WINDOWS:
            pytest.skip("Wine does not behave like the model's Windows")
        state = iocp_sock.probe()[system]
        if state != "ok":
            pytest.skip(f"{system}: {state}")
    Programs.backend = system
    fuzz(Programs, 30)


def program(backend: str) -> Differential:
    """Run a program with many kinds of step; the caller ends the program."""
    made = Differential(backend, budget=20 * PAGE)
    for step in (
        ("connect",),
        ("recv", 1, PAGE, None, 0),
        ("send", 0, 200_000, None),
        ("recv_into", 1, [100, 70_000]),
        ("shutdown", 0),
        ("subscribe", 0, "zero_byte"),
        ("sendmsg", 1, [1, 20_000]),
        ("cancel", 2),
        ("close", 1, "reset"),
    ):
        made.step(*step)
    return made


def test_a_program_is_a_plain_script() -> None:
    """The printed script of a program repeats its run, with equal traces on the model."""

    def traces(of: Differential) -> list[str]:
        sims = [made.run.port.config.backend for made in of.models + of.wild]
        return [sim.trace_hash() for sim in sims if isinstance(sim, iocp_sock.Sim)]

    first = program("sim")
    script = first.script()
    expected = traces(first)
    first.end()
    assert len(expected) > 4
    body, end = script.rsplit("program.end()", 1)
    assert end.strip() == ""
    namespace: dict[str, Any] = {}
    exec(body, namespace)
    assert traces(namespace["program"]) == expected
    namespace["program"].end()


@linux_only("Wine does not behave like the model's Windows")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reset_behind_the_end_of_the_stream(backend: str) -> None:
    """After a reset behind the end of stream Linux fails sends with EPIPE; receives get the end."""
    if iocp_sock.probe()[backend] != "ok":
        pytest.skip(f"{backend}: {iocp_sock.probe()[backend]}")
    made = Differential(backend)
    for step in (
        ("connect",),
        ("send", 1, 1, None),
        ("shutdown", 1),
        ("close", 1, "reset"),
        ("recv_into", 0, [1]),
        ("send", 0, 1, None),
        ("recv", 0, 1, None, 0),
    ):
        made.step(*step)
    made.end()


def test_what_the_model_never_shows_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison fails for a backend that deviates, such as a model with a stalled reader."""
    made = Differential("sim")
    sim = iocp_sock.Sim(preset="linux")
    made.real = type(made.models[0].run)(sim)
    monkeypatch.setattr("support.differential.LATE", 0.2)
    monkeypatch.setattr("support.differential.SOON", 0.0)
    made.step("connect")
    assert sim.inject_fault(made.real.sides[1].sock, "stall")
    made.step("send", 0, 100, None)
    with pytest.raises(AssertionError, match="post 1: outstanding; on the model received"):
        made.step("recv", 1, 100, None, 0)
    made.end()


FOUND = {
    "a cancel that interrupts a send": [
        ("connect",),
        ("shutdown", 0),
        ("send", 0, 100, None),
        ("send", 0, 2, None),
        ("send", 1, 1460, None),
        ("connect",),
        ("receive_strategy", 3, "adaptive"),
        ("send", 1, 70_000, 0.001),
    ],
    "the end of the stream, then a reset": [
        ("connect",),
        ("sendmsg", 0, [2, 1, 1]),
        ("shutdown", 1),
        ("subscribe", 1, "adaptive"),
        ("sendmsg", 1, [100, 100, 200_000]),
        ("close", 1, "reset"),
        ("subscribe", 0, "pooled"),
    ],
    "an end of the stream whose sender is gone when it arrives": [
        ("connect",),
        ("recv_into", 1, [1]),
        ("send", 1, 1, None),
        ("close", 0, "close"),
    ],
    "what came with the post of a receive that is to be filled": [
        ("connect",),
        ("send", 0, 4096, None),
        ("sendmsg", 0, [1]),
        ("recv", 1, 20_000, None, int(socket.MSG_WAITALL)),
    ],
    "a send that takes the last room, and more": [
        ("connect",),
        ("send", 1, 20_000, 0.001),
        ("send", 1, 1, 0.001),
    ],
    "a send that meets the last room": [
        ("connect",),
        ("sendmsg", 0, [20_000, 4096]),
        ("send", 0, 1460, 0.001),
    ],
    "what follows from a send that met the last room": [
        ("connect",),
        ("sendmsg", 0, [4096, 20_000]),
        ("send", 0, 1460, 0.001),
        ("sendmsg", 0, [1460]),
        ("subscribe", 1, "pooled"),
    ],
    "the end of the stream and a reset in one look": [
        ("connect",),
        ("recv", 1, 1, None, 0),
        ("sendmsg", 1, [70_000]),
        ("close", 0, "close"),
    ],
    "a receive that found the room full, and one that what was left fills": [
        ("connect",),
        ("recv", 1, 4097, None, 0),
        ("recv", 1, 4097, 0.001, int(socket.MSG_WAITALL)),
        ("sendmsg", 0, [2, 20_000, 1]),
        ("recv_into", 1, [20_000, 1, 20_000, 70_000]),
        ("sendmsg", 0, [100, 2]),
        ("recv", 1, 4097, None, int(socket.MSG_WAITALL)),
    ],
    "a receive after one that found all that was left of cancelled sends": [
        ("connect",),
        ("cancel_all", 0),
        ("recv", 1, 70000, None, 0),
        ("sendmsg", 0, [200000]),
        ("recv", 0, 4097, None, int(socket.MSG_WAITALL)),
        ("cancel_all", 0),
        ("cancel", 0),
        ("cancel", 0),
        ("send", 0, 100, None),
        ("cancel", 3),
        ("sendmsg", 0, [70000]),
        ("send", 1, 1, None),
        ("send", 1, 4096, 0.001),
        ("sendmsg", 0, [2, 70000, 100]),
        ("sendmsg", 1, [1460, 200000, 200000]),
        ("sendmsg", 0, [20000, 4096, 2]),
        ("cancel_all", 0),
        ("recv_into", 1, [70000]),
        ("recv", 1, 4097, None, int(socket.MSG_WAITALL)),
        ("cancel_all", 1),
    ],
    "a reset that the kernel tells neither to the send that it meets nor to the receive": [
        ("connect",),
        ("send", 1, 70_000, None),
        ("subscribe", 1, "adaptive"),
        ("send", 0, 1460, None),
        ("recv", 0, 4096, None, 0),
        ("close", 0, "reset"),
    ],
    "a cancel that meets the wake-up of a send": [
        ("connect",),
        ("send", 0, 70_000, None),
        ("shutdown", 1),
        ("close", 0, "now"),
    ],
}
"""Programs that failed once, each under its reason."""


def replay(backend: str, steps: list[tuple[Any, ...]], **options: Any) -> None:
    made = Differential(backend, **options)
    try:
        for step in steps:
            made.step(*step)
    except AssertionError:
        made.abandon()
        raise
    made.end()


@pytest.mark.parametrize("steps", FOUND.values(), ids=FOUND.keys())
@linux_only("Wine does not behave like the model's Windows")
def test_what_was_found(steps: list[tuple[Any, ...]], backend: str) -> None:
    replay(backend, steps)


@linux_only("Wine does not behave like the model's Windows")
def test_a_post_behind_one_that_the_budget_holds(backend: str) -> None:
    """A post behind a receive in the budget queue raises BudgetExceeded.

    After queue_patience the receive leaves the queue, and no longer keeps the post out. So the
    outcome depends on the time between the two posts.
    """
    steps: list[tuple[Any, ...]] = [
        ("connect",),
        ("connect",),
        ("send", 2, 20_000, None),
        ("sendmsg", 1, [1, 70_000]),
        ("recv", 3, 4097, None, 0),
        ("recv", 3, 70_000, None, int(socket.MSG_WAITALL)),
        ("recv", 3, 4097, None, 0),
    ]
    replay(backend, steps, budget=20 * PAGE, over_budget="raise")
