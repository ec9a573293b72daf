"""A forked child shares nothing with its parent's ports: every use of them raises."""

import gc
import os
import socket
import threading
import traceback
import warnings

import pytest

import iocp_sock
from iocp_sock import ForkedPort
from support import Recorder, finish, linux_only, wait_for

pytestmark = linux_only("os.fork()")


def in_child(work):
    """Run work in a forked child; fail with its exception."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            os.write(writable, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        report = pipe.read().decode()
    _pid, status = os.waitpid(child, 0)
    assert status == 0, report or f"the child ended with {status}"


def test_child_gets_exceptions(port, pair):
    """Each use of the port or its sockets in a forked child raises ForkedPort."""
    sock, peer = pair
    op = sock.recv(10)
    timer = port.call_later(1000, Recorder())

    def work():
        for call in (
            lambda: port.run_once(0),
            port.run,
            lambda: port.get(0),
            lambda: port.get_batch(1, 0),
            port.post,
            lambda: port.call_later(1, print),
            port.stop,
            port.wake,
            port.time,
            port.close,
            lambda: port.socket(),
            lambda: port.listen(("127.0.0.1", 0)),
            lambda: port.connect(("127.0.0.1", 1)),
            lambda: port.adopt(0),
            lambda: port.ledger,
            port.stats,
            port.trace,
            port.stop_trace,
            lambda: port.outstanding,
            lambda: sock.recv(1),
            lambda: sock.recv_into(bytearray(1)),
            sock.recv_zero,
            lambda: sock.send(b"x"),
            lambda: sock.sendmsg([b"x"]),
            lambda: sock.try_recv(1),
            lambda: sock.try_send(b"x"),
            lambda: sock.receive(print),
            lambda: sock.accept_each(print),
            sock.accept,
            sock.cancel,
            sock.detach,
            sock.getsockname,
            lambda: sock.shutdown(socket.SHUT_WR),
            lambda: sock.setsockopt(1, 1, 1),
        ):
            with pytest.raises(ForkedPort):
                call()
        assert not op.cancel()
        assert not timer.cancel()
        sock.close()
        sock.abort()

    in_child(work)
    peer.sendall(b"abc")
    finish(port, op)
    assert bytes(op.data) == b"abc"
    assert timer.active
    timer.cancel()


def test_child_may_make_its_own_port(port, pair, backend):
    """A forked child can make a port of its own, while the parent's port goes on."""
    sock, peer = pair
    op = sock.recv(10)

    def work():
        with iocp_sock.Port(backend=backend) as own:
            ours, theirs = socket.socketpair()
            mine = own.adopt(ours)
            received = mine.recv(10)
            theirs.sendall(b"child")
            finish(own, received)
            assert bytes(received.data) == b"child"
            theirs.close()

    in_child(work)
    peer.sendall(b"parent")
    finish(port, op)
    assert bytes(op.data) == b"parent"


def test_child_that_drops_everything(make_port, peers):
    """Objects that a forked child frees close no socket and cancel no operation of the parent."""
    port = make_port()
    holder = {"port": port}
    sock, peer = peers.tcp(port)
    op = sock.recv(10)
    port.run_once(0)

    def work():
        peers.ours.clear()
        holder.clear()
        gc.collect()

    in_child(work)
    peer.sendall(b"abc")
    finish(port, op)
    assert bytes(op.data) == b"abc"


def test_descriptors_are_close_on_exec(port, peers, backend):
    """An executed program inherits no descriptor of a port or its sockets."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    sock, _peer = peers.tcp(port)
    sock.recv(1)
    port.run_once(0)
    assert sock.fileno() >= 0
    assert listener.fileno() >= 0
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            inheritable = os.get_inheritable(number)
        except OSError:
            continue
        if target.startswith(("socket:", "anon_inode:")):
            assert not inheritable or number < 3, target


def test_child_of_a_callback(backend):
    """A child forked in a callback leaves run() with ForkedPort, whatever locks threads held."""
    parent = os.getpid()
    children = []

    def fork(_completion):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the process has threads
            child = os.fork()
        if child != 0:
            children.append(child)

    def run():
        try:
            port.run()
        except ForkedPort:
            os._exit(0 if os.getpid() != parent else 1)

    with iocp_sock.Port(backend=backend, concurrency=3) as port:
        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            port.post(callback=fork)
        wait_for(lambda: len(children) == 20)
        port.close(0)
        for thread in threads:
            thread.join()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
