"""An echo server at the stream level of iocp_sock, with a given backend and receive strategy."""

import socket

import iocp_sock
from bench.servers import shape


def _echo(conn: iocp_sock.Socket, data: iocp_sock.Buffer) -> None:
    if data:
        conn.send(data)
    else:
        conn.close()


_pieces: list[bytes] = []


def _answer(conn: iocp_sock.Socket, data: iocp_sock.Buffer) -> None:
    """Answers each request with several sends. A request is small, so it arrives in one piece."""
    if data:
        for piece in _pieces:
            conn.send(piece)
    else:
        conn.close()


def main() -> None:
    parser = shape.parser()
    parser.add_argument("--backend", choices=["uring", "epoll", "iocp"], required=True)
    parser.add_argument("--receive", choices=["pooled", "zero_byte", "direct"], default="pooled")
    parser.add_argument("--block", type=int, default=4096, help="bytes of a posted buffer (direct)")
    options = parser.parse_args()
    _pieces[:] = shape.pieces(options)
    on_data = _echo if options.pieces == 1 else _answer

    def serve(conn: iocp_sock.Socket) -> None:
        # Sets TCP_NODELAY, because the transports of the other servers do.
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.receive(on_data, receive=options.receive, size=options.block)

    with iocp_sock.Port(backend=options.backend) as port:
        listener = port.listen((shape.HOST, 0), backlog=shape.BACKLOG)
        listener.accept_each(serve)
        shape.announce(listener.getsockname()[1])
        port.run()


if __name__ == "__main__":
    main()
