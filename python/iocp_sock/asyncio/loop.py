"""The part of the event loop on a Port that is the same on every system."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import socket
from asyncio import base_events, constants, events, format_helpers, sslproto, trsock
from asyncio.log import logger
from inspect import signature
from typing import TYPE_CHECKING, Any

from iocp_sock import _core
from iocp_sock.asyncio.datagram import DatagramTransport
from iocp_sock.asyncio.queues import Ready, Scheduled
from iocp_sock.asyncio.stream import StreamTransport
from iocp_sock.asyncio.streams import Streams
from iocp_sock.asyncio.transport import give_back, lend
from iocp_sock.asyncio.watches import Watches, fileno_of, is_watch
from iocp_sock.config import PortConfig
from iocp_sock.errors import ArgumentError, Error, ForkedPort
from iocp_sock.port import Port

if TYPE_CHECKING:
    import asyncio
    import weakref

    from iocp_sock._core import Socket

__all__ = ["PortEventLoop"]


RECEIVE_STRATEGIES = ("pooled", "direct", "zero_byte", "adaptive")
"""The receive strategies of a loop's streams."""


class _Watched:
    """The part of a selector that asyncio's base classes need: what is watched."""

    __slots__ = ("get_key",)

    def __init__(self, watches: Watches) -> None:
        self.get_key = watches.key

    def close(self) -> None:
        """Do nothing: the loop closes the port."""


