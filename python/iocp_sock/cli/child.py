"""A child process that answers requests over a pipe."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

PATIENCE = 30.0
"""Seconds of silence after which a child counts as stuck."""


class ChildError(Exception):
    """A child process reported a failure, ended early or fell silent."""


@dataclass(frozen=True)
class Progress:
    """A report of the progress of the current request. Several may come before the Answer."""

    done: int


@dataclass(frozen=True)
class Answer:
    """The result of a request. Each request has exactly one Answer."""

    value: Any


@dataclass(frozen=True)
class Failure:
    """The failure that ended the child."""

    text: str


class Child:
    """One child process, which handles at most one request at a time."""

    def __init__(self, name: str, body: Callable[..., None], *arguments: Any) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.name = name
        self.done = 0
        self._answers: list[Any] = []
        self._heard = time.monotonic()
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_run, args=(body, theirs, *arguments), name=name, daemon=True
        )
        with _interrupts_ignored():
            self._process.start()
        theirs.close()

    def ask(self, request: str, *arguments: Any) -> None:
        """Send a request; answer() waits for its answer."""
        self.done = 0
        self._heard = time.monotonic()
        try:
            self._pipe.send((request, arguments))
        except OSError:
            self._read_last_words()

    def answered(self) -> bool:
        """Read the messages that have arrived; true once the answer is there."""
        while not self._answers and self._pipe.poll():
            self._take()
        if not self._answers and time.monotonic() - self._heard > PATIENCE:
            raise ChildError(f"{self.name} sent nothing for {PATIENCE:.0f} seconds")
        return bool(self._answers)

    def answer(self) -> Any:
        """Wait for the answer to the current request."""
        while not self.answered():
            self._pipe.poll(0.1)
        return self._answers.pop()

    def call(self, request: str, *arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        self.ask(request, *arguments)
        return self.answer()

    def end(self) -> None:
        """Close the pipe, which asks the process to end, and kill it if it does not."""
        self._pipe.close()
        self._process.join(2.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _take(self) -> None:
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            raise ChildError(f"{self.name} ended unexpectedly") from None
        self._heard = time.monotonic()
        if isinstance(message, Failure):
            raise ChildError(f"{self.name}: {message.text}")
        if isinstance(message, Progress):
            self.done = message.done
        else:
            self._answers.append(message.value)

    def _read_last_words(self) -> None:
        while True:
            self._take()


def wait_for_all(children: Iterable[Child], every: float, tick: Callable[[], None]) -> list[Any]:
    """Wait for the answers of all children; call `tick` every `every` seconds meanwhile."""
    children = list(children)
    waiting = [child for child in children if not child.answered()]
    while waiting:
        tick()
        time.sleep(every)
        waiting = [child for child in waiting if not child.answered()]
    return [child.answer() for child in children]


def answer_requests(pipe: Connection, target: object) -> None:
    """Answer each request by a call of the method that it names, until the pipe closes."""
    while True:
        try:
            request, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(Answer(getattr(target, request)(*arguments)))


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in the block, so that a process started there leaves Ctrl-C to its parent."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(body: Callable[..., None], pipe: Connection, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        body(pipe, *arguments)
    except Exception as error:
        _say(pipe, Failure(str(error) or type(error).__name__))


def _say(pipe: Connection, message: object) -> None:
    with contextlib.suppress(OSError):
        pipe.send(message)
