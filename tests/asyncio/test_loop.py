"""The asyncio event loop: its port, the order of a turn, threads, readers, processes."""

import asyncio
import os
import signal
import socket
import sys
import threading

import pytest

import iocp_sock
import iocp_sock.asyncio
from support import WINDOWS, linux_only

if WINDOWS:
    from asyncio import windows_utils


def open_pipe():
    """Make a pipe of the kind that the loop takes: its reading end and its writing end."""
    if WINDOWS:
        reading, writing = windows_utils.pipe()
        return windows_utils.PipeHandle(reading), windows_utils.PipeHandle(writing)
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)


def test_run(backend):
    """iocp_sock.asyncio.run() passes its options to the loop's port, and closes loop and port."""

    async def main():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, iocp_sock.asyncio.EventLoop)
        assert loop.port.backend == backend
        assert loop.port.config.budget == 4 << 20
        await asyncio.sleep(0)
        return loop

    loop = iocp_sock.asyncio.run(main(), backend=backend, budget=4 << 20)
    assert loop.is_closed()
    assert loop.port.closed


def test_run_refuses_to_nest(run):
    """iocp_sock.asyncio.run() inside a running loop raises RuntimeError and leaves no loop open."""

    async def nothing():
        pass

    async def main():
        coroutine = nothing()
        with pytest.raises(RuntimeError):
            iocp_sock.asyncio.run(coroutine)
        coroutine.close()

    run(main())


def test_a_backend_that_is_not_there():
    """R33: an EventLoop on an unknown backend raises ArgumentError, and gives no warning."""
    with pytest.raises(iocp_sock.ArgumentError):
        iocp_sock.asyncio.EventLoop(backend="none")


@pytest.mark.parametrize("receive", ["fast", None, 1, []])
def test_a_strategy_that_there_is_not(receive):
    """An invalid receive strategy raises ArgumentError before the loop makes its port."""
    with pytest.raises(iocp_sock.ArgumentError, match="receive must be one of pooled, direct"):
        iocp_sock.asyncio.EventLoop(receive=receive)


@pytest.mark.parametrize("receive", ["pooled", "direct", "zero_byte", "adaptive"])
def test_the_strategy_of_a_loop(make_loop, receive):
    """R33: the loop's option `receive` is the receive strategy of every stream transport."""
    loop = make_loop(receive=receive)

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        await asyncio.sleep(0)
        assert transport.get_extra_info("iocp_sock").receive_strategy == receive
        transport.close()
        theirs.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_the_order_of_a_turn(run):
    """R33: in one turn, ready handles run first, then I/O callbacks, then due timers."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        seen = []
        done = loop.create_future()

        def readable():
            loop.remove_reader(ours)
            seen.append("read")

        def timer():
            seen.append("timer")
            done.set_result(None)

        with ours, theirs:
            loop.add_reader(ours, readable)
            await asyncio.sleep(0.01)  # the wait is with the system
            theirs.send(b"x")
            loop.call_later(0, timer)
            loop.call_soon(seen.append, "handle")
            await done
        assert seen == ["handle", "read", "timer"]

    run(main())


def test_a_call_from_another_thread_ends_a_wait(run):
    """call_soon_threadsafe() wakes a loop that sleeps."""

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        thread = threading.Thread(
            target=loop.call_soon_threadsafe, args=(future.set_result, threading.get_ident())
        )
        loop.call_later(0.01, thread.start)
        assert await future == threading.get_ident()
        thread.join()

    run(main())


def test_a_loop_in_another_thread(make_loop):
    """R33: a loop that ran in one thread runs in another after the first has ended."""
    loop = make_loop()
    results = []

    async def main():
        await asyncio.sleep(0.001)
        return threading.get_ident()

    for _ in range(3):
        thread = threading.Thread(target=lambda: results.append(loop.run_until_complete(main())))
        thread.start()
        thread.join()
    results.append(loop.run_until_complete(main()))
    assert len(results) == 4
    assert results[-1] == threading.get_ident()


def test_two_loops_in_two_threads(make_loop):
    """R33: two loops run at once in two threads, and exchange data over a socket."""
    loops = [make_loop(), make_loop()]
    address = []
    bound = threading.Event()
    results = []

    async def serve():
        done = asyncio.get_running_loop().create_future()

        async def answer(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()
            await writer.wait_closed()
            done.set_result(None)

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address.append(server.sockets[0].getsockname())
        bound.set()
        await done
        server.close()
        await server.wait_closed()

    async def ask():
        reader, writer = await asyncio.open_connection(*address[0])
        writer.write(b"hello\n")
        results.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    thread = threading.Thread(target=lambda: loops[0].run_until_complete(serve()))
    thread.start()
    assert bound.wait(20)
    loops[1].run_until_complete(ask())
    thread.join()
    assert results == [b"HELLO\n"]


def test_a_thread_that_waits_for_the_loops_port(run):
    """R33: a thread that waits for an operation of the loop's port runs no callback of the loop."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        mine, silent = socket.socketpair()
        sock = loop.port.adopt(mine)
        operation = sock.recv(1)
        threads = set()
        done = loop.create_future()

        def readable():
            threads.add(threading.get_ident())
            if ours.recv(1) == b"!":
                loop.remove_reader(ours)
                done.set_result(None)

        def send():
            for _ in range(300):
                theirs.send(b"x")
            theirs.send(b"!")

        with ours, theirs, silent:
            loop.add_reader(ours, readable)
            waiter = threading.Thread(target=operation.result)
            sender = threading.Thread(target=send)
            waiter.start()
            sender.start()
            await done
            silent.send(b"y")
            await loop.run_in_executor(None, waiter.join)
            sender.join()
        assert threads == {threading.get_ident()}
        sock.close()

    run(main())


