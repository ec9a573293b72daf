"""``iocp-sock echo``: an echo server that runs until Ctrl-C."""

import contextlib
import signal
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from iocp_sock import Port
from iocp_sock.cli import address, limits
from iocp_sock.cli.choices import Backend, Receive
from iocp_sock.cli.server import EchoServer, controlled

_CLOSE_SECONDS = 3.0


def echo(
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="The address to listen on; an IPv6 host in brackets.",
        ),
    ],
    backend: Annotated[
        Backend | None, typer.Option(help="The backend.", show_default="best")
    ] = None,
    receive: Annotated[
        Receive, typer.Option(help="The receive strategy of the connections.")
    ] = "pooled",
    control: Annotated[
        bool | None,
        typer.Option(
            help="Serve a control socket for 'iocp-sock top' of this user.",
            show_default="if the system allows one",
        ),
    ] = None,
) -> None:
    """Send all received data back, until Ctrl-C."""
    where = _address(listen)
    limits.raise_open_files()
    for name in ("SIGTERM", "SIGBREAK"):  # SIGBREAK is Ctrl-Break on Windows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    with Port(backend=backend) as port, controlled(port, "echo", control):
        server = _listen(port, where, receive)
        console = Console(soft_wrap=True, highlight=False)
        bound = address.written(server.listener.getsockname())
        found = f"{port.backend} ({port.backend_reason})"
        with contextlib.suppress(KeyboardInterrupt):
            console.print(f"listening on {bound}: {found}, {receive} receives", markup=False)
            _serve(port, server, console)
        _close(port, server, console)


def _address(text: str) -> tuple[Any, ...]:
    try:
        return address.resolve(*address.parse(text))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from None


def _listen(port: Port, where: tuple[Any, ...], receive: Receive) -> EchoServer:
    try:
        return EchoServer(port, where, receive)
    except OSError as error:
        raise SystemExit(
            f"iocp-sock: cannot listen on {address.written(where)}: {error.strerror or error}"
        ) from None


def _serve(port: Port, server: EchoServer, console: Console) -> None:
    if not console.is_terminal:
        port.run()
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        RateLine(port, server, live)
        port.run()


def _close(port: Port, server: EchoServer, console: Console) -> None:
    open_connections = server.connections
    server.listener.close()
    port.close(timeout=_CLOSE_SECONDS)
    console.print(
        f"stopped: closed {open_connections:,} connections, {server.messages:,} messages echoed"
    )


class RateLine:
    """The line of rates, which a timer of the port renews once a second."""

    def __init__(self, port: Port, server: EchoServer, live: Live) -> None:
        self._port = port
        self._server = server
        self._live = live
        self._messages = server.messages
        self._bytes = server.bytes
        self._time = time.monotonic()
        port.call_later(1.0, self._renew)

    def _renew(self) -> None:
        server, now = self._server, time.monotonic()
        elapsed = now - self._time
        messages = (server.messages - self._messages) / elapsed
        megabytes = (server.bytes - self._bytes) / elapsed / 1e6
        charged = self._port.ledger.now
        line = (
            f"{server.connections:,} connections, {messages:,.0f} messages/s,"
            f" {megabytes:,.1f} MB/s, {charged:,} bytes charged"
        )
        self._live.update(Text(line), refresh=True)
        self._messages, self._bytes, self._time = server.messages, server.bytes, now
        self._port.call_later(1.0, self._renew)
