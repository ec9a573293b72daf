"""When a new socket can bind the address of a closed one."""

import os
import socket
import threading

import pytest

from support import AF_UNIX, WINDOWS, Recorder, needs_unix, run_until

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
KINDS = {
    "tcp": (socket.AF_INET, STREAM, ("127.0.0.1", 0)),
    "tcp6": (socket.AF_INET6, STREAM, ("::1", 0)),
    "unix": (AF_UNIX, STREAM, "listener"),
    "unix-packets": (AF_UNIX, getattr(socket, "SOCK_SEQPACKET", None), "listener"),
    "udp": (socket.AF_INET, DATAGRAM, ("127.0.0.1", 0)),
    "udp6": (socket.AF_INET6, DATAGRAM, ("::1", 0)),
    "unix-datagrams": (AF_UNIX, DATAGRAM, "receiver"),
}
if AF_UNIX is None:
    KINDS = {name: kind for name, kind in KINDS.items() if "unix" not in name}


def bound(port, kind, address):
    """Make a socket of the kind, bound to the address; it listens unless it is for datagrams."""
    family, type_, _first = KINDS[kind]
    if type_ == STREAM:
        return port.listen(address)
    sock = port.socket(family, type_)
    try:
        sock.bind(address)
        if type_ != DATAGRAM:
            sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def wait_on(sock, style):
    """Post an accept or a receive on the socket: a subscription, one operation, or none."""
    if style == "each" and sock.type in (STREAM, getattr(socket, "SOCK_SEQPACKET", None)):
        sock.accept_each(Recorder())
    elif style == "each":
        sock.receive_from(Recorder())
    elif style == "one" and sock.type == DATAGRAM:
        sock.recvfrom(10)
    elif style == "one":
        sock.accept()


def end(sock, how):
    if how == "with":
        with sock:
            pass
    else:
        getattr(sock, how)()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Change to a temporary directory, in which the tests bind the paths of AF_UNIX sockets."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("how", ["close", "abort", "with"])
@pytest.mark.parametrize("style", ["each", "one", "none"])
@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_free_when_close_returns(port, peers, place, kind, turns, style, how):
    """close() or abort() frees a socket's address at once, in the thread that runs the port.

    That also holds before the first turn of the port.
    """
    sock = bound(port, kind, KINDS[kind][2])
    address = sock.getsockname()
    wait_on(sock, style)
    for _ in range(turns):
        port.run_once(0)
    end(sock, how)
    if WINDOWS:
        run_until(port, lambda: sock.closed)  # the kernel frees it a turn later
    assert sock.closed
    again = bound(port, kind, address)
    assert again.getsockname() == address
    again.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_closed_from_another_thread(port, kind):
    """After close() in another thread, `closed` stays False until the address is free."""
    sock = bound(port, kind, KINDS[kind][2])
    address = sock.getsockname()
    wait_on(sock, "each")
    for _ in range(3):
        port.run_once(0)
    thread = threading.Thread(target=sock.close)
    thread.start()
    thread.join()
    if not sock.closed:
        run_until(port, lambda: sock.closed)
    bound(port, kind, address).close()


def test_closed_in_its_own_callback(port, peers):
    """close() of a listener in its own callback frees the address before close() returns."""
    listener = port.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    got = Recorder()

    def listen_again():
        with port.listen(address) as again:
            got(again.getsockname() == address)

    def take(conn):
        listener.close()
        if port.backend != "iocp":  # on Windows the posted accepts complete first
            got(listener.closed)
            listen_again()
        conn.close()

    listener.accept_each(take)
    peer = peers.connect(address)
    run_until(port, lambda: listener.closed and (got or port.backend == "iocp"))
    if port.backend == "iocp":
        got(listener.closed)
        listen_again()
    assert got == [True, True]
    peer.close()


@needs_unix
@pytest.mark.parametrize("how", ["close", "abort", "port", "dropped"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "unix" in kind])
@pytest.mark.filterwarnings("ignore:unclosed socket")
def test_a_path_goes_with_its_socket(make_port, place, monkeypatch, kind, how):
    """A closed AF_UNIX socket removes the path that it bound, even after a change of directory."""
    port = make_port()
    sock = bound(port, kind, KINDS[kind][2])
    wait_on(sock, "none" if how == "dropped" else "each")
    path = place / KINDS[kind][2]
    assert path.is_socket()
    monkeypatch.chdir("/")
    if how == "port":
        port.close(0)
    elif how == "dropped":
        del sock
    else:
        end(sock, how)
    assert not path.exists()


@needs_unix
def test_a_path_that_is_another_ones_stays(port, place):
    """A closed AF_UNIX socket does not remove its path if another socket has bound it since."""
    listener = port.listen("listener")
    os.unlink("listener")
    with socket.socket(AF_UNIX) as other:
        other.bind("listener")
        listener.close()
        assert (place / "listener").is_socket()


@needs_unix
@pytest.mark.parametrize("keeps", ["duplicate", "detach", "adopt"])
def test_a_path_of_several_holders_stays(port, peers, place, keeps):
    """The path of an AF_UNIX socket stays if the socket was adopted, duplicated or detached."""
    if keeps == "adopt":
        kept = peers.raw(AF_UNIX)
        kept.bind("listener")
        kept.listen()
        port.adopt(kept.dup()).close()
    else:
        listener = port.listen("listener")
        if keeps == "duplicate":
            kept = peers.keep(listener.duplicate())
            listener.close()
        else:
            kept = peers.keep(socket.socket(fileno=listener.detach()))
    client = peers.connect("listener", AF_UNIX)
    peers.keep(kept.accept()[0])
    client.close()


@needs_unix
def test_abstract_and_nameless_sockets_have_no_path(port, place):
    """Closing an AF_UNIX socket without a path, abstract or unnamed, removes no file."""
    for address in (b"\0iocp-sock-abstract", ""):
        sock = port.socket(AF_UNIX)
        sock.bind(address)
        sock.close()
    assert list(place.iterdir()) == []


@needs_unix
def test_an_unused_connection_takes_no_path_along(port, peers, place):
    """A connection for a cancelled accept does not remove the listener's path when it is closed."""
    listener = port.listen("listener")
    op = listener.accept()
    port.run_once(0)
    op.cancel()
    client = peers.connect("listener", AF_UNIX)
    run_until(port, lambda: op.done)
    assert (place / "listener").is_socket()
    client.close()
    listener.close()
