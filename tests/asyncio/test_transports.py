"""Stream transports: writes, limits, pauses, closes and errors, as on asyncio's own loops."""

import asyncio
import contextlib
import gc
import socket
import struct

import pytest

from support import AF_UNIX, FAMILIES, descriptors, pattern


class Recorder(asyncio.Protocol):
    """A protocol that records its callbacks, and lets a test wait for one."""

    def __init__(self):
        self.calls = []
        self.data = b""
        self.changed = asyncio.Event()

    def note(self, name, value=None):
        self.calls.append((name, value))
        self.changed.set()

    def names(self):
        return [name for name, _ in self.calls]

    async def until(self, condition):
        """Wait until the condition holds."""
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def called(self, name):
        """Wait until the named callback has been called, and return its argument."""
        await self.until(lambda: name in self.names())
        return dict(self.calls)[name]

    def connection_made(self, transport):
        self.transport = transport
        self.note("connection_made")

    def data_received(self, data):
        self.data += data
        self.note("data_received", data)

    def eof_received(self):
        self.note("eof_received")

    def pause_writing(self):
        self.note("pause_writing")

    def resume_writing(self):
        self.note("resume_writing")

    def connection_lost(self, exc):
        self.note("connection_lost", exc)


@pytest.fixture(params=FAMILIES)
def ends(request):
    """Make a connected pair of raw sockets: one for the loop, one for the test."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            theirs = socket.socket()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            theirs.connect(listener.getsockname())
            ours, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with ours, theirs:
        yield ours, theirs


async def attach(ours, protocol=None):
    """Make a transport for a connected raw socket; return the transport and its protocol."""
    loop = asyncio.get_running_loop()
    protocol = protocol or Recorder()
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
    return transport, protocol


def fill(ours, theirs):
    """Send until the system's buffers are full; return the number of sent bytes."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += ours.send(bytes(65536))
    with contextlib.suppress(BlockingIOError):
        while True:
            total += ours.send(b"x")
    return total


async def read(theirs, count):
    """Read exactly `count` bytes from the raw socket."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count:
        part = await loop.sock_recv(theirs, count - len(data))
        assert part, f"the stream ended after {len(data)} bytes"
        data += part
    return bytes(data)


def test_echo(run, ends):
    """R33: a transport receives the peer's data, and the peer receives the transport's writes."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        await loop.sock_sendall(ends[1], b"abc")
        assert await protocol.called("data_received") == b"abc"
        transport.write(b"def")
        assert await read(ends[1], 3) == b"def"
        transport.close()
        assert await protocol.called("connection_lost") is None
        assert ends[0].fileno() == -1

    run(main())


def test_the_socket_behind_a_transport(run, ends):
    """get_extra_info('iocp_sock') is the port's Socket; asyncio's own names also work."""

    async def main():
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0)
        core = transport.get_extra_info("iocp_sock")
        assert core.port is asyncio.get_running_loop().port
        assert core.receiving_by == "pooled"
        assert transport.get_extra_info("socket").fileno() == core.fileno()
        transport.close()
        await protocol.called("connection_lost")

    run(main())


@pytest.mark.parametrize("size", [1, 10, 1 << 20])
def test_close_sends_what_is_queued(run, ends, size):
    """close() first sends all queued data, even a single byte, and then ends the connection."""

    async def main():
        transport, protocol = await attach(ends[0])
        filled = fill(ends[0], ends[1])
        data = pattern(size)
        transport.write(data)
        assert transport.get_write_buffer_size() == size
        transport.close()
        assert transport.is_closing()
        assert (await read(ends[1], filled + size))[filled:] == data
        assert await protocol.called("connection_lost") is None
        assert ends[1].recv(1) == b""

    run(main())


