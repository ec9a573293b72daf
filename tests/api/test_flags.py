"""R29: sends and receives take the same MSG_* flags on every backend."""

import socket

import pytest

import iocp_sock
from support import AF_UNIX, WINDOWS, Recorder, finish, linux_only, run_until

PACKETS = getattr(socket, "SOCK_SEQPACKET", None)
KINDS = {
    "tcp": (socket.AF_INET, socket.SOCK_STREAM),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM),
    "unix": (AF_UNIX, socket.SOCK_STREAM),
    "unix-datagrams": (AF_UNIX, socket.SOCK_DGRAM),
    "unix-packets": (AF_UNIX, PACKETS),
}
if AF_UNIX is None:
    KINDS = {name: kind for name, kind in KINDS.items() if kind[0] is not AF_UNIX}

EVERYWHERE = {"MSG_PEEK", "MSG_WAITALL"}
RECEIVE = {
    "tcp": {"MSG_OOB", "MSG_ERRQUEUE"},
    "udp": {"MSG_TRUNC", "MSG_ERRQUEUE"},
    "udp6": {"MSG_TRUNC", "MSG_ERRQUEUE"},
    "unix": {"MSG_OOB"},
    "unix-datagrams": {"MSG_TRUNC"},
    "unix-packets": {"MSG_TRUNC"},
}
SEND = {
    "tcp": {"MSG_OOB", "MSG_DONTROUTE", "MSG_MORE"},
    "udp": {"MSG_DONTROUTE", "MSG_MORE", "MSG_CONFIRM"},
    "udp6": {"MSG_DONTROUTE", "MSG_MORE", "MSG_CONFIRM"},
    "unix": {"MSG_OOB", "MSG_MORE"},
    "unix-datagrams": set(),
    "unix-packets": {"MSG_EOR"},
}
if WINDOWS:
    RECEIVE = {kind: flags & {"MSG_OOB"} for kind, flags in RECEIVE.items()}
    SEND = {kind: flags & {"MSG_OOB", "MSG_DONTROUTE"} for kind, flags in SEND.items()}
NOTHING = set() if WINDOWS else {"MSG_CMSG_CLOEXEC"}
SILENT = set() if WINDOWS else {"MSG_NOSIGNAL"}

FLAGS = {name: int(getattr(socket, name)) for name in dir(socket) if name.startswith("MSG_")}
FLAGS |= {"bit 28": 1 << 28, "bit 23": 1 << 23}


def connected(port, peers, kind):
    """Return a connected socket of the port, and the raw socket of its peer."""
    if kind == "tcp":
        return peers.tcp(port)
    family, type_ = KINDS[kind]
    if family is AF_UNIX:
        return peers.pair(port, type_)
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    raw = peers.raw(family, type_)
    raw.bind((host, 0))
    sock = peers.own(port.socket(family, type_))
    sock.bind((host, 0))
    raw.connect(sock.getsockname())
    finish(port, sock.connect(raw.getsockname()))
    return sock, raw


def refused(post):
    """Return whether a post is refused because of its flags; other errors do not count."""
    try:
        post()
    except iocp_sock.ArgumentError:
        return True
    except OSError:
        pass
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_receives(port, peers, kind):
    """A receive raises ArgumentError exactly for the flags that are not in the table."""
    if port.backend == "sim" and kind != "tcp":
        pytest.skip("not in the model: families and types besides TCP over IPv4")
    sock, _peer = connected(port, peers, kind)
    taken = EVERYWHERE | NOTHING | RECEIVE[kind]
    if port.backend == "sim":
        taken -= {"MSG_OOB", "MSG_ERRQUEUE"}
    for name, flag in FLAGS.items():
        calls = [
            lambda flag=flag: sock.recv(10, flags=flag),
            lambda flag=flag: sock.recv_into(bytearray(10), flags=flag),
            lambda flag=flag: sock.recvfrom(10, flags=flag),
            lambda flag=flag: sock.recvfrom_into(bytearray(10), flags=flag),
            lambda flag=flag: sock.recvmsg_into([bytearray(10)], flags=flag),
            lambda flag=flag: sock.recv(10, flags=flag | socket.MSG_PEEK),
        ]
        for number, call in enumerate(calls):
            assert refused(call) == (name not in taken), (name, number)
            sock.cancel()
            run_until(port, lambda: sock.outstanding == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_sends(port, peers, kind):
    """A send raises ArgumentError exactly for the flags that are not in the table."""
    if port.backend == "sim" and kind != "tcp":
        pytest.skip("not in the model: families and types besides TCP over IPv4")
    sock, peer = connected(port, peers, kind)
    taken = SILENT | SEND[kind]
    if port.backend == "sim":
        taken -= {"MSG_OOB"}
    for name, flag in FLAGS.items():
        calls = [
            lambda flag=flag: sock.send(b"x", flags=flag),
            lambda flag=flag: sock.sendmsg([b"x"], flags=flag),
        ]
        if kind == "udp":
            calls.append(lambda flag=flag: sock.sendto(b"x", peer.getsockname(), flags=flag))
        for number, call in enumerate(calls):
            assert refused(call) == (name not in taken), (name, number)
            run_until(port, lambda: sock.outstanding == 0)


@linux_only("urgent data")
def test_a_flag_that_is_refused_leaves_nothing(port, peers):
    """A post refused for its flags changes neither the pending operation nor later ones."""
    sock, peer = peers.tcp(port)
    got = Recorder()
    waiting = sock.recv(5, callback=got)
    with pytest.raises(iocp_sock.ArgumentError, match="MSG_DONTWAIT"):
        sock.recv(5, flags=socket.MSG_DONTWAIT)
    with pytest.raises(iocp_sock.ArgumentError, match="MSG_DONTWAIT"):
        sock.send(b"x", flags=socket.MSG_DONTWAIT)
    peer.sendall(b"hello")
    finish(port, waiting)
    assert bytes(waiting.data) == b"hello"