class PortEventLoop(_core.EventLoop, base_events.BaseEventLoop):
    """An asyncio event loop whose transports are Sockets of one Port.

    What is to run, and the turn that runs it, is native. BaseEventLoop brings the rest.
    """

    if TYPE_CHECKING:  # members of asyncio's bases that the type stubs leave out
        _current_handle: Any
        _internal_fds: int
        _transports: weakref.WeakValueDictionary[int, Any]
        slow_callback_duration: float

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: Any, method: str) -> None: ...

    def __init__(
        self, config: PortConfig | None = None, *, receive: str = "pooled", **options: Any
    ) -> None:
        if receive not in RECEIVE_STRATEGIES:
            raise ArgumentError(
                errno.EINVAL,
                f"receive must be one of {', '.join(RECEIVE_STRATEGIES)}, not {receive!r}",
            )
        self._receive_strategy = receive
        if config is None:
            config = PortConfig(**{"on_callback_error": "keep", **options})
            options = {}
        self._port = Port(config, **options)
        self._port.error_handler = self._port_error
        self._attach(self._port)
        self._watches = Watches(self._port, self._run_handle)
        self._listeners: dict[int, tuple[Socket, socket.socket]] = {}
        self._borrowed: dict[Socket, socket.socket] = {}
        self._streams = Streams(self._port)
        super().__init__(_Watched(self._watches))  # type: ignore[call-arg]
        self._internal_fds += 1

    @property
    def port(self) -> Port:
        """The loop's Port: its ledger, its figures, its trace."""
        return self._port

    def _port_error(self, exc: BaseException, source: object) -> None:
        self.call_exception_handler(
            {"message": f"Exception in callback {source!r}", "exception": exc}
        )

    # --- the turn ---------------------------------------------------------------------------------

    _ready = Ready()
    _scheduled = Scheduled()

    def run_forever(self) -> None:
        self._check_closed()
        self._check_running()
        # Makes this thread the runner of the port. Otherwise another thread that waits for an
        # operation would run the port on loan, and call protocols.
        runner = self._port._enter()
        try:
            super().run_forever()
        finally:
            del runner

    def _callback_failed(self, handle: _core.Handle, exc: BaseException) -> None:
        """Report the exception of a handle's callback as asyncio's Handle does."""
        source = callback_source(handle, self._debug)
        self.call_exception_handler(
            {"message": f"Exception in callback {source}", "exception": exc, "handle": handle}
        )

    def _write_to_self(self) -> None:
        with contextlib.suppress(Error):  # the loop is closed, or was made before a fork
            self._port.wake()

    def close(self) -> None:
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        try:
            super().close()
        finally:
            self._close_port()

    def _close_port(self) -> None:
        """Close the port without calling any protocol."""
        self._internal_fds -= 1
        for transport in (*self._transports.values(), *self._streams):
            transport._forget_protocol()
        try:
            self._watches.close()
            for listener, sock in self._listeners.values():
                listener.close(0)
                sock._decref_socketios()  # type: ignore[attr-defined]  # its server closes it
            self._port.error_handler = None
            self._port.close(0)
        except ForkedPort:
            pass  # the port belongs to the parent process
        finally:
            self._listeners.clear()
            for sock in self._borrowed.values():
                give_back(sock)
            self._borrowed.clear()

    # --- debug mode -------------------------------------------------------------------------------

    # The native calls come here in debug mode. A handle of asyncio's own then knows where it was
    # made, and the turn reports callbacks that are slow.

    def _call_soon_in_debug(self, callback: Any, *args: Any, context: Any = None) -> events.Handle:
        self._check_thread()
        return self._push_in_debug("call_soon", callback, args, context)

    def _call_soon_threadsafe_in_debug(
        self, callback: Any, *args: Any, context: Any = None
    ) -> events.Handle:
        return self._push_in_debug("call_soon_threadsafe", callback, args, context)

    def _push_in_debug(self, method: str, callback: Any, args: Any, context: Any) -> events.Handle:
        self._check_callback(callback, method)
        handle = events.Handle(callback, args, self, context)
        _forget_frames(handle, 2)
        self._push(handle)
        return handle

    def _call_at_in_debug(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> events.TimerHandle:
        self._check_thread()
        self._check_callback(callback, "call_at")
        timer = events.TimerHandle(when, callback, args, self, context)
        _forget_frames(timer, 1)
        self._push_timer(timer)
        return timer

    def _run_in_debug(self, handle: Any) -> None:
        """Run a handle, and report it if it was slow."""
        try:
            self._current_handle = handle
            begun = self.time()
            handle._run()
            took = self.time() - begun
            if took >= self.slow_callback_duration:
                _report_slow(base_events._format_handle(handle), took)  # type: ignore[attr-defined]
        finally:
            self._current_handle = None

    def _run_handle(self, handle: Any) -> None:
        """Run the handle of a watched descriptor."""
        if self._debug:
            self._run_in_debug(handle)
        else:
            handle._run()

    def _record_took(self, callback: Any, seconds: float) -> None:
        """Report a callback or transport if a record's call of it was slow.

        A watched descriptor has reported its own handle.
        """
        if seconds >= self.slow_callback_duration and not is_watch(callback):
            source = format_helpers._format_callback_source(callback, ())
            _report_slow(f"<Callback {source}>", seconds)

    # --- descriptors of other code ----------------------------------------------------------------

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> events.Handle:
        return self._watch(fd, False, callback, args)

    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> events.Handle:
        return self._watch(fd, True, callback, args)

    def _watch(self, fd: Any, writing: bool, callback: Any, args: Any) -> events.Handle:
        self._check_closed()
        handle = events.Handle(callback, args, self, None)
        self._watches.add(fd, writing, handle)
        return handle

    def _remove_reader(self, fd: Any) -> bool:
        return not self.is_closed() and self._watches.remove(fd, False)

    def _remove_writer(self, fd: Any) -> bool:
        return not self.is_closed() and self._watches.remove(fd, True)

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        """Refuse the descriptor of an open transport."""
        number = fileno_of(fd)
        transport = self._transports.get(number) or self._streams.get(number)
        if transport is not None and not transport.is_closing() and transport._owns(number):
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")

    # --- transports -------------------------------------------------------------------------------

    def _adopt(self, sock: Any) -> tuple[Any, Any]:
        """Return the Socket for `sock`, and the socket.socket that owns the descriptor, if any."""
        if not isinstance(sock, socket.socket):
            return sock, None
        self._ensure_fd_no_transport(sock)
        core = self._port.adopt(sock, borrow=True)
        lend(sock)
        return core, sock

    def _end(self, core: Socket, sock: socket.socket | None) -> None:
        """Close a Socket, and then the socket.socket whose descriptor it has borrowed."""
        core.close(0)
        if sock is not None:
            self._borrowed[core] = sock
            self._close_borrowed(core)

    def _close_borrowed(self, core: Socket) -> None:
        """Close the borrowed socket.socket once the kernel holds no request on its descriptor.

        That may be in a later turn.
        """
        if core.closed:
            give_back(self._borrowed.pop(core))
        else:
            self.call_soon_threadsafe(self._close_borrowed, core)

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        peer: bytes | None = None,
    ) -> StreamTransport:
        core, owner = self._adopt(sock)
        return StreamTransport(self, core, owner, protocol, waiter, extra, server, peer)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        peer: bytes | None = None,
        **timeouts: Any,
    ) -> Any:
        ssl_protocol = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            **timeouts,
        )
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, peer=peer)
        return ssl_protocol._app_transport

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> DatagramTransport:
        core, owner = self._adopt(sock)
        return DatagramTransport(self, core, owner, protocol, address, waiter, extra)

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int) -> int:
        sent: int = await transp._send_file(file, offset, count)
        return sent

    # --- servers ----------------------------------------------------------------------------------

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        timeouts = {"ssl_handshake_timeout": ssl_handshake_timeout}
        if ssl_shutdown_timeout is not None:  # from Python 3.11 on
            timeouts["ssl_shutdown_timeout"] = ssl_shutdown_timeout
        context = contextvars.copy_context()

        def accepted(core: Socket, peer: bytes | None = None) -> None:
            if self.is_closed():
                core.close(0)
                return
            context.copy().run(
                self._accepted, core, peer, protocol_factory, sslcontext, server, timeouts
            )

        def failed(_core: Socket, exc: OSError) -> None:
            if isinstance(exc, ConnectionAbortedError):
                return  # the client has gone
            self.call_exception_handler(
                {
                    "message": "socket.accept() out of system resource",
                    "exception": exc,
                    "socket": trsock.TransportSocket(sock),
                }
            )

        listener = self._port.adopt(sock, borrow=True)
        listener.accept_each(accepted, on_error=failed, _names_peers=True)
        lend(sock)
        self._listeners[sock.fileno()] = listener, sock

    def _accepted(
        self,
        core: Socket,
        peer: bytes | None,
        protocol_factory: Any,
        sslcontext: Any,
        server: Any,
        timeouts: Any,
    ) -> None:
        protocol = transport = None
        try:
            protocol = protocol_factory()
            if sslcontext:
                waiter = self.create_future()
                waiter.add_done_callback(
                    lambda done: self._handshake_done(done, protocol, transport)
                )
                transport = self._make_ssl_transport(
                    core,
                    protocol,
                    sslcontext,
                    waiter,
                    server_side=True,
                    server=server,
                    peer=peer,
                    **timeouts,
                )
            else:
                transport = self._make_socket_transport(core, protocol, server=server, peer=peer)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            core.close(0)
            self._report_accept(exc, protocol, transport)

    def _handshake_done(self, done: asyncio.Future[Any], protocol: Any, transport: Any) -> None:
        exc = None if done.cancelled() else done.exception()
        if exc is not None:
            transport.close()
            self._report_accept(exc, protocol, transport)

    def _report_accept(self, exc: BaseException, protocol: Any, transport: Any) -> None:
        if not self._debug:
            return
        context = {
            "message": "Error on transport creation for incoming connection",
            "exception": exc,
        }
        if protocol is not None:
            context["protocol"] = protocol
        if transport is not None:
            context["transport"] = transport
        self.call_exception_handler(context)

    def _stop_serving(self, sock: socket.socket) -> None:
        listener, lent = self._listeners.pop(sock.fileno(), (None, None))
        if listener is None:
            sock.close()
        else:
            self._end(listener, lent)


_SHOWS_ARGUMENTS_IN_DEBUG = "debug" in signature(format_helpers._format_callback_source).parameters


def callback_source(handle: _core.Handle, debug: bool) -> str:
    """Name a handle's callback in asyncio's words. From Python 3.13 on they depend on the mode."""
    options = {"debug": debug} if _SHOWS_ARGUMENTS_IN_DEBUG else {}
    source: str = format_helpers._format_callback_source(
        handle._callback, handle._args or (), **options
    )
    return source


def _forget_frames(handle: Any, count: int) -> None:
    """Let the traceback of a handle end at the caller of the loop."""
    if handle._source_traceback:
        del handle._source_traceback[-count:]


def _report_slow(name: str, seconds: float) -> None:
    logger.warning("Executing %s took %.3f seconds", name, seconds)
