"""The stage of a scenario: its ports, peers and threads, and the check for leaks."""

import contextlib
import gc
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import iocp_sock
from support import LOCALHOST, PATIENCE, descriptors, settled, socket_pair, wait_for

GONE = (iocp_sock.PortClosed, iocp_sock.SocketClosed)
"""Errors of a call on an object that another thread has closed."""

Work = Callable[[], object]


def ignore(*_given: Any) -> None:
    """Ignore the arguments of a callback."""


def until_gone(step: Work) -> Work:
    """Repeat the step until another thread has closed the objects that it uses."""

    def work() -> None:
        with contextlib.suppress(*GONE):
            while True:
                step()

    return work


def times(count: int, step: Work) -> Work:
    """Repeat the step `count` times."""

    def work() -> None:
        for _ in range(count):
            step()

    return work


def threads_of_system() -> int:
    """Return the number of threads of the process, including those unknown to Python."""
    if sys.platform == "linux":
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()


class Stage:
    """The objects of a round; `end_round` checks that the round leaves none."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.failures: list[str] = []
        self._ports: list[iocp_sock.Port] = []
        self._peers: list[socket.socket] = []
        self._lock = threading.Lock()
        self._descriptors: set[str] = set()
        self._threads = 0

    def begin(self) -> None:
        """Note the descriptors and threads before the first round."""
        gc.collect()
        self._descriptors = descriptors()
        self._threads = threads_of_system()

    def port(self, **options: Any) -> iocp_sock.Port:
        """Make a port that is closed and checked for leaks at the end of the round."""
        port = iocp_sock.Port(backend=self.backend, **options)
        with self._lock:
            self._ports.append(port)
        return port

    def keep(self, peer: socket.socket) -> socket.socket:
        """Keep a raw socket, and close it at the end of the round."""
        peer.settimeout(PATIENCE)
        with self._lock:
            self._peers.append(peer)
        return peer

    def pair(
        self, port: iocp_sock.Port, kind: int = socket.SOCK_STREAM
    ) -> tuple[iocp_sock.Socket, socket.socket]:
        """Make a pair of sockets: the port's and a raw one."""
        ours, theirs = socket_pair(kind)
        return port.adopt(ours), self.keep(theirs)

    def pairs(
        self, port: iocp_sock.Port, count: int
    ) -> list[tuple[iocp_sock.Socket, socket.socket]]:
        """Make several pairs of streams."""
        return [self.pair(port) for _ in range(count)]

    def tcp(self, port: iocp_sock.Port) -> tuple[iocp_sock.Socket, socket.socket]:
        """Make a TCP connection of the port and a raw peer, which can reset it."""
        with socket.create_server(LOCALHOST) as listener:
            peer = self.keep(socket.create_connection(listener.getsockname()))
            ours, _address = listener.accept()
        return port.adopt(ours), peer

    def together(self, *works: Work) -> None:
        """Run each work in a thread; all start at the same moment, and all must end."""
        gate = threading.Barrier(len(works))

        def run(work: Work) -> None:
            try:
                gate.wait()
                work()
            except BaseException:
                self.fail(traceback.format_exc())

        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    @contextlib.contextmanager
    def running(self, port: iocp_sock.Port, threads: int = 1) -> Iterator[None]:
        """Let threads run the port during the block, and close it afterwards."""
        begun = threading.Event()

        def run() -> None:
            try:
                with contextlib.suppress(iocp_sock.PortClosed):
                    port.run()
            except BaseException:
                self.fail(traceback.format_exc())
                begun.set()

        port.post(callback=lambda _completion: begun.set())
        runners = [threading.Thread(target=run) for _ in range(threads)]
        for runner in runners:
            runner.start()
        begun.wait()
        try:
            yield
        finally:
            port.close(0)
            for runner in runners:
                runner.join()

    def unraisable(self, what: Any) -> None:
        """Keep an unraisable exception."""
        lines = traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback)
        self.fail(f"{what.err_msg} {what.object!r}\n{''.join(lines)}")

    def fail(self, report: str) -> None:
        """Fail the round, and print the reason now, because threads that wait may hang."""
        self.failures.append(report)
        print(report, file=sys.stderr, flush=True)

    def end_round(self) -> None:
        """Close the objects of the round, and check that its ports leak nothing."""
        for port in self._ports:
            port.close(0)
        for peer in self._peers:
            peer.close()
        self._peers.clear()
        assert not self.failures, f"{len(self.failures)} failures, printed above"
        while self._ports:
            settled(self._ports.pop())

    def end(self) -> None:
        """Check that no descriptor or thread is left beyond those of begin()."""
        gc.collect()
        assert descriptors() <= self._descriptors, "descriptors were left open"
        wait_for(lambda: threads_of_system() <= self._threads)


def shares(items: Iterable[Any], count: int) -> list[list[Any]]:
    """Deal the items out to `count` threads."""
    dealt = list(items)
    return [dealt[i::count] for i in range(count)]
