"""An echo server with a second listener, which sends 1 MiB at once to each connection.

The server answers a line on stdin with the port of the second listener, the charge of the ledger,
and figures of the sends.
"""

import json

import iocp_sock
from bench.servers import shape

CHUNK = bytes(16 << 10)
TOTAL = 1 << 20


def _echo(conn: iocp_sock.Socket, data: iocp_sock.Buffer) -> None:
    if data:
        conn.send(data)
    else:
        conn.close()


class Flood:
    """Connections that each get TOTAL bytes, as far as their caps allow."""

    def __init__(self) -> None:
        self.open: set[iocp_sock.Socket] = set()
        self.sent = 0
        self.refused = 0
        self.paused = 0

    def serve(self, conn: iocp_sock.Socket) -> None:
        self.open.add(conn)
        conn.set_send_marks(on_pause=self._pause)
        conn.receive(self._ignore, on_close=self._gone)
        for _ in range(TOTAL // len(CHUNK)):
            try:
                conn.send(CHUNK)
                self.sent += len(CHUNK)
            except iocp_sock.BudgetExceeded:
                self.refused += len(CHUNK)

    def _pause(self, _conn: iocp_sock.Socket) -> None:
        self.paused += 1

    def _ignore(self, conn: iocp_sock.Socket, data: iocp_sock.Buffer) -> None:
        if not data:
            conn.abort()

    def _gone(self, conn: iocp_sock.Socket, _error: OSError | None) -> None:
        self.open.discard(conn)


def main() -> None:
    parser = shape.parser()
    parser.add_argument("--backend", choices=["uring", "epoll"], required=True)
    parser.add_argument("--cap", type=int, required=True, help="bytes queued to send per socket")
    options = parser.parse_args()
    flood = Flood()
    with iocp_sock.Port(
        backend=options.backend,
        send_high=options.cap // 2,
        send_low=options.cap // 4,
        send_cap=options.cap,
    ) as port:
        listener = port.listen((shape.HOST, 0), backlog=shape.BACKLOG)
        listener.accept_each(lambda conn: conn.receive(_echo))
        flooded = port.listen((shape.HOST, 0), backlog=shape.BACKLOG)
        # Fixes the send buffer, because otherwise the kernel enlarges it until it holds all the
        # data.
        flooded.send_buffer = 64 << 10
        flooded.accept_each(flood.serve)

        def answer(_completion: iocp_sock.Completion) -> None:
            figures = {
                "port": flooded.getsockname()[1],
                "connections": len(flood.open),
                "queued": sum(conn.queued_bytes for conn in flood.open),
                "max_queued": max((conn.queued_bytes for conn in flood.open), default=0),
                "charged": port.ledger.now,
                "sent": flood.sent,
                "refused": flood.refused,
                "paused": flood.paused,
            }
            print(json.dumps(figures), flush=True)

        print(listener.getsockname()[1], flush=True)
        shape.answer_stdin(lambda: port.post(callback=answer))
        port.run()


if __name__ == "__main__":
    main()
