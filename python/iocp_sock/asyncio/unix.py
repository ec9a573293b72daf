"""The event loop on Linux: signals, pipes, UNIX sockets and subprocesses."""

from __future__ import annotations

import os
import socket
import sys
from asyncio import unix_events
from asyncio.log import logger
from typing import Any

from iocp_sock.asyncio.loop import PortEventLoop

__all__ = ["EventLoop"]


class EventLoop(PortEventLoop, unix_events._UnixSelectorEventLoop):
    """An asyncio event loop on a completion port: io_uring or epoll.

    EventLoop(config), or EventLoop(backend="epoll", budget=4 << 20, ...) with the fields of
    PortConfig as keywords. `receive` is the strategy of its stream transports: 'pooled', 'direct',
    'zero_byte' or 'adaptive'. Raises BackendUnavailable if the system refuses the requested
    backend.
    """

    _ssock: socket.socket | None
    _csock: socket.socket | None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._pidfds: set[int] = set()
        super().__init__(*arguments, **options)

    def close(self) -> None:
        super().close()
        while self._pidfds:  # of processes that still run
            os.close(self._pidfds.pop())

    # --- signals ----------------------------------------------------------------------------------

    # The self-pipe is a descriptor to which the interpreter writes the numbers of signals. Only a
    # loop with signal handlers makes one, because call_soon_threadsafe() wakes the port.

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Any, *args: Any
    ) -> None:
        self._check_closed()
        if self._csock is None:
            super()._make_self_pipe()  # type: ignore[misc]
        super().add_signal_handler(sig, callback, *args)

    def _close_self_pipe(self) -> None:
        if self._csock is not None:
            super()._close_self_pipe()  # type: ignore[misc]

    # --- UNIX servers -----------------------------------------------------------------------------

    def _stop_serving(self, sock: socket.socket) -> None:
        """Remove the path of a UNIX server as asyncio does.

        That is from Python 3.13 on, and only if the path still names the server's own socket.
        """
        inode = getattr(self, "_unix_server_sockets", {}).pop(sock, None)
        path = sock.getsockname() if inode is not None else None
        super()._stop_serving(sock)
        if path is None:
            return
        try:
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)

    # --- subprocesses -----------------------------------------------------------------------------

    # From Python 3.12 on asyncio itself watches a child process by a pidfd, through the running
    # loop.
    if sys.version_info < (3, 12):

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
            transport = unix_events._UnixSubprocessTransport(  # type: ignore[attr-defined]
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
                self._watch_child(transport)
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                await transport._wait()
                raise
            return transport

        def _watch_child(self, transport: Any) -> None:
            """Watch a child process by a pidfd, which needs no thread and no SIGCHLD."""
            pid = transport.get_pid()
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                # Without a pidfd nothing would notice the end of the process.
                transport.kill()
                _, status = os.waitpid(pid, 0)
                transport._process_exited(os.waitstatus_to_exitcode(status))
                raise
            self._pidfds.add(descriptor)
            self._add_reader(descriptor, self._child_ended, descriptor, pid, transport)

        def _child_ended(self, descriptor: int, pid: int, transport: Any) -> None:
            self._remove_reader(descriptor)
            self._pidfds.remove(descriptor)
            os.close(descriptor)
            try:
                _, status = os.waitpid(pid, 0)
            except ChildProcessError:
                code = 255  # other code has waited for the process
            else:
                code = os.waitstatus_to_exitcode(status)
            transport._process_exited(code)
