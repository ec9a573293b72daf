"""The event loop on Windows: signals, named pipes, processes, and errors of datagrams."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from support import WINDOWS, WINE, pattern, windows_only

if WINDOWS:
    import _overlapped
    import _winapi
    from asyncio import windows_events, windows_utils

pytestmark = windows_only("named pipes, and the loop's own processes and signals")

_numbers = itertools.count()


@pytest.fixture
def address():
    """Name a pipe that nothing else serves."""
    return rf"\\.\pipe\iocp_sock-{os.getpid()}-{next(_numbers)}"


class Upper(asyncio.Protocol):
    """Answers each line in capitals, and then closes."""

    def __init__(self, lost=None):
        self.received = b""
        self.lost = lost

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        if data.endswith(b"\n"):
            self.transport.write(self.received.upper())
            self.transport.close()

    def connection_lost(self, exc):
        if self.lost is not None:
            self.lost.set_result(exc)


async def come_and_go(address):
    """Open a pipe, and close it at once."""
    while True:
        try:
            handle = _winapi.CreateFile(
                address,
                _winapi.GENERIC_READ | _winapi.GENERIC_WRITE,
                0,
                _winapi.NULL,
                _winapi.OPEN_EXISTING,
                0,
                _winapi.NULL,
            )
        except OSError as exc:
            if exc.winerror != _overlapped.ERROR_PIPE_BUSY:
                raise
            await asyncio.sleep(0.001)
        else:
            _winapi.CloseHandle(handle)
            return


async def open_pipe(address):
    """Open a pipe as a pair of streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_pipe_connection(lambda: protocol, address)
    return reader, transport


def raise_later(loop, number):
    """Return a thread that raises a signal once the loop waits."""

    def work():
        before = loop.port.stats().waits
        while loop.port.stats().waits == before:
            pass
        signal.raise_signal(number)

    return threading.Thread(target=work)


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sleeps", [True, False])
def test_ctrl_c_ends_the_loop(loop, sleeps):
    """R33: Ctrl-C ends run_forever() with KeyboardInterrupt, whether it waits or works."""

    def work():
        loop.call_soon(work)

    if not sleeps:
        loop.call_soon(work)
    thread = raise_later(loop, signal.SIGINT)
    loop.call_soon(thread.start)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize("number", ["SIGBREAK", "SIGTERM"])
def test_another_signal_ends_a_wait(run, number):
    """R33: a signal is written to the loop, so that its handler runs though nothing else comes."""

    async def main():
        loop = asyncio.get_running_loop()
        handled = loop.create_future()
        written = loop.create_future()
        loop._process_self_data = written.set_result
        number_ = getattr(signal, number)
        before = signal.signal(number_, lambda *_: handled.set_result(None))
        thread = raise_later(loop, number_)
        loop.call_soon(thread.start)
        try:
            await handled
            assert await written == bytes([number_])
        finally:
            thread.join()
            signal.signal(number_, before)

    run(main())


def test_the_wakeup_descriptor_is_restored(loop):
    """R33: the loop has the interpreter's wakeup descriptor only while it runs."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        before = signal.set_wakeup_fd(ours.fileno())
        try:
            loop.run_until_complete(asyncio.sleep(0))
            assert signal.set_wakeup_fd(ours.fileno()) == ours.fileno()
        finally:
            signal.set_wakeup_fd(before)


def test_a_loop_beside_the_main_thread(make_loop):
    """A loop of another thread leaves the wakeup descriptor alone."""
    results = []

    def work():
        results.append(make_loop().run_until_complete(asyncio.sleep(0, "done")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["done"]


# --- named pipes ----------------------------------------------------------------------------------


def test_a_pipe_server(run, address):
    """R33: a served pipe talks to several clients at once, and goes with its server."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await open_pipe(address)
        (server,) = await loop.start_serving_pipe(Upper, address)
        assert isinstance(server, windows_events.PipeServer)
        await asyncio.sleep(0)
        clients = [await open_pipe(address) for _ in range(5)]
        for number, (_, transport) in enumerate(clients):
            transport.write(b"lower-%d\n" % number)
        for number, (reader, transport) in enumerate(clients):
            assert await reader.readline() == b"LOWER-%d\n" % number
            assert await reader.read() == b""
            transport.close()
        server.close()
        with pytest.raises(FileNotFoundError):
            await open_pipe(address)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


def test_the_face_of_a_pipe(run, address):
    """A pipe transport has the extra information of asyncio's, and no end of one direction."""

    async def main():
        loop = asyncio.get_running_loop()
        (server,) = await loop.start_serving_pipe(Upper, address)
        await asyncio.sleep(0)
        _, transport = await open_pipe(address)
        assert transport.get_extra_info("addr") == address
        assert transport.get_extra_info("pipe").fileno() == transport._sock_fd
        assert transport.get_extra_info("socket") is None
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        transport.close()
        server.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


