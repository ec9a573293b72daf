"""Writes of stream transports: gathered, in order, and held back by a budget."""

import asyncio
import random
import socket

import pytest
from test_transports import attach, fill, read

from iocp_sock import PAGE_SIZE
from support import pattern


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


@pytest.mark.parametrize(
    "options", [{"budget": 2 * PAGE_SIZE}, {"send_cap": 100_000}, {"max_sends": 1}]
)
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
        assert loop.port.ledger.now <= 2 * PAGE_SIZE or "budget" not in options
        assert (await read(ends[1], filled + len(data) + 4))[filled:] == data + b"tail"
        await protocol.called("resume_writing")
        assert "connection_lost" not in protocol.names()
        transport.close()
        assert await protocol.called("connection_lost") is None
        assert loop.port.ledger.now == 0

    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_a_small_write_over_the_budget_pauses_too(make_loop, ends):
    """R07, R33: a queue below its limit pauses the protocol if the port has no budget for it."""
    loop = make_loop(receive="zero_byte", budget=PAGE_SIZE)
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
