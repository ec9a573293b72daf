"""The event loop on Windows: signals, named pipes and subprocesses."""

from __future__ import annotations

import _overlapped  # type: ignore[import-not-found]
import _winapi
import contextlib
import signal
import socket
import sys
import threading
from asyncio import (
    base_subprocess,
    constants,
    selector_events,
    tasks,
    windows_events,
    windows_utils,
)
from typing import TYPE_CHECKING, Any

from iocp_sock.asyncio.loop import PortEventLoop
from iocp_sock.asyncio.pipes import DuplexPipeTransport, PipeTransport, WritePipeTransport
from iocp_sock.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from iocp_sock._core import Completion

__all__ = ["EventLoop"]

assert sys.platform == "win32"  # type checkers of other systems skip the rest


class EventLoop(PortEventLoop, selector_events.BaseSelectorEventLoop):
    """An asyncio event loop on a completion port of Windows.

    EventLoop(config), or EventLoop(budget=4 << 20, ...) with the fields of PortConfig as keywords.
    `receive` is the strategy of its stream transports: 'pooled', 'direct', 'zero_byte' or
    'adaptive'.
    """

    _ssock: socket.socket | None
    _csock: socket.socket | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._accepts: set[_PipeAccept] = set()
        super().__init__(*arguments, **options)

    def close(self) -> None:
        if not self.is_running():
            while self._accepts:
                self._accepts.pop().cancel()
        super().close()

    # --- signals ----------------------------------------------------------------------------------

    # The port itself wakes for Ctrl-C, and checks for other signals once a second. So that their
    # handlers run at once, the interpreter writes their numbers to a socket while the loop runs in
    # the main thread.

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None

    def _close_self_pipe(self) -> None:
        if self._csock is not None:
            super()._close_self_pipe()  # type: ignore[misc]

    def run_forever(self) -> None:
        self._check_closed()
        self._check_running()
        if threading.current_thread() is not threading.main_thread():
            super().run_forever()
            return
        if self._csock is None:
            super()._make_self_pipe()  # type: ignore[misc]
        assert self._csock is not None
        before = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        try:
            super().run_forever()
        finally:
            try:
                signal.set_wakeup_fd(before)
            except (OSError, ValueError):  # it was closed meanwhile
                signal.set_wakeup_fd(-1)

    # --- named pipes ------------------------------------------------------------------------------

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> PipeTransport:
        return PipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> PipeTransport:
        return WritePipeTransport(self, pipe, protocol, waiter, extra)

    def _make_duplex_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> PipeTransport:
        return DuplexPipeTransport(self, pipe, protocol, waiter, extra)

    async def create_pipe_connection(
        self, protocol_factory: Callable[[], Any], address: str
    ) -> tuple[PipeTransport, Any]:
        """Connect to a named pipe, as asyncio's ProactorEventLoop does."""
        self._check_closed()
        pipe = windows_utils.PipeHandle(await _open_pipe(address))
        try:
            protocol = protocol_factory()
            transport = self._make_duplex_pipe_transport(pipe, protocol, extra={"addr": address})
        except BaseException:
            pipe.close()
            raise
        return transport, protocol

    async def start_serving_pipe(
        self, protocol_factory: Callable[[], Any], address: str
    ) -> list[windows_events.PipeServer]:
        """Serve a named pipe, as asyncio's ProactorEventLoop does."""
        self._check_closed()
        server = windows_events.PipeServer(address)
        self.call_soon(self._accept_pipe, server, protocol_factory)
        return [server]

    def _accept_pipe(self, server: Any, protocol_factory: Any) -> None:
        """Wait for the next client of a server, unless it is closed."""
        pipe = None
        try:
            pipe = server._get_unconnected_pipe()
            if pipe is None:
                return
            accept = _PipeAccept(self, pipe, server, protocol_factory)
        except OSError as exc:
            if pipe is not None:
                pipe.close()
            delay = 0
            if not isinstance(exc, BrokenPipeError):  # the client has gone
                self._pipe_failed(exc, pipe)
                delay = constants.ACCEPT_RETRY_DELAY
            self.call_later(delay, self._accept_pipe, server, protocol_factory)
            return
        server._accept_pipe_future = accept
        self._accepts.add(accept)

    def _pipe_accepted(self, accept: _PipeAccept, error: OSError | None) -> None:
        self._accepts.discard(accept)
        server, pipe = accept.server, accept.pipe
        server._accept_pipe_future = None
        server._free_instances.discard(pipe)
        try:
            if error is not None:
                raise error
            protocol = accept.protocol_factory()
            self._make_duplex_pipe_transport(pipe, protocol, extra={"addr": server._address})
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            pipe.close()
            if not isinstance(exc, BrokenPipeError):  # the client has gone
                self._pipe_failed(exc, pipe)
        self._accept_pipe(server, accept.protocol_factory)

    def _pipe_failed(self, exc: BaseException, pipe: Any) -> None:
        self.call_exception_handler(
            {"message": "Pipe accept failed", "exception": exc, "pipe": pipe}
        )

    # --- subprocesses -----------------------------------------------------------------------------

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: Any,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        waiter = self.create_future()
        transport = _SubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport


