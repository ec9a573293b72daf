"""Delivery to the protocols of stream transports: contexts, buffers, exceptions."""

import asyncio
import contextvars

import pytest
from test_transports import Recorder, attach

from support import pattern


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
