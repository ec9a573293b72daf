"""A forked child shares nothing with its parent's ports: whatever it touches raises."""

import gc
import os
import socket
import traceback

import pytest

import iocp_sock
from iocp_sock import ForkedPort
from support import Recorder, finish, linux_only

pytestmark = linux_only("os.fork()")


def in_child(work):
    """Run work in a forked child; fail with what it raised."""
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
    """The child makes a port of its own while the parent's goes on."""
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
    """Objects that die in the child close and cancel nothing of the parent."""
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
    """No descriptor of a port or its sockets is inherited by a program that is executed."""
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