def test_readers_and_writers_beside_each_other(run):
    """R33: a reader can be removed and added again while a writer of the same descriptor waits."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            writing = loop.create_task(loop.sock_sendall(ours, bytes(1 << 20)))
            for number in range(50):
                await loop.sock_sendall(theirs, bytes([number]))
                assert await loop.sock_recv(ours, 10) == bytes([number])
            assert not writing.done()
            left = 1 << 20
            while left:
                left -= len(await loop.sock_recv(theirs, 65536))
            await writing

    run(main())


def test_a_reader_that_raises_goes_on(loop):
    """R33: an exception in a reader goes to the exception handler; the reader is called again."""

    async def main():
        ours, theirs = socket.socketpair()
        done = loop.create_future()
        calls = 0

        def readable():
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ValueError("no")
            loop.remove_reader(ours)
            done.set_result(None)

        with ours, theirs:
            loop.add_reader(ours, readable)
            theirs.send(b"x")
            await done

    loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert len(loop.errors) == 1


def test_a_reader_of_a_closed_object(run):
    """remove_reader() finds the reader of a socket object that was closed after add_reader()."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        loop.add_reader(ours, lambda: None)
        ours.close()
        assert loop.remove_reader(ours)
        theirs.close()

    run(main())


def test_a_socket_that_is_closed_under_its_reader(run):
    """R33: the reader of a socket that was closed is not called, and its number can be watched."""

    async def main():
        loop = asyncio.get_running_loop()
        called = []
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        loop.add_reader(ours, called.append, "closed")
        await asyncio.sleep(0.01)  # the wait is with the system
        ours.close()
        await asyncio.sleep(0.01)
        assert loop.remove_reader(number)
        theirs.close()
        others = [socket.socketpair() for _ in range(10)]
        done = loop.create_future()
        for mine, peer in others:
            loop.add_reader(mine, lambda: done.done() or done.set_result(None))
            peer.send(b"x")
        await done
        for mine, peer in others:
            loop.remove_reader(mine)
            mine.close()
            peer.close()
        assert not called

    run(main())


