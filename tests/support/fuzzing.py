"""The base of the random tests, which run programs of operations on a port."""

import functools
import gc
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

import iocp_sock
from support import descriptors, settled


class Post:
    """One accepted operation, and its expected outcome."""

    def __init__(self, charge: int = 0) -> None:
        self.charge = charge
        self.operation: Any = None
        self.completions = 0

    def __call__(self, completion: iocp_sock.Completion) -> None:
        self.completions += 1
        assert completion.operation is self.operation
        assert self.operation.done
        assert self.completions == 1

    def posted(self, operation: Any) -> None:
        """Keep the accepted operation; an operation that is done at once charges nothing."""
        self.operation = operation
        if operation.outcome == "done":
            self.charge = 0

    def forget(self) -> None:
        """Drop the operation, so that its received Buffer keeps no block of the closed port."""
        self.operation = None


def _telling(teardown: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap teardown(), so that the machine notes the number of the first failed program."""

    @functools.wraps(teardown)
    def told(self: Any) -> None:
        failed = isinstance(sys.exc_info()[1], Exception)  # the end of a program is not a failure
        try:
            teardown(self)
        except Exception:
            failed = True
            raise
        finally:
            if failed and not type(self).failed_at:
                type(self).failed_at = self.programs

    return told


class Machine(RuleBasedStateMachine):
    """A Hypothesis state machine that counts its programs."""

    programs = 0
    failed_at = 0
    """The number of the first failed program, or 0; to shrink it, Hypothesis runs many more."""
    model_runs = 0
    """The number of runs on the model, several for each program."""
    same_programs = False
    """Whether each test run without --fuzz-minutes runs the same programs."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "teardown" in cls.__dict__:
            cls.teardown = _telling(cls.teardown)  # type: ignore[method-assign]

    def begun(self) -> None:
        type(self).programs += 1


class PortMachine(Machine):
    """A machine whose program runs on one port.

    A subclass returns its posts and checks the data. This class checks that each post completes
    once, that the ledger equals the charges, that no callback raises, and that nothing leaks.
    """

    backend = ""

    def open_port(self, **options: Any) -> None:
        self.begun()
        self.before = descriptors()
        self.errors: list[Any] = []
        self.port = iocp_sock.Port(backend=self.backend, **options)
        self.port.error_handler = lambda error, _callback: self.errors.append(error)

    def posts(self) -> Iterable[Post]:
        raise NotImplementedError

    def check_end(self) -> None:
        """Check the received data, once the port is closed."""

    def check_ledger(self, charges: Iterable[tuple[iocp_sock.Socket, Iterable[Post]]]) -> None:
        """Check each socket's charge against its unfinished posts, and the ledger's figures."""
        expected = 0
        for sock, posts in charges:
            charged = sum(post.charge for post in posts if not post.operation.done)
            assert sock.charged == charged
            expected += charged
        ledger = self.port.ledger
        assert ledger.now == expected
        assert sum(ledger.by_kind.values()) == expected
        assert sum(ledger.by_state.values()) == expected
        assert ledger.peak >= expected
        assert ledger.now % iocp_sock.PAGE_SIZE == 0
        assert self.errors == []

    def teardown(self) -> None:
        if not hasattr(self, "port"):
            return
        self.port.close(0.2)
        assert self.errors == []
        assert all(post.completions == 1 for post in self.posts())
        self.check_end()
        for post in self.posts():
            post.forget()
        settled(self.port)
        del self.port
        assert descriptors() == self.before


def run_programs(machine: type[Machine], programs: int, minutes: float) -> None:
    """Run about this many random programs, for at least these minutes, and count them."""
    deadline = time.monotonic() + 60 * minutes
    machine.programs = machine.model_runs = machine.failed_at = 0
    while True:
        gc.unfreeze()
        gc.collect()
        gc.freeze()  # hide older objects from the collection at each program's end
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=programs,
                stateful_step_count=40,
                deadline=None,
                derandomize=machine.same_programs and minutes == 0,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        if time.monotonic() >= deadline:
            return
