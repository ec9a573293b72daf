"""Random calls of the public interface with values of every kind.

Most calls are refused. The tests check that the refusal is a named exception, that no call crashes
or hangs the interpreter, and that nothing is left at the end.
"""

import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

import iocp_sock
from support import SLOWNESS, descriptors, interrupt, settled
from support.fuzzing import Machine
from support.hostile import PLAIN, HostileError, acting

NUMBERS = st.integers(0, 1000)
KEYWORDS = [
    "address", "alertable", "ancillary", "ancillary_size", "backlog", "buffer", "buffers", "bogus",
    "callback", "cap", "count", "data", "event", "file", "flags", "high", "how", "low",
    "manual_reset", "nbytes", "offset", "on_close", "on_error", "on_pause", "on_resume", "receive",
    "reuse", "reuse_port", "routine", "set", "size", "sockets", "timeout", "until_idle", "value",
    "wait",
]  # fmt: skip
ACTS = ["close the port", "close the sockets", "cancel", "turn", "look"]
VALUES = sorted(PLAIN) + sorted(acting(dict.fromkeys(ACTS, gc.collect)))
VALUE = st.one_of(st.sampled_from(VALUES), NUMBERS)
"""The name of a value, or the number of an object that an earlier call returned."""
REFUSALS = (
    OSError,
    TypeError,
    ValueError,
    AttributeError,
    BufferError,
    IndexError,
    NotImplementedError,  # of a memoryview with several dimensions
    HostileError,
)
"""Exceptions that a call may raise besides the library's own."""
MAX_KEPT = 60
TICK = 0.01 * SLOWNESS


class InterruptedCallError(Exception):
    """Raised by the handler of SIGINT in a call that does not return by itself."""


class Watch:
    """Interrupts, as Ctrl-C does, every call that takes longer than one or two times TICK."""

    def __init__(self) -> None:
        self.call = 0
        self.armed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        seen = 0
        while not self._ended.wait(TICK):
            if self.armed and self.call == seen:
                interrupt()
            seen = self.call

    def _interrupted(self, *_: Any) -> None:
        if self.armed:
            raise InterruptedCallError

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self._interrupted)
        self._thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._thread.join()
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        self.call += 1
        self.armed = True
        try:
            yield
        finally:
            self.armed = False


def members() -> dict[type, list[str]]:
    """Return the names of the public attributes and operators of every type that calls return."""
    types = [
        iocp_sock.Port,
        iocp_sock.Socket,
        iocp_sock.Operation,
        iocp_sock.Completion,
        iocp_sock.Buffer,
        iocp_sock.Event,
        iocp_sock.Timer,
        iocp_sock.RegisteredMemory,
        iocp_sock.BlockingSocket,
        iocp_sock.Connecting,
        iocp_sock.Trace,
    ]
    return {
        kind: [name for name in dir(kind) if not name.startswith("_") or name in OPERATORS]
        for kind in types
    }


OPERATORS = [
    "__buffer__", "__bytes__", "__call__", "__contains__", "__copy__", "__delitem__", "__enter__",
    "__exit__", "__eq__", "__format__", "__getitem__", "__hash__", "__iter__", "__len__", "__lt__",
    "__next__", "__reduce__", "__repr__", "__setitem__", "__sizeof__", "__str__",
]  # fmt: skip
MEMBERS = members()
FUNCTIONS: list[Callable[..., Any]] = [
    iocp_sock.Port,
    lambda: iocp_sock.Port.__new__(iocp_sock.Port),
    iocp_sock.Event,
    iocp_sock.KeepAlive,
    iocp_sock.PortConfig,
    iocp_sock.page_span,
    iocp_sock.features,
    iocp_sock.wait_any,
    iocp_sock.wait_all,
    iocp_sock.sleep,
]