def test_a_client_that_goes_at_once(run, address):
    """R33: a client that has gone before it was accepted leaves the server serving."""

    async def main():
        loop = asyncio.get_running_loop()
        (server,) = await loop.start_serving_pipe(Upper, address)
        await asyncio.sleep(0)
        for _ in range(10):
            await come_and_go(address)
        reader, transport = await open_pipe(address)
        transport.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        transport.close()
        server.close()
        await asyncio.sleep(0.01)

    run(main())


def test_a_protocol_that_cannot_be_made(loop, address):
    """An exception of the protocol factory goes to the handler, and the server goes on."""
    failures = [ValueError("no protocol")]

    def make():
        if failures:
            raise failures.pop()
        return Upper()

    async def main():
        (server,) = await loop.start_serving_pipe(make, address)
        await asyncio.sleep(0)
        reader, transport = await open_pipe(address)
        assert await reader.read() == b""
        transport.close()
        reader, transport = await open_pipe(address)
        transport.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        transport.close()
        server.close()
        await asyncio.sleep(0.01)

    loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert [type(context["exception"]) for context in loop.errors] == [ValueError]


def test_a_loop_that_is_closed_while_it_serves(make_loop, address):
    """R33: a closed loop leaves no request on the pipe of its server."""
    loop = make_loop()
    (server,) = loop.run_until_complete(loop.start_serving_pipe(Upper, address))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    server.close()


def test_the_reader_of_a_pipe_goes(run):
    """R33: a transport that only writes is told when the pipe's reader has gone."""

    async def main():
        loop = asyncio.get_running_loop()
        reading, writing = windows_utils.pipe(duplex=True)
        lost = loop.create_future()
        transport, _ = await loop.connect_write_pipe(
            lambda: Upper(lost), windows_utils.PipeHandle(writing)
        )
        _winapi.CloseHandle(reading)
        await lost
        assert transport.is_closing()

    run(main())


def test_the_reader_of_a_full_pipe_goes(run):
    """R33: what is queued is lost with the reader, and the transport reports a broken pipe."""

    async def main():
        loop = asyncio.get_running_loop()
        reading, writing = windows_utils.pipe(duplex=True)
        lost = loop.create_future()
        transport, _ = await loop.connect_write_pipe(
            lambda: Upper(lost), windows_utils.PipeHandle(writing)
        )
        transport.write(bytes(1 << 20))
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size()
        _winapi.CloseHandle(reading)
        assert isinstance(await lost, BrokenPipeError)

    run(main())


def test_a_pipe_that_is_only_written(run):
    """R33: a pipe without the right to read is written; a later write meets its end."""

    async def main():
        loop = asyncio.get_running_loop()
        reading, writing = windows_utils.pipe()
        lost = loop.create_future()
        transport, _ = await loop.connect_write_pipe(
            lambda: Upper(lost), windows_utils.PipeHandle(writing)
        )
        transport.write(b"x")
        assert transport.can_write_eof()
        await asyncio.sleep(0)
        _winapi.CloseHandle(reading)
        while not lost.done():
            transport.write(b"x")
            await asyncio.sleep(0.001)
        assert isinstance(lost.result(), BrokenPipeError)

    run(main())


# --- processes ------------------------------------------------------------------------------------


def test_a_megabyte_through_a_process(run):
    """R33: standard input and output of a process carry more than their pipes hold."""

    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        data = pattern(1 << 20)
        output, _ = await process.communicate(data)
        assert output == data[::-1]
        assert process.returncode == 0

    run(main())


def test_a_shell(run):
    """R33: the shell's exit status and both of its outputs arrive."""

    async def main():
        process = await asyncio.create_subprocess_shell(
            "echo out& echo err>&2& exit 3", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert (output.strip(), errors.strip()) == (b"out", b"err")
        assert process.returncode == 3

    run(main())


def test_a_process_that_outlives_its_loop(make_loop):
    """A loop may be closed while a process runs; nothing is left of its wait."""
    loop = make_loop()

    async def main():
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "input()",
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    process = loop.run_until_complete(main())
    process._transport.close()
    loop.run_until_complete(process.wait())


def test_a_process_that_ends_while_its_loop_closes(make_loop):
    """An end that arrives with the close of the loop is dropped."""
    loop = make_loop()

    async def main():
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "pass",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    process = loop.run_until_complete(main())
    process._transport._proc.wait()
    process._transport._closed = True  # nothing of it is left to close
    loop.close()


# --- datagrams ------------------------------------------------------------------------------------


@pytest.mark.skipif(WINE, reason="Wine 8.0: nothing arrives after the error of a datagram")
def test_a_refused_datagram_ends_nothing(run):
    """R33: an unconnected socket hears of a refused datagram, and receives the next ones."""

    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.Queue()
            self.errors = []

        def datagram_received(self, data, addr):
            self.received.put_nowait(data)

        def error_received(self, exc):
            self.errors.append(exc)

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nowhere:
            nowhere.bind(("127.0.0.1", 0))
            gone = nowhere.getsockname()
        ours, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        for _ in range(10):
            ours.sendto(b"lost", gone)
        ours.sendto(b"kept", ours.get_extra_info("sockname"))
        assert await protocol.received.get() == b"kept"
        assert all(isinstance(exc, ConnectionRefusedError) for exc in protocol.errors)
        ours.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())
