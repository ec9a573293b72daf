"""Connecting by name: a thread looks the addresses up, and the port tries them in order."""

from __future__ import annotations

import errno
import functools
import socket as _socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from iocp_sock._core import _address_or_name
from iocp_sock.address import port_number
from iocp_sock.errors import ArgumentError, ArgumentTypeError, Cancelled, PortClosed, TimedOut
from iocp_sock.lookup import Lookup

if TYPE_CHECKING:
    from iocp_sock._core import Completion, Operation, Socket, Timer
    from iocp_sock.port import Port

__all__ = ["Connecting"]

_STAGGER = 0.25
"""The seconds after which the next attempt starts beside a running one (RFC 8305, section 8)."""

_Address = tuple[Any, ...]


def _in_turn(found: Iterable[tuple[int, int, int, str, Any]]) -> deque[tuple[int, _Address]]:
    """Order addresses as RFC 8305, section 4: families alternate, the first address's at first."""
    families: dict[int, list[tuple[int, _Address]]] = {}
    for family, _kind, _proto, _name, address in found:
        families.setdefault(family, []).append((family, address))
    mixed = chain.from_iterable(zip_longest(*families.values()))
    return deque(dict.fromkeys(one for one in mixed if one is not None))


def _failure(error: BaseException) -> OSError:
    """Return an OSError for a resolver's exception, which becomes the OSError's cause."""
    if isinstance(error, OSError):
        return error
    failure = _socket.gaierror(
        _socket.EAI_FAIL, f"the lookup failed with {type(error).__name__}: see __cause__"
    )
    failure.__cause__ = error
    return failure


def _step(method: Callable[..., None]) -> Callable[..., None]:
    """Wrap a step of Connecting. Its exceptions end the connect, but those of the callback pass."""

    @functools.wraps(method)
    def step(connecting: Connecting, *given: Any) -> None:
        try:
            method(connecting, *given)
        except Exception as error:
            if connecting._done:
                raise
            connecting._end(_failure(error))

    return step


