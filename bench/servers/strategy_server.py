"""An echo server with the given strategies. It answers a line on stdin with its ledger.

If the build or the backend lacks a strategy, the server ends before it prints its port, with the
reason as the last line on stderr.
"""

import json
import os
import socket
import sys

import iocp_sock
from bench.servers import shape


def _echo(conn: iocp_sock.Socket, data: iocp_sock.Buffer) -> None:
    if data:
        conn.send(data)
    else:
        conn.close()


class Strategies:
    """Applies the strategies to each connection, and keeps the first failure."""

    def __init__(self, receive: str, send: str, block: int) -> None:
        self.served = 0
        self.failure: BaseException | None = None
        self._receive = receive
        self._send = send
        self._block = block

    def serve(self, conn: iocp_sock.Socket) -> None:
        conn.nodelay = True
        if self._send != "buffered":  # the default of every build
            if not hasattr(conn, "send_strategy"):
                raise NotImplementedError("this build has no send strategies; install a newer one")
            conn.send_strategy = self._send
        conn.receive(_echo, receive=self._receive, size=self._block)
        self.served += 1

    def failed(self, error: BaseException, source: object) -> None:
        self.failure = self.failure or error


def _try(port: iocp_sock.Port, listener: iocp_sock.Socket, strategies: Strategies) -> None:
    """Serves one connection, and ends the program if a strategy is missing."""
    with socket.create_connection(listener.getsockname()) as probe:
        while not strategies.served and strategies.failure is None:
            port.run_once(1)
        if strategies.failure is None:
            probe.sendall(b"probe")
            probe.settimeout(0)
            while not _answered(probe):
                port.run_once(0.01)
    if strategies.failure is not None:
        print(strategies.failure, file=sys.stderr, flush=True)
        os._exit(3)
    while port.stats().sockets > 1:
        port.run_once(0.01)


def _answered(probe: socket.socket) -> bool:
    try:
        return bool(probe.recv(5))
    except BlockingIOError:
        return False


def _answer(port: iocp_sock.Port) -> None:
    ledger = port.ledger
    fields = ("now", "peak", "kernel_locked", "registered")
    print(json.dumps({name: getattr(ledger, name) for name in fields}), flush=True)


def main() -> None:
    parser = shape.parser()
    parser.add_argument("--backend", choices=["uring", "epoll"], required=True)
    parser.add_argument("--receive", default="pooled")
    parser.add_argument("--send", default="buffered")
    parser.add_argument("--block", type=int, default=4096, help="bytes of a buffer posted (direct)")
    options = parser.parse_args()
    strategies = Strategies(options.receive, options.send, options.block)
    with iocp_sock.Port(backend=options.backend) as port:
        port.error_handler = strategies.failed
        listener = port.listen((shape.HOST, 0), backlog=shape.BACKLOG)
        listener.accept_each(strategies.serve)
        _try(port, listener, strategies)
        port.error_handler = None
        print(listener.getsockname()[1], flush=True)
        shape.answer_stdin(lambda: port.post(callback=lambda _completion: _answer(port)))
        port.run()


if __name__ == "__main__":
    main()
