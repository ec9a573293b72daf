"""Connecting by name: addresses are looked up beside the port, and tried one after another."""

from __future__ import annotations

import os
import socket as _socket
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from iocp_sock.errors import ArgumentError, Cancelled, PortClosed, TimedOut

if TYPE_CHECKING:
    from iocp_sock._core import Completion, Operation, Socket, Timer
    from iocp_sock.port import Port

__all__ = ["Connecting"]

_LOOKUPS = 4
"""Lookups at a time, over all ports of the process; further ones wait."""
_STAGGER = 0.25
"""Seconds that an attempt has to itself: RFC 8305, 8."""

_Address = tuple[Any, ...]
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _lookups() -> ThreadPoolExecutor:
    """Return this process' threads for lookups: a forked child has none of its parent's."""
    global _pool
    if _pool is None or _pool[0] != os.getpid():
        _pool = (os.getpid(), ThreadPoolExecutor(_LOOKUPS, "iocp_sock-names"))
    return _pool[1]


def _in_turn(found: Iterable[tuple[int, int, int, str, Any]]) -> deque[tuple[int, _Address]]:
    """Order addresses as RFC 8305, 4 says: the families take turns, the first one's first."""
    families: dict[int, list[tuple[int, _Address]]] = {}
    for family, _kind, _proto, _name, address in found:
        families.setdefault(family, []).append((family, address))
    mixed = chain.from_iterable(zip_longest(*families.values()))
    return deque(dict.fromkeys(one for one in mixed if one is not None))


class Connecting:
    """A connect by name that Port.connect_by_name() began.

    `done` tells whether it is over; then either `socket` is the connected Socket, the caller's to
    close, or `error` says why there is none: what the lookup raised, the error of the last attempt,
    TimedOut, Cancelled, or PortClosed. `attempts` has the addresses that were given up, each with
    its error, in order.
    """

    def __init__(
        self,
        port: Port,
        callback: Callable[[Connecting], object] | None,
    ) -> None:
        self.port = port
        self.socket: Socket | None = None
        self.error: OSError | None = None
        self.attempts: list[tuple[Any, OSError]] = []
        self._callback = callback
        self._done = False
        self._addresses: deque[tuple[int, _Address]] = deque()
        self._under_way: dict[Operation, _Address] = {}
        self._next: Timer | None = None
        self._limit: Timer | None = None

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._done

    def cancel(self) -> None:
        """End it with Cancelled, unless it is over first; any thread may ask."""
        if not self._done:
            self._in_port(lambda: self._end(Cancelled(125, "the connect was cancelled")))

    # Everything below but _looked_up() runs in the thread that runs the port.

    def _begin(self, lookup: Callable[[], Any], timeout: float | None) -> None:
        if timeout is not None:
            limit = f"no connection within {timeout} s"
            self._limit = self.port.call_later(timeout, lambda: self._end(TimedOut(110, limit)))
        _lookups().submit(lookup).add_done_callback(self._looked_up)

    def _looked_up(self, lookup: Future[Any]) -> None:
        self._in_port(lambda: self._try_all(lookup))

    def _in_port(self, step: Callable[[], None]) -> None:
        try:
            self.port.post(callback=lambda _: step())
        except OSError as error:
            # The port is over, and with it whoever could be called back.
            if not self._done:
                self._done, self.error = True, error

    def _try_all(self, lookup: Future[Any]) -> None:
        if self._done:
            return
        try:
            self._addresses = _in_turn(lookup.result())
        except OSError as error:
            self._end(error)
            return
        self._try_next()

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
            nothing = ArgumentError(22, "the name has no address of a stream socket")
            self._end(self.attempts[-1][1] if self.attempts else nothing)

    def _attempted(self, completion: Completion) -> None:
        operation = completion.operation
        assert operation is not None  # that of a connect
        address = self._under_way.pop(operation, None)
        if address is None:
            return  # it was given up
        if completion.error is None:
            self.socket = operation.socket
            self._end(None)
            return
        operation.socket.close()
        if isinstance(completion.error, Cancelled):  # by the port's close alone
            self._end(PortClosed(9, "the port was closed"))
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
        self._addresses.clear()
        for operation in self._under_way:
            operation.socket.abort()
        self._under_way.clear()
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)