class Connecting:
    """A connect by name, made by Port.connect_by_name().

    `done` is true once the connect is over. Then either `socket` is the connected Socket, which the
    caller closes, or `error` is the reason: gaierror or another error of the lookup, ArgumentError
    for an invalid host, the error of the last attempt, TimedOut, Cancelled, or PortClosed.
    `attempts` has the addresses that failed, each with its error, in order. `host` and `service`
    are the arguments of the call.
    """

    def __init__(
        self,
        port: Port,
        host: Any,
        service: Any,
        callback: Callable[[Connecting], object] | None,
    ) -> None:
        self.port = port
        self.host = host
        self.service = service
        self.socket: Socket | None = None
        self.error: OSError | None = None
        self.attempts: list[tuple[Any, OSError]] = []
        self._callback = callback
        self._done = False
        self._lookup: Lookup | None = None
        self._addresses: deque[tuple[int, _Address]] = deque()
        self._under_way: dict[Operation, _Address] = {}
        self._next: Timer | None = None
        self._limit: Timer | None = None

    @property
    def done(self) -> bool:
        """Whether the connect is over."""
        return self._done

    def cancel(self) -> None:
        """End the connect with Cancelled, unless it is over already. Any thread may call this."""
        if not self._done:
            self._leave_lookup()
            self._in_port(
                lambda: self._end(Cancelled(errno.ECANCELED, "the connect was cancelled"))
            )

    def __repr__(self) -> str:
        if self.socket is not None:
            state = f"connected, {self.socket!r}"
        elif self._done:
            state = f"failed, {self.error!r}"
        elif self._under_way:
            state = "connecting to " + ", ".join(str(each) for each in self._under_way.values())
        else:
            state = "looking up"
        return f"<iocp_sock.Connecting {self.host!r} {self.service!r}, {state}>"

    # Only the thread that runs the port calls _try_all(), _try_next(), _attempted() and _end().
    # Other threads may call the other methods.

    def _begin(self, family: int, resolver: Callable[..., Any], timeout: float | None) -> None:
        self.port.time()  # raises if the port is closed or was made before a fork
        number = port_number(self.service)
        located: Any = None
        refused: OSError | None = None
        if self.host is not None:
            try:
                located = _address_or_name(self.host, number or 0, family)
            except ArgumentTypeError:
                raise
            except OSError as error:
                refused = error
        if timeout is not None:
            limit = f"no connection within {timeout} s"
            self._limit = self.port.call_later(
                timeout, lambda: self._end(TimedOut(errno.ETIMEDOUT, limit))
            )
        if refused is not None:
            self._in_port(lambda: self._end(refused))
        elif isinstance(located, tuple) and number is not None:
            self._addresses.append(located)
            self._in_port(self._try_next)
        else:
            # socket.getaddrinfo gets the host as the core has encoded it. A caller's own resolver
            # gets the host unchanged.
            host = located if resolver is _socket.getaddrinfo and located else self.host
            self._look_up(host, family, resolver)

    def _look_up(self, host: Any, family: int, resolver: Callable[..., Any]) -> None:
        if isinstance(host, tuple):
            host = host[1][0]
        try:
            self._lookup = Lookup(
                lambda: list(resolver(host, self.service, family=family, type=_socket.SOCK_STREAM)),
                self._looked_up,
            )
        except BaseException:
            if self._limit is not None:
                self._limit.cancel()
            raise

    def _looked_up(self, lookup: Lookup) -> None:
        self._in_port(lambda: self._try_all(lookup))

    def _leave_lookup(self) -> None:
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.give_up()

    def _in_port(self, step: Callable[[], None]) -> None:
        try:
            self.port.post(callback=lambda _: step())
        except OSError as error:
            # The port is closed, so no callback can run any more.
            if not self._done:
                self._done, self.error = True, error

    @_step
    def _try_all(self, lookup: Lookup) -> None:
        if self._done:
            return
        self._lookup = None
        if lookup.error is not None:
            self._end(_failure(lookup.error))
            return
        self._addresses = _in_turn(lookup.answer)
        self._try_next()

    @_step
    def _try_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        while self._addresses and not self._done:
            family, address = self._addresses.popleft()
            sock = None
            try:
                sock = self.port.socket(family, _socket.SOCK_STREAM)
                self._under_way[sock.connect(address, callback=self._attempted)] = address
            except PortClosed as error:
                self._end(error)
            except OSError as error:
                self.attempts.append((address, error))
                if sock is not None:
                    sock.close()
                continue
            if self._addresses:
                self._next = self.port.call_later(_STAGGER, self._try_next)
            return
        if not self._under_way and not self._done:
            nothing = ArgumentError(
                errno.EINVAL,
                "the name has no address for a stream socket; check the host and the service",
            )
            self._end(self.attempts[-1][1] if self.attempts else nothing)

    @_step
    def _attempted(self, completion: Completion) -> None:
        operation = completion.operation
        assert operation is not None  # a connect's completion always has one
        address = self._under_way.pop(operation, None)
        if address is None:
            return  # the attempt was aborted
        if completion.error is None:
            self.socket = operation.socket
            self._end(None)
            return
        operation.socket.close()
        if isinstance(completion.error, Cancelled):  # only the port's close cancels it
            self._end(PortClosed(errno.EBADF, "the port was closed"))
            return
        self.attempts.append((address, completion.error))
        self._try_next()

    def _end(self, error: OSError | None) -> None:
        if self._done:
            return
        self._done, self.error = True, error
        for timer in (self._next, self._limit):
            if timer is not None:
                timer.cancel()
        self._next = self._limit = None
        self._leave_lookup()
        self._addresses.clear()
        for operation in self._under_way:
            operation.socket.abort()
        self._under_way.clear()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)