def test_a_limit_of_nothing_pauses_at_one_byte(run, ends):
    """R33: at a high limit of 0 one queued byte pauses the protocol; an empty queue resumes it."""

    async def main():
        transport, protocol = await attach(ends[0])
        transport.set_write_buffer_limits(high=0)
        filled = fill(ends[0], ends[1])
        transport.write(b"x")
        assert protocol.names()[-1] == "pause_writing"
        await read(ends[1], filled + 1)
        await protocol.called("resume_writing")
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_writing_while_reading_is_paused(run, ends):
    """R33: after pause_reading() in connection_made() writing is still paused and resumed."""

    class Proxy(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()
            transport.write(bytes(4 << 20))

    async def main():
        transport, protocol = await attach(ends[0], Proxy())
        assert "pause_writing" in protocol.names()
        await read(ends[1], 4 << 20)
        await protocol.called("resume_writing")
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_a_write_between_the_fall_and_the_resume(run, ends):
    """R33: resume_writing() follows when the queue has fallen to the low limit.

    That holds even if a handle writes again in the same turn.
    """

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        transport.set_write_buffer_limits(high=100_000, low=1000)
        filled = fill(ends[0], ends[1])
        transport.write(bytes(200_000))
        assert protocol.names()[-1] == "pause_writing"
        stop = False

        def trickle():
            if not stop:
                if transport.get_write_buffer_size() < 1000:
                    transport.write(bytes(2000))
                loop.call_soon(trickle)

        loop.call_soon(trickle)
        reading = loop.create_task(read(ends[1], filled + 200_000))
        await protocol.called("resume_writing")
        stop = True
        await reading
        transport.abort()
        await protocol.called("connection_lost")

    run(main())


def test_errors_of_queued_writes_end_a_closing_transport(run, ends):
    """R33: a reset ends a closing transport with queued writes; its protocol gets the error."""

    async def main():
        transport, protocol = await attach(ends[0])
        fill(ends[0], ends[1])
        transport.write(bytes(1 << 20))
        transport.close()
        ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends[1].close()
        assert isinstance(await protocol.called("connection_lost"), OSError)

    run(main())


def test_a_reset_reaches_a_writer_that_does_not_read(run, ends):
    """R33: a reset ends a transport that has queued writes and does not read."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        transport.pause_reading()
        await loop.sock_sendall(ends[1], b"unread")
        fill(ends[0], ends[1])
        transport.write(bytes(1 << 20))
        ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends[1].close()
        assert isinstance(await protocol.called("connection_lost"), OSError)

    run(main())


def test_an_answer_arrives_before_the_error_of_a_write(run, ends):
    """R33: a peer's last data is delivered before its close fails the queued writes."""

    async def main():
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0)
        transport.write(bytes(3 << 20))
        ends[1].send(b"answer")
        ends[1].close()
        assert isinstance(await protocol.called("connection_lost"), ConnectionError)
        assert protocol.data == b"answer"

    run(main())


def test_a_writer_in_a_loop_meets_the_error(run, ends):
    """R33: a StreamWriter that only writes and drains gets ConnectionError once its peer closes."""

    async def main():
        unix = ends[0].family == AF_UNIX
        connect = asyncio.open_unix_connection if unix else asyncio.open_connection
        _, writer = await connect(sock=ends[0])
        ends[1].close()

        async def write_for_ever():
            while True:
                writer.write(b"x")
                await writer.drain()

        with pytest.raises(ConnectionError):
            await write_for_ever()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    run(main())


def test_a_write_between_a_reset_and_its_report(run, ends):
    """R33: connection_lost() gets ConnectionError for a reset, even if a write meets it first."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0.001)
        transport.write(b"unread")
        ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ends[1].close()
        loop.call_soon(transport.write, b"x")
        loop.call_soon(loop.call_soon, transport.write, b"y")
        assert isinstance(await protocol.called("connection_lost"), ConnectionError)

    run(main())


def test_abort_loses_what_is_queued(run, ends):
    """abort() of a transport calls connection_lost(None) once, in the next turn of the loop."""

    async def main():
        transport, protocol = await attach(ends[0])
        fill(ends[0], ends[1])
        transport.write(bytes(1 << 20))
        transport.abort()
        transport.abort()
        assert "connection_lost" not in protocol.names()
        assert await protocol.called("connection_lost") is None
        await asyncio.sleep(0)
        assert protocol.names().count("connection_lost") == 1

    run(main())


def test_reading_pauses_at_once(run, ends):
    """R33: after pause_reading() no data is delivered; resume_reading() delivers what arrived."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        await loop.sock_sendall(ends[1], b"one")
        await protocol.called("data_received")
        transport.pause_reading()
        assert not transport.is_reading()
        await loop.sock_sendall(ends[1], b"two")
        for _ in range(10):
            await asyncio.sleep(0)
        assert protocol.data == b"one"
        transport.resume_reading()
        await protocol.until(lambda: protocol.data == b"onetwo")
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_a_protocol_that_writes_when_it_is_resumed_by_a_close(run, ends):
    """R33: after close() a paused protocol is still resumed, and data it then writes is sent."""

    class Backlog(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.write(b"backlog")

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0], Backlog())
        filled = fill(ends[0], ends[1])
        transport.write(bytes(1 << 20))
        assert protocol.names()[-1] == "pause_writing"

        def close_once_all_went():
            # The last bytes leave the queue before their completion is handed out, so the protocol
            # is still paused at this close().
            if transport.get_write_buffer_size() == 0:
                transport.close()
            else:
                loop.call_soon(close_once_all_went)

        close_once_all_went()
        received = await read(ends[1], filled + (1 << 20) + len(b"backlog"))
        assert received.endswith(b"backlog")
        assert await protocol.called("connection_lost") is None

    run(main())


@pytest.mark.parametrize("keep", [False, True])
def test_the_end_of_the_stream(run, ends, keep):
    """A transport closes after eof_received() unless that returns true; then it can still write."""

    class Half(Recorder):
        def eof_received(self):
            super().eof_received()
            return keep

    async def main():
        transport, protocol = await attach(ends[0], Half())
        ends[1].shutdown(socket.SHUT_WR)
        await protocol.called("eof_received")
        assert transport.is_closing() is not keep
        if keep:
            transport.write(b"late")
            transport.write_eof()
            assert await read(ends[1], 4) == b"late"
            transport.close()
        await protocol.called("connection_lost")
        assert await asyncio.get_running_loop().sock_recv(ends[1], 1) == b""

    run(main())