async def _open_pipe(address: str) -> int:
    """Open the client's end of a named pipe: the system has no overlapped call for that."""
    delay = windows_events.CONNECT_PIPE_INIT_DELAY
    while True:
        try:
            return int(_overlapped.ConnectPipe(address))
        except OSError as exc:
            if exc.winerror != _overlapped.ERROR_PIPE_BUSY:
                raise
        delay = min(delay * 2, windows_events.CONNECT_PIPE_MAX_DELAY)
        await tasks.sleep(delay)


class _PipeAccept:
    """The wait of one instance of a pipe server for its client."""

    def __init__(self, loop: EventLoop, pipe: Any, server: Any, protocol_factory: Any) -> None:
        self.pipe = pipe
        self.server = server
        self.protocol_factory = protocol_factory
        self._loop = loop
        self._overlapped: Any = _winapi.ConnectNamedPipe(pipe.fileno(), overlapped=True)
        try:
            self._event = loop.port.watch_handle(self._overlapped.event)
            self._event.skip_done_packets = False  # the wait has to call back
            self._event.recv_zero(callback=self._connected)
        except BaseException:
            self._withdraw()
            raise

    def _connected(self, _completion: Completion) -> None:
        overlapped, self._overlapped = self._overlapped, None
        if overlapped is None:
            return  # cancelled
        self._event.close()
        error = None
        try:
            overlapped.GetOverlappedResult(True)
        except OSError as exc:
            error = exc
        self._loop._pipe_accepted(self, error)

    def cancel(self) -> None:
        """End the wait, and close the pipe."""
        if self._overlapped is not None:
            self._loop._accepts.discard(self)
            with contextlib.suppress(Error):  # the port is closed
                self._event.close()
            self._withdraw()
            self.pipe.close()

    def _withdraw(self) -> None:
        """Take the request back, because none may be left on a pipe that is closed."""
        overlapped, self._overlapped = self._overlapped, None
        overlapped.cancel()
        with contextlib.suppress(OSError):  # it was cancelled, or its client has gone
            overlapped.GetOverlappedResult(True)


class _SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    _loop: Any
    _proc: Any

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        **kwargs: Any,
    ) -> None:
        self._proc = windows_utils.Popen(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, **kwargs
        )
        try:
            self._process = self._loop.port.watch_handle(int(self._proc._handle))
            self._process.skip_done_packets = False  # the wait has to call back
            self._process.recv_zero(callback=self._ended)
        except BaseException:
            # Nothing would notice its end.
            self._proc.kill()
            self._proc.wait()
            raise

    def _ended(self, completion: Completion) -> None:
        self._process.close()
        if completion.error is None and not self._loop.is_closed():
            self._process_exited(self._proc.poll())
