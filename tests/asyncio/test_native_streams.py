"""The native half of stream transports: gathered writes, delivery, lifetimes, misuse."""

import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
import threading
import warnings
import weakref

import pytest
from test_transports import Recorder, attach, fill, read

from iocp_sock import PAGE_SIZE
from iocp_sock._core import StreamBase
from support import linux_only, pattern

PAGE = PAGE_SIZE


@pytest.fixture
def ends():
    """Make a raw connected pair over TCP: one end for the loop, one for the test."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    theirs.setblocking(False)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def reset(sock):
    """Close a raw socket by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# --- writes ---------------------------------------------------------------------------------------


def test_many_small_writes_of_a_turn_cost_two_requests(run, ends):
    """R33: the first write goes at once, and the others of its turn in one request."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0)
        before = loop.port.stats()
        for number in range(8):
            transport.write(bytes([number]) * 64)
        assert transport.get_write_buffer_size() == 7 * 64
        assert ends[1].recv(1000) == bytes(64)
        expected = b"".join(bytes([number]) * 64 for number in range(1, 8))
        assert await read(ends[1], 7 * 64) == expected
        after = loop.port.stats()
        assert after.flushes - before.flushes == 1
        assert after.sends - before.sends == 1  # of one page, with all of them
        transport.close()
        await protocol.called("connection_lost")

    run(main())


@pytest.mark.parametrize("seed", range(4))
def test_writes_of_every_kind_keep_their_order(run, ends, seed):
    """R04: writes of any type and size arrive whole and in order, with pauses between them."""

    async def main():
        loop = asyncio.get_running_loop()
        chance = random.Random(seed)
        transport, protocol = await attach(ends[0])
        whole = pattern(3_000_000)
        reading = loop.create_task(read(ends[1], len(whole)))
        at = 0
        while at < len(whole):
            size = chance.choice((0, 1, 63, 1024, 1025, 4096, 5000, 100_000, 400_000))
            part = whole[at : at + size]
            at += len(part)
            way = chance.randrange(5)
            if way == 0:
                data = bytearray(part)
                transport.write(data)
                data[:] = bytes(len(data))
            elif way == 1:
                transport.write(memoryview(part))
            elif way == 2:
                middle = chance.randrange(len(part) + 1)
                transport.writelines([part[:middle], b"", part[middle:]])
            elif way == 3:
                transport.writelines(part[i : i + 3000] for i in range(0, len(part), 3000))
            else:
                transport.write(part)
            if chance.random() < 0.2:
                await asyncio.sleep(0)
            while protocol.names()[-1] == "pause_writing":
                await asyncio.sleep(0)
        assert await reading == whole
        transport.close()
        assert await protocol.called("connection_lost") is None
        assert loop.port.ledger.now == 0

    run(main())


def test_a_view_with_gaps_is_written(run, ends):
    """R33: a memoryview that is not contiguous is copied."""

    async def main():
        transport, protocol = await attach(ends[0])
        transport.write(memoryview(b"a-b-c-")[::2])
        assert await read(ends[1], 3) == b"abc"
        transport.close()
        await protocol.called("connection_lost")

    run(main())


@pytest.mark.parametrize("data", ["text", None, 1, [b"x"]])
def test_what_is_no_bytes_is_refused(run, ends, data):
    """R33: write() and writelines() raise TypeError for other types, and go on."""

    async def main():
        transport, protocol = await attach(ends[0])
        with pytest.raises(TypeError, match="bytes-like object"):
            transport.write(data)
        with pytest.raises(TypeError):
            transport.writelines([b"x", data])
        transport.write(b"good")
        assert await read(ends[1], 4) == b"good"
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_abort_sends_what_a_call_would_have_sent(run, ends):
    """R33: writes that were gathered for the end of the turn go before abort() drops the rest."""

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await attach(ends[0])
        for _ in range(3):
            transport.write(b"x" * 10)
        transport.abort()
        assert await read(ends[1], 30) == b"x" * 30
        assert await protocol.called("connection_lost") is None
        assert await loop.sock_recv(ends[1], 1) == b""

    run(main())


@pytest.mark.parametrize("options", [{"budget": 2 * PAGE}, {"send_cap": 100_000}, {"max_sends": 1}])
def test_a_budget_pauses_and_never_ends_a_connection(make_loop, ends, options):
    """R07, R33: what the budget or a cap does not admit waits; the protocol is paused meanwhile."""
    loop = make_loop(receive="zero_byte", **options)

    async def main():
        transport, protocol = await attach(ends[0])
        await asyncio.sleep(0)
        filled = fill(ends[0], ends[1])
        data = pattern(300_000)
        transport.write(data)
        transport.write(b"tail")
        assert protocol.names()[-1] == "pause_writing"
        assert loop.port.ledger.now <= 2 * PAGE or "budget" not in options
        assert (await read(ends[1], filled + len(data) + 4))[filled:] == data + b"tail"
        await protocol.called("resume_writing")
        assert "connection_lost" not in protocol.names()
        transport.close()
        assert await protocol.called("connection_lost") is None
        assert loop.port.ledger.now == 0

    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_a_small_write_over_the_budget_pauses_too(make_loop, ends):
    """R07, R33: a queue below its limit pauses the protocol if the port has no budget for it."""
    loop = make_loop(receive="zero_byte", budget=PAGE)
    other_ends = socket.socketpair()

    async def main():
        first, holder = await attach(other_ends[0])
        fill(*other_ends)
        first.write(b"x" * 100)
        await asyncio.sleep(0)
        transport, protocol = await attach(ends[0])
        filled = fill(*ends)
        transport.write(b"y" * 100)
        assert protocol.names()[-1] == "pause_writing"
        await read(ends[1], filled + 100)
        await protocol.called("resume_writing")
        for each, lost in ((transport, protocol), (first, holder)):
            each.abort()
            await lost.called("connection_lost")

    with other_ends[0], other_ends[1]:
        other_ends[0].setblocking(False)
        other_ends[1].setblocking(False)
        loop.run_until_complete(asyncio.wait_for(main(), 20))


# --- delivery -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_leaves_delivery(loop, ends, kind):
    """R33: KeyboardInterrupt leaves run_forever(), the connection stays, and later data comes."""

    class Stopping(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"stop":
                raise kind

    async def start():
        return await attach(ends[0], Stopping())

    transport, protocol = loop.run_until_complete(start())
    ends[1].send(b"stop")
    with pytest.raises(kind):
        loop.run_until_complete(asyncio.wait_for(protocol.until(lambda: False), 20))
    ends[1].send(b"more")
    loop.run_until_complete(
        asyncio.wait_for(protocol.until(lambda: protocol.data == b"stopmore"), 20)
    )
    transport.close()
    loop.run_until_complete(protocol.called("connection_lost"))


def test_delivery_runs_in_the_context_of_the_transport(run, ends):
    """R33: a variable that data_received() sets is there in the next call, and nowhere else."""
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)

    class Counting(Recorder):
        def data_received(self, data):
            variable.set(variable.get() + 1)
            self.note("count", variable.get())

    async def main():
        variable.set(10)
        transport, protocol = await attach(ends[0], Counting())
        variable.set(20)
        for count in (11, 12):
            ends[1].send(b"x")
            await protocol.until(lambda count=count: ("count", count) in protocol.calls)
        assert variable.get() == 20
        transport.close()
        await protocol.called("connection_lost")

    run(main())


def test_the_protocol_may_change_in_a_delivery(run, ends):
    """R33: data behind a change of protocol goes to the new one, whatever its kind."""

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self, following):
            self.following = following
            self.memory = bytearray(4)

        def connection_made(self, transport):
            self.transport = transport

        def get_buffer(self, _hint):
            return self.memory

        def buffer_updated(self, count):
            self.following.data += self.memory[:count]
            self.transport.set_protocol(self.following)

    async def main():
        following = Recorder()
        transport, _ = await attach(ends[0], Buffered(following))
        ends[1].send(b"0123456789")
        await following.until(lambda: following.data == b"0123456789")
        transport.close()
        await following.called("connection_lost")

    run(main())


def test_a_buffer_may_be_resized_between_its_fillings(run, ends):
    """R33: no view of a BufferedProtocol's memory is kept while its methods run."""

    class Growing(asyncio.BufferedProtocol):
        def __init__(self):
            self.memory = bytearray(2)
            self.data = bytearray()
            self.done = asyncio.get_running_loop().create_future()

        def get_buffer(self, _hint):
            return self.memory

        def buffer_updated(self, count):
            self.data += self.memory[:count]
            self.memory.extend(b"more")
            if len(self.data) == 100:
                self.done.set_result(None)

    async def main():
        protocol = Growing()
        transport, _ = await attach(ends[0], protocol)
        ends[1].send(pattern(100))
        await protocol.done
        assert protocol.data == pattern(100)
        transport.close()

    run(main())


@pytest.mark.parametrize(
    ("memory", "error"), [(b"read only", BufferError), (bytearray(), RuntimeError), (1, TypeError)]
)
def test_a_bad_buffer_closes_the_connection(loop, ends, memory, error):
    """R33: what get_buffer() must not return goes to the handler, and ends the transport."""

    class Bad(asyncio.BufferedProtocol):
        lost = None

        def get_buffer(self, _hint):
            return memory

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        protocol = Bad()
        protocol.lost = asyncio.get_running_loop().create_future()
        await attach(ends[0], protocol)
        ends[1].send(b"x")
        assert isinstance(await protocol.lost, error)

    loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert [type(context["exception"]) for context in loop.errors] == [error]
    loop.errors.clear()


# --- lifetimes ------------------------------------------------------------------------------------


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


# --- connections ----------------------------------------------------------------------------------


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


# --- threads --------------------------------------------------------------------------------------


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