def test_write_eof_follows_what_is_queued(run, ends):
    """write_eof() ends the stream behind the queued writes; reading goes on."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        filled = fill(ends[0], ends[1])
        transport.write(b"last")
        transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.write(b"more")
        assert (await read(ends[1], filled + 4))[filled:] == b"last"
        assert await loop.sock_recv(ends[1], 1) == b""
        await loop.sock_sendall(ends[1], b"answer")
        await protocol.called("data_received")
        transport.close()
        await protocol.called("connection_lost")

    run(main())


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_protocol_with_a_buffer_of_its_own(run, ends, size):
    """R33: a BufferedProtocol gets every byte in its own buffer, even if that holds only one."""

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.memory = bytearray(size)
            self.data = bytearray()
            self.lost = asyncio.get_running_loop().create_future()

        def get_buffer(self, _hint):
            return self.memory

        def buffer_updated(self, count):
            self.data += self.memory[:count]

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        _, protocol = await attach(ends[0], Buffered())
        data = pattern(10_000)
        await asyncio.get_running_loop().sock_sendall(ends[1], data)
        ends[1].close()
        assert await protocol.lost is None
        assert bytes(protocol.data) == data

    run(main())


def test_a_buffer_is_delivered_through_a_pause(run, ends):
    """R33: a BufferedProtocol that pauses amid a delivery gets the rest after it resumes."""

    class Pausing(asyncio.BufferedProtocol):
        def __init__(self):
            self.memory = bytearray(3)
            self.data = bytearray()
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.transport = transport

        def get_buffer(self, _hint):
            return self.memory

        def buffer_updated(self, count):
            self.data += self.memory[:count]
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        loop = asyncio.get_running_loop()
        _, protocol = await attach(ends[0], Pausing())
        for at in range(0, 300, 30):
            await loop.sock_sendall(ends[1], pattern(300)[at : at + 30])
        ends[1].close()
        await protocol.lost
        assert bytes(protocol.data) == pattern(300)

    run(main())


def test_a_protocol_that_raises_is_closed(loop, ends):
    """R33: an exception in data_received() goes to the exception handler; the transport closes."""

    class Failing(Recorder):
        def data_received(self, data):
            raise ValueError("no")

    async def main():
        _, protocol = await attach(ends[0], Failing())
        await asyncio.get_running_loop().sock_sendall(ends[1], b"x")
        assert isinstance(await protocol.called("connection_lost"), ValueError)

    loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert [type(context["exception"]) for context in loop.errors] == [ValueError]
    loop.errors.clear()  # its traceback keeps what was received


def test_a_file_keeps_its_place_among_the_writes(run, ends, tmp_path):
    """sendfile() sends the file behind earlier writes and before later ones."""

    async def main():
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        path.write_bytes(pattern(300_000))
        transport, protocol = await attach(ends[0])
        transport.write(b"head")
        reading = loop.create_task(read(ends[1], 4 + 300_000 + 4))
        with path.open("rb") as file:
            assert await loop.sendfile(transport, file, fallback=False) == 300_000
            assert file.tell() == 300_000
        transport.write(b"tail")
        assert await reading == b"head" + pattern(300_000) + b"tail"
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_a_loop_that_closes_calls_no_protocol(make_loop, ends):
    """loop.close() drops open transports without a call to their protocols."""
    loop = make_loop()
    protocol = None

    async def main():
        nonlocal protocol
        _, protocol = await attach(ends[0])
        await loop.sock_sendall(ends[1], b"x")

    loop.run_until_complete(main())
    ends[1].send(b"late")
    calls = list(protocol.calls)
    loop.close()
    assert protocol.calls == calls
    protocol = None
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        gc.collect()
    assert ends[0].fileno() == -1


def test_what_is_written_may_be_changed_afterwards(run, ends):
    """write() sends the bytes that a bytearray has at the call, whatever it contains later."""

    async def main():
        transport, protocol = await attach(ends[0])
        filled = fill(ends[0], ends[1])
        data = bytearray(b"before")
        transport.write(data)
        transport.write(memoryview(data))
        data[:] = b"after!"
        assert (await read(ends[1], filled + 12))[filled:] == b"beforebefore"
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_descriptors_of_a_thousand_connections(run):
    """R33: connections that are opened and closed leave no descriptor."""

    async def main():
        loop = asyncio.get_running_loop()
        accepted = []
        server = await loop.create_server(
            lambda: accepted.append(Recorder()) or accepted[-1], "127.0.0.1", 0
        )
        address = server.sockets[0].getsockname()
        open_before = len(descriptors())
        for _ in range(10):
            clients = await asyncio.gather(
                *(loop.create_connection(Recorder, *address) for _ in range(100))
            )
            for transport, _ in clients:
                transport.close()
            for _, protocol in clients:
                await protocol.called("connection_lost")
            for protocol in accepted:
                await protocol.called("connection_lost")
        assert len(descriptors()) == open_before
        server.close()
        await server.wait_closed()

    run(main())
