"""Lifetimes of stream transports, of their descriptors and names, and of the threads of a loop."""

import asyncio
import contextlib
import gc
import os
import socket
import struct
import threading
import warnings
import weakref

import pytest
from test_transports import Recorder, attach, fill, read

from iocp_sock._core import StreamBase
from support import linux_only, pattern


def reset(sock):
    """Close a raw socket by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_transport_may_be_dropped_in_its_own_callback(run, ends):
    """R38: the last reference of the program may go in data_received()."""

    class Forgetful(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()
            del self.transport
            gc.collect()

    async def main():
        protocol = Forgetful()
        await attach(ends[0], protocol)
        ends[1].send(b"x")
        assert await protocol.called("connection_lost") is None

    run(main())


@pytest.mark.parametrize("how", ["paused", "never read", "half closed"])
def test_a_transport_that_nothing_needs_is_collected(run, ends, how):
    """R33: a transport that does not read, and has sent all, is closed by the collector."""

    class Quiet(asyncio.Protocol):
        def connection_made(self, transport):
            if how == "never read":
                transport.pause_reading()

        def eof_received(self):
            return True

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0], Quiet())
        await asyncio.sleep(0)
        if how == "half closed":
            ends[1].shutdown(socket.SHUT_WR)
            while not transport._read_ended:
                await asyncio.sleep(0)
        elif how == "paused":
            transport.pause_reading()
            transport.resume_reading()
            transport.pause_reading()
        transport.write(b"last")
        assert await read(ends[1], 4) == b"last"
        gone = weakref.ref(transport)
        del transport, protocol
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            for _ in range(3):
                await asyncio.sleep(0)
                gc.collect()
        assert any("unclosed transport" in str(one.message) for one in warned)
        assert gone() is None
        assert await loop.sock_recv(ends[1], 1) == b""

    run(main())


@pytest.mark.parametrize("how", ["reading", "writing"])
def test_a_transport_at_work_is_kept(run, ends, how):
    """R33: a transport that reads, or has something to send, needs no reference."""

    async def main():
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0)
        filled = 0
        if how == "writing":
            transport.pause_reading()
            filled = fill(*ends)
            transport.write(b"last")
        else:
            ends[1].send(b"x")
        gone = weakref.ref(transport)
        del transport
        protocol.transport = None
        gc.collect()
        assert gone() is not None
        if how == "writing":
            assert (await read(ends[1], filled + 4))[filled:] == b"last"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                while gone() is not None:
                    await asyncio.sleep(0)
                    gc.collect()
        else:
            await protocol.until(lambda: protocol.data == b"x")
            gone().abort()
            await protocol.called("connection_lost")

    run(main())


def test_extra_information_outlives_the_connection(run, ends):
    """R33: get_extra_info() answers after connection_lost(), also if nobody has asked before."""

    async def main():
        names = ends[0].getsockname(), ends[0].getpeername()
        transport, protocol = await attach(ends[0])
        transport.close()
        await protocol.called("connection_lost")
        assert transport.get_extra_info("sockname") == names[0]
        assert transport.get_extra_info("peername") == names[1]
        assert transport.get_extra_info("socket").fileno() == -1
        assert transport.get_extra_info("unknown", 7) == 7

    run(main())


def test_the_native_base_alone_does_no_harm(make_loop):
    """R38: an object without a Socket raises, or does nothing, whatever is called."""
    make_loop()

    class Bare(StreamBase):
        pass

    for kind in (StreamBase, Bare):
        base = kind.__new__(kind)
        assert base.get_write_buffer_size() == 0
        assert base.is_reading()
        assert not base.is_closing()
        assert base.get_protocol() is None
        for call in (
            lambda base=base: base.write(b"x"),
            lambda base=base: base.writelines([b"x"]),
            lambda base=base: base.get_extra_info("socket"),
            lambda base=base: base._open(None, None, None, None),
        ):
            with pytest.raises((AttributeError, TypeError)):
                call()
        for name in ("_core", "_sock", "_context"):
            with pytest.raises(AttributeError):
                setattr(base, name, 1)
        base._protocol = base
        assert base._give_up() == (None, None)
        base._flush()
        base._unsubscribe()
        gone = weakref.ref(base)
        del base, call
        gc.collect()
        assert gone() is None


@linux_only("Windows drops a connection that was reset before its accept")
def test_a_connection_that_was_reset_before_it_was_accepted(run):
    """R33: its peer has a name, and its descriptor is open until connection_lost() has returned."""

    class Watching(Recorder):
        def connection_lost(self, exc):
            number = self.transport.get_extra_info("socket").fileno()
            self.note("descriptor", number)
            os.fstat(number)
            self.note("connection_lost", exc)

    async def main():
        loop = asyncio.get_running_loop()
        made = []

        def factory():
            made.append(Watching())
            return made[-1]

        listener = socket.create_server(("127.0.0.1", 0))
        peer = socket.create_connection(listener.getsockname())
        name = peer.getsockname()
        reset(peer)
        server = await loop.create_server(factory, sock=listener)
        while not made:
            await asyncio.sleep(0)
        error = await made[0].called("connection_lost")
        assert error is None or isinstance(error, ConnectionError)
        transport = made[0].transport
        assert transport.get_extra_info("peername") == name
        assert dict(made[0].calls)["descriptor"] >= 0
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lent_socket_may_be_closed_by_its_owner(run, ends, when):
    """R33: the transport goes on, and its number is no other file's, until it has ended."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        if when == "after":
            await asyncio.sleep(0)
        number = ends[0].fileno()
        ends[0].close()
        with open(os.devnull) as file:
            assert file.fileno() != number
        transport.write(b"x" * 10)
        assert await read(ends[1], 10) == b"x" * 10
        await loop.sock_sendall(ends[1], b"answer")
        await protocol.until(lambda: protocol.data == b"answer")
        transport.close()
        await protocol.called("connection_lost")
        assert await loop.sock_recv(ends[1], 1) == b""
        with pytest.raises(OSError, match=r"."):
            socket.socket(fileno=number)

    run(main())


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_sendfile_leaves_the_stream_usable(run, ends, tmp_path, times):
    """R33: it stops where it is, the file's position says where, and writes follow."""

    async def main():
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        size = 64 << 20
        path.write_bytes(pattern(1 << 20) * 64)
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0)
        with path.open("rb") as file:
            sending = loop.create_task(loop.sendfile(transport, file, fallback=False))
            begun = bytearray(await read(ends[1], 1000))
            for _ in range(times):
                sending.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await sending
            sent = file.tell()
        assert 1000 <= sent < size
        transport.write(b"tail")
        begun += await read(ends[1], sent + 4 - 1000)
        assert begun[-4:] == b"tail"
        assert begun[:-4] == (pattern(1 << 20) * (sent // (1 << 20) + 1))[:sent]
        transport.close()
        assert await protocol.called("connection_lost") is None
        assert await loop.sock_recv(ends[1], 1) == b""

    run(main())


@linux_only("os.fork()")
def test_a_forked_child_can_close_what_it_inherits(run):
    """R33: a child that closes its copy of the loop keeps no accepted connection open."""

    async def main():
        loop = asyncio.get_running_loop()
        made = []
        server = await loop.create_server(
            lambda: made.append(Recorder()) or made[-1], "127.0.0.1", 0
        )
        peer = socket.create_connection(server.sockets[0].getsockname())
        peer.setblocking(False)
        while not made:
            await asyncio.sleep(0)
        await made[0].called("connection_made")
        transport = made[0].transport
        number = transport.get_extra_info("socket").fileno()
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                transport.abort()
                transport._release()
                try:
                    os.fstat(number)
                    os.write(tell, b"open")
                except OSError:
                    os.write(tell, b"closed")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(tell)
        assert os.read(ready, 10) == b"closed"
        os.close(ready)
        peer.send(b"x")
        await made[0].until(lambda: made[0].data == b"x")
        made[0].transport.close()
        await made[0].called("connection_lost")
        assert await loop.sock_recv(peer, 1) == b""
        peer.close()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_loop_may_run_in_a_second_thread(make_loop, ends):
    """R33: the loop runs where it is run, while the thread that ran it before lives."""
    loop = make_loop()
    done = threading.Event()
    outcome = []

    async def start():
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0.001)
        transport.write(b"one")
        return transport, protocol

    transport, protocol = loop.run_until_complete(start())
    assert ends[1].recv(3) == b"one"
    ends[1].send(b"between")
    transport.write(b"queued")
    transport.write(b"too")

    async def go_on():
        await protocol.until(lambda: protocol.data == b"between")
        transport.write(b"two")
        assert await read(ends[1], 12) == b"queuedtootwo"
        ends[1].send(b"last")
        await protocol.until(lambda: protocol.data == b"betweenlast")
        transport.close()
        await protocol.called("connection_lost")

    def second():
        try:
            loop.run_until_complete(asyncio.wait_for(go_on(), 20))
            outcome.append(None)
        except BaseException as exc:
            outcome.append(exc)
        finally:
            done.set()

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(30)
    assert done.is_set()
    assert outcome == [None]
    loop.run_until_complete(asyncio.sleep(0.001))


def test_a_loop_may_be_closed_by_a_second_thread(make_loop, ends):
    """R33: close() in another thread closes the port, while the thread that ran the loop lives."""
    loop = make_loop()

    async def start():
        await attach(ends[0])
        await asyncio.sleep(0.001)

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.close)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        thread.start()
        thread.join(30)
        assert loop.is_closed()
        gc.collect()
    with pytest.raises(Exception, match="closed"):
        loop.port.wake()
    with contextlib.suppress(ConnectionError):
        ends[1].setblocking(True)
        assert ends[1].recv(1) == b""