def test_a_closed_server_refuses_at_once(run):
    """R33: close() of a server frees its address before it returns."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        await asyncio.sleep(0.01)  # the accepts are with the system
        server.close()
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(address)

    run(main())


@pytest.mark.parametrize("fd", [-1, "x", None])
def test_no_descriptor(run, fd):
    """add_reader() with an invalid descriptor raises ValueError, as on asyncio's loops."""

    async def main():
        with pytest.raises(ValueError, match="Invalid file"):
            asyncio.get_running_loop().add_reader(fd, print)

    run(main())


def test_pipes(run):
    """R33: pipe transports read and write, and their repr() shows their state."""

    async def main():
        loop = asyncio.get_running_loop()
        read_end, write_end = open_pipe()
        reader = asyncio.StreamReader()
        incoming, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), read_end
        )
        outgoing, _ = await loop.connect_write_pipe(asyncio.Protocol, write_end)
        assert "polling" in repr(incoming)
        outgoing.write(bytes(1 << 20))
        assert await reader.readexactly(1 << 20) == bytes(1 << 20)
        outgoing.close()
        assert await reader.read() == b""
        incoming.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


def test_a_process(run):
    """R33: a subprocess reads, writes and ends; its exit status arrives."""

    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; print(input().upper()); sys.exit(7)",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate(b"hello\n")
        assert output.splitlines() == [b"HELLO"]
        assert process.returncode == 7

    run(main())


def test_a_process_that_is_killed(run):
    """R33: wait() of a killed process returns its signal, or the status of Windows."""

    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import time; time.sleep(60)",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        process.kill()
        assert await process.wait() == (1 if WINDOWS else -signal.SIGKILL)

    run(main())


@linux_only("Windows has no handlers of a loop for signals")
def test_signals(run):
    """R33: a handler set by add_signal_handler() runs in the loop, and can be removed."""

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, future.set_result, "usr1")
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await future == "usr1"
        assert loop.remove_signal_handler(signal.SIGUSR1)

    run(main())


def test_datagrams(run):
    """R33: datagrams arrive with the sender's address; an ICMP error goes to error_received()."""

    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.Queue()
            self.errors = asyncio.Queue()

        def datagram_received(self, data, addr):
            self.received.put_nowait((data, addr))

        def error_received(self, exc):
            self.errors.put_nowait(exc)

    async def main():
        loop = asyncio.get_running_loop()
        one, first = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        here = one.get_extra_info("sockname")
        two, second = await loop.create_datagram_endpoint(Datagrams, remote_addr=here)
        two.sendto(b"question")
        data, sender = await first.received.get()
        assert data == b"question"
        one.sendto(b"answer", sender)
        assert (await second.received.get())[0] == b"answer"
        one.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        two.sendto(b"lost")
        assert isinstance(await second.errors.get(), ConnectionRefusedError)
        two.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


@linux_only("AF_UNIX")
@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio leaves the path before 3.13")
def test_the_path_of_a_unix_server(run, tmp_path):
    """R33: closing a UNIX server removes its path."""

    async def main():
        path = tmp_path / "socket"
        server = await asyncio.start_unix_server(lambda _reader, _writer: None, path)
        assert path.exists()
        server.close()
        await server.wait_closed()
        assert not path.exists()

    run(main())


def test_a_closed_loop(make_loop):
    """R33: every use of a closed loop raises RuntimeError; closing it again does nothing."""
    loop = make_loop()
    loop.close()
    loop.close()
    for use in (
        lambda: loop.call_soon(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.add_reader(0, print),
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="closed"):
            use()


@linux_only("os.fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_closes_the_parents_loop(make_loop):
    """R33: a forked child may close its copy of the loop; the parent's loop still works."""
    loop = make_loop()
    loop.run_until_complete(asyncio.sleep(0))
    child = os.fork()
    if child == 0:
        try:
            loop.close()
        finally:
            os._exit(0 if loop.is_closed() else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    loop.run_until_complete(asyncio.sleep(0.001))
