"""An echo server as an asyncio.Protocol, on the loop of asyncio, uvloop, winloop or iocp_sock."""

import asyncio
import importlib
from typing import ClassVar, cast

from bench.servers import shape


class Echo(asyncio.Protocol):
    """Sends received data back."""

    __slots__ = ("transport",)
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Pieces(Echo):
    """Answers each request with several writes. A request is small, so it arrives in one piece."""

    __slots__ = ()
    pieces: ClassVar[list[bytes]] = []

    def data_received(self, data: bytes) -> None:
        for piece in self.pieces:
            self.transport.write(piece)


class Gathered(Pieces):
    """Writes all pieces of a reply in one call."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self.transport.writelines(self.pieces)


class Buffered(asyncio.BufferedProtocol):
    """Sends received data back, from memory of its own that the loop has filled."""

    __slots__ = ("transport",)
    transport: asyncio.Transport
    memory: ClassVar[memoryview] = memoryview(bytearray(256 << 10))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.memory[:nbytes]))


LOOPS = ["asyncio", "uvloop", "winloop", "uring", "epoll"]


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name in ("uring", "epoll"):
        from iocp_sock.asyncio import new_event_loop

        return new_event_loop(backend=name)
    if name != "asyncio":
        loop: asyncio.AbstractEventLoop = importlib.import_module(name).new_event_loop()
        return loop
    return asyncio.new_event_loop()


def main() -> None:
    parser = shape.parser()
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--writelines", action="store_true", help="write the pieces in one call")
    parser.add_argument("--buffered", action="store_true", help="receive into own memory")
    options = parser.parse_args()
    Pieces.pieces = shape.pieces(options)
    protocol: type[asyncio.BaseProtocol] = (
        Buffered
        if options.buffered
        else Echo
        if options.pieces == 1
        else Gathered
        if options.writelines
        else Pieces
    )
    loop = new_loop(options.loop)
    server = loop.run_until_complete(
        loop.create_server(protocol, shape.HOST, 0, backlog=shape.BACKLOG)
    )
    shape.announce(server.sockets[0].getsockname()[1])
    loop.run_forever()


if __name__ == "__main__":
    main()