class Calls(Machine):
    """A state machine that calls every attribute of a port, its sockets and their operations."""

    backend: str | iocp_sock.Sim = ""
    watch: Watch

    @initialize()
    def begin(self) -> None:
        self.begun()
        self.before = descriptors()
        self.raised: list[BaseException] = []
        self.port = iocp_sock.Port(backend=self.backend)
        self.port.error_handler = lambda error, _callback: self.raised.append(error)
        listener = self.port.listen(("127.0.0.1", 0))
        accepting = listener.accept()
        connecting = self.port.connect(listener.getsockname())
        self.port.get(5)
        self.port.get(5)
        assert accepting.accepted is not None
        near, far = connecting.socket, accepting.accepted
        self.sockets = [listener, near, far]
        near.send(b"x" * 100)
        self.kept: list[Any] = [
            self.port,
            *self.sockets,
            near.recv(100),
            far.recv(100),
            iocp_sock.Event(),
            iocp_sock.Event(manual_reset=False, set=True),
            self.port.call_later(0.001, lambda: None),
            near.blocking,
            self.port.get(5),
            self.port.trace(100),
        ]
        with contextlib.suppress(OSError):  # a model has neither
            self.kept.append(self.port.socket(type=socket.SOCK_DGRAM))
            self.kept.append(self.port.register(5000))
        self.values = PLAIN | acting(
            {
                "close the port": lambda: self.port.close(0),
                "close the sockets": lambda: [sock.abort() for sock in self.sockets],
                "cancel": lambda: [sock.cancel() for sock in self.sockets],
                "turn": lambda: self.port.run_once(0),
                "look": lambda: self.port.stats(sockets=10),
            }
        )

    def value(self, name: str | int) -> Any:
        return self.values[name]() if isinstance(name, str) else self.kept[name % len(self.kept)]

    def make(self, call: Callable[[], Any]) -> None:
        """Make a call, which may raise only expected exceptions; keep its result for others."""
        returned = None
        refusal = ""
        try:
            with self.watch.over():
                returned = call()
        except iocp_sock.Error as error:
            refusal = str(error)
        except (InterruptedCallError, *REFUSALS):
            pass
        assert not refusal or " " in refusal, "the message of an error is a sentence"
        self.keep(returned)

    def detach(self, sock: iocp_sock.Socket) -> None:
        """Detach a socket, and close its descriptor; a socket of the model has no descriptor."""
        handle = sock.detach()
        if isinstance(self.backend, str):
            socket.close(handle)

    def keep(self, returned: Any) -> None:
        if isinstance(returned, (list, tuple)):
            for one in returned[:4]:
                self.keep(one)
        elif type(returned) in MEMBERS and len(self.kept) < MAX_KEPT:
            self.kept.append(returned)

    def picked(self, which: int, member: int) -> tuple[Any, str]:
        """Return an object of the program, and the name of one of its attributes."""
        thing = self.kept[which % len(self.kept)]
        names = MEMBERS[type(thing)]
        return thing, names[member % len(names)]

    def named(self, values: list[str | int], keywords: dict[str, str | int]) -> tuple[Any, Any]:
        return (
            [self.value(name) for name in values],
            {keyword: self.value(name) for keyword, name in keywords.items()},
        )

    @rule(
        which=NUMBERS,
        member=NUMBERS,
        values=st.lists(VALUE, max_size=3),
        keywords=st.dictionaries(st.sampled_from(KEYWORDS), VALUE, max_size=2),
    )
    def method(
        self, which: int, member: int, values: list[str | int], keywords: dict[str, str | int]
    ) -> None:
        """Call an attribute of an object; if it is not callable, TypeError is expected."""
        thing, name = self.picked(which, member)
        arguments, options = self.named(values, keywords)
        note(f"{type(thing).__name__}.{name}(*{values}, **{keywords})")
        if name == "detach" and not (arguments or options):
            self.make(lambda: self.detach(thing))
        else:
            self.make(lambda: getattr(thing, name)(*arguments, **options))

    @rule(which=NUMBERS, member=NUMBERS)
    def get(self, which: int, member: int) -> None:
        thing, name = self.picked(which, member)
        self.make(lambda: getattr(thing, name))

    @rule(which=NUMBERS, member=NUMBERS, value=VALUE)
    def set(self, which: int, member: int, value: str | int) -> None:
        thing, name = self.picked(which, member)
        given = self.value(value)
        note(f"{type(thing).__name__}.{name} = {value}")
        if not callable(getattr(type(thing), name)) and name != "error_handler":
            self.make(lambda: setattr(thing, name, given))

    @rule(which=NUMBERS, member=NUMBERS)
    def delete(self, which: int, member: int) -> None:
        thing, name = self.picked(which, member)
        self.make(lambda: delattr(thing, name))

    @rule(
        which=NUMBERS,
        values=st.lists(VALUE, max_size=3),
        keywords=st.dictionaries(st.sampled_from(KEYWORDS), VALUE, max_size=2),
    )
    def function(self, which: int, values: list[str | int], keywords: dict[str, str | int]) -> None:
        """Call a function of the package, or make an object of one of its types."""
        chosen = FUNCTIONS[which % len(FUNCTIONS)]
        arguments, options = self.named(values, keywords)
        note(f"{chosen}(*{values}, **{keywords})")
        self.make(lambda: chosen(*arguments, **options))

    @rule()
    def turn(self) -> None:
        self.make(lambda: self.port.run_once(0))

    @rule(which=NUMBERS)
    def forget(self, which: int) -> None:
        if which % len(self.kept):
            del self.kept[which % len(self.kept)]

    def teardown(self) -> None:
        if not hasattr(self, "port"):
            return
        port = self.port
        for made in [*self.kept, port]:
            with contextlib.suppress(TypeError):  # an object whose __init__() has not run
                if isinstance(made, iocp_sock.Port):
                    made.close(0)
        made = None
        self.values.clear()
        self.kept.clear()
        self.sockets.clear()
        self.raised.clear()
        gc.collect()
        settled(port)
        del self.port, port
        gc.collect()
        assert descriptors() == self.before


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_calls(backend, fuzz, tmp_path, monkeypatch):
    """Every use of the public API ends with a result or a named exception."""
    monkeypatch.chdir(tmp_path)  # a call may bind a socket to a name
    Calls.backend = backend
    Calls.watch = Watch()
    with Calls.watch.running():
        fuzz(Calls, 60)
