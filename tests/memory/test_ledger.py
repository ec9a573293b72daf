"""R06 and R09: the ledger equals, to the byte, what the outstanding operations imply."""

import mmap

import pytest

import iocp_sock
from support import (
    OVERFLOW,
    PAGE,
    WINDOWS,
    Recorder,
    address_of,
    arrived,
    block,
    finish,
    pages,
    read,
    reset,
    run_until,
    span,
)


def test_page_size_is_the_systems():
    """R06: the page size comes from the system."""
    assert iocp_sock.PAGE_SIZE == mmap.PAGESIZE


@pytest.mark.parametrize("offset", [0, 1, 7, PAGE - 1, PAGE, PAGE + 1])
@pytest.mark.parametrize("length", [0, 1, 2, PAGE - 1, PAGE, PAGE + 1, 10 * PAGE, 10 * PAGE + 2])
def test_page_span(offset, length):
    """R06: page_span() counts each page that the bytes touch; 0 bytes touch none."""
    touched = {at // PAGE for at in range(offset, offset + length)}
    assert iocp_sock.page_span(offset, length) == len(touched)


@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE, 100_000, 1 << 20])
def test_receive_charges_its_block(port, pair, size):
    """R06: a pending receive charges the pages of its page-aligned block."""
    sock, peer = pair
    op = sock.recv(size)
    ledger = port.ledger
    assert ledger.now == sock.charged == block(size)
    assert ledger.by_kind == {"receive": block(size), "send": 0}
    assert ledger.by_state == {"queued": 0, "pending": block(size), "cancelling": 0}
    peer.sendall(b"x")
    finish(port, op)
    assert (port.ledger.now, sock.charged, port.ledger.peak) == (0, 0, block(size))


@pytest.mark.parametrize("offset", [0, 1, 100, PAGE - 1])
@pytest.mark.parametrize("length", [1, 2, 100, PAGE, PAGE + 1, 3 * PAGE])
def test_receive_into_charges_every_page_touched(port, peers, offset, length):
    """R06: a receive charges every page that the caller's buffer touches."""
    sock, peer = peers.pair(port)
    area = mmap.mmap(-1, 8 * PAGE)
    assert address_of(area) % PAGE == 0
    with memoryview(area) as whole, whole[offset : offset + length] as part:
        op = sock.recv_into(part)
        assert port.ledger.now == sock.charged == pages(offset, length)
        peer.sendall(b"x")
        finish(port, op)
        assert port.ledger.now == 0
        run_until(port, lambda: port.outstanding == 0)
    area.close()


def test_charges_add_up_over_operations_and_sockets(port, peers):
    """R06 R09: charges add up by socket, kind and state; operations share no pages."""
    first, first_peer = peers.pair(port)
    second, second_peer = peers.tcp(port)
    target = bytearray(10 * PAGE + 3)
    ops = [first.recv(10), first.recv(PAGE + 1), first.recv_into(target)]
    ops += [second.recv(3 * PAGE), second.recv_zero()]
    charges = [PAGE, 2 * PAGE, span(target), 3 * PAGE, 0]
    assert port.ledger.now == sum(charges)
    assert first.charged == sum(charges[:3])
    assert second.charged == sum(charges[3:])
    assert port.ledger.by_state["pending"] == charges[0] + charges[3]
    assert port.ledger.by_state["queued"] == charges[1] + charges[2]
    first_peer.sendall(b"x" * 10)
    finish(port, ops[0])
    assert port.ledger.now == sum(charges[1:])
    assert port.ledger.by_state["pending"] == charges[1] + charges[3]
    second_peer.sendall(b"y")
    finish(port, ops[3], *([] if ops[4].done else [ops[3]]))
    assert port.ledger.now == charges[1] + charges[2]
    assert port.ledger.peak == sum(charges)
    # Windows locks the pages of all buffers; Linux locks none of these.
    assert port.ledger.kernel_locked == (port.ledger.by_state["pending"] if WINDOWS else 0)
    assert port.ledger.internal == 0


def test_same_buffer_twice_is_charged_twice(port, pair):
    """R06: two sends of one buffer are both charged."""
    sock, _peer = pair
    filler = sock.send(bytes(OVERFLOW))
    assert filler.pending
    before = port.ledger.now
    data = bytearray(3 * PAGE)
    sock.send(data)
    sock.send(data)
    assert port.ledger.now == before + 2 * span(data)
    sock.close(0)


def test_send_charges_what_is_still_to_go(port, pair):
    """R06 R02: a send charges only the part that its post could not send."""
    sock, peer = pair
    data = bytearray(OVERFLOW)
    op = sock.send(data)
    left = sock.queued_bytes
    assert 0 < left < len(data)
    charge = pages(address_of_pending(data, left), left)
    assert port.ledger.by_kind == {"receive": 0, "send": charge}
    behind = bytearray(100_000)
    second = sock.send(behind)
    assert second.outcome == "queued"
    assert port.ledger.now == charge + span(behind)
    assert port.ledger.by_state["queued"] == span(behind)
    assert sock.queued_bytes == left + len(behind)
    read(port, peer, len(data) + len(behind))
    finish(port, op, second)
    assert port.ledger.now == 0


def address_of_pending(data: bytearray, left: int) -> int:
    """Return the address of the unsent rest of a bytearray, which the pending send pins."""
    return address_of(data) + len(data) - left


def test_gathered_send_charges_each_part(port, pair):
    """R06: a gathered send charges each of its buffers, except empty ones."""
    sock, peer = pair
    filler = sock.send(bytes(OVERFLOW))
    assert filler.pending
    before = port.ledger.now
    parts = [bytearray(size) for size in (1, 0, 100, PAGE, 3 * PAGE + 1, 70_000)]
    op = sock.sendmsg(parts)
    assert op.outcome == "queued"
    assert port.ledger.now == before + sum(span(part) for part in parts)
    total = OVERFLOW + sum(map(len, parts))
    read(port, peer, total)
    finish(port, filler, op)
    assert port.ledger.now == 0


def test_done_operations_charge_nothing(port, pair):
    """R06: done and zero-byte operations charge nothing."""
    sock, peer = pair
    sock.send(bytes(5000))
    peer.sendall(b"x" * 5000)
    arrived(sock, 5000)
    sock.recv(100)
    sock.recv_into(bytearray(100))
    read(port, peer, 5000)
    while sock.available():
        sock.try_recv(10_000)
    sock.recv_zero()
    assert (port.ledger.now, port.ledger.peak) == (0, 0)


def test_charge_stays_through_a_cancel(port, pair):
    """R06 R31: the last packet refunds the charge; the request to cancel does not."""
    sock, _peer = pair
    target = bytearray(2 * PAGE)
    op = sock.recv_into(target)
    charge = span(target)
    port.run_once(0)
    assert op.cancel()
    assert op.state == "cancelling"
    assert port.ledger.now == charge
    assert port.ledger.by_state == {"queued": 0, "pending": 0, "cancelling": charge}
    with pytest.raises(BufferError):
        target.append(0)
    finish(port, op)
    assert port.ledger.now == 0
    run_until(port, lambda: port.outstanding == 0)
    target.append(0)


def test_subscription_charges(port, peers):
    """R06: waiting pooled and zero-byte subscriptions charge nothing; direct ones their block."""
    got = Recorder()
    for strategy, size, charge in (
        ("pooled", 4096, 0),
        ("zero_byte", 4096, 0),
        ("direct", 5000, 2 * PAGE),
        ("direct", 1, PAGE),
    ):
        sock, peer = peers.pair(port)
        sock.receive(got, receive=strategy, size=size)
        port.run_once(0)
        assert (port.ledger.now, sock.charged) == (charge, charge), strategy
        peer.sendall(b"abc")
        before = len(got)
        run_until(port, lambda before=before: len(got) > before)
        run_until(port, lambda sock=sock, charge=charge: sock.charged == charge)
        sock.close()
        run_until(port, lambda: port.stats().sockets == 0)
        assert port.ledger.now == 0


def test_rejected_posts_charge_nothing(port, pair):
    """R09: a post that raises leaves the ledger as it was."""
    sock, _peer = pair
    op = sock.recv(10)
    before = port.ledger
    for post in (
        lambda: sock.recv(0),
        lambda: sock.recv(-1),
        lambda: sock.recv_into(b"read-only"),
        lambda: sock.recv_into(bytearray()),
        lambda: sock.sendmsg([]),
        lambda: sock.send(12),
    ):
        with pytest.raises(iocp_sock.Error):
            post()
    assert port.ledger == before
    op.cancel()


def test_accept_and_connect_charge_nothing(port, peers):
    """R06: accepts and connects charge nothing."""
    listener = peers.own(port.listen(("127.0.0.1", 0)))
    op = listener.accept()
    connect = port.connect(listener.getsockname())
    assert port.ledger.now == 0
    finish(port, op, connect)
    op.accepted.close()
    connect.socket.close()


def test_ledger_is_frozen(port):
    """R09: the ledger is an immutable snapshot."""
    ledger = port.ledger
    with pytest.raises(AttributeError):
        ledger.now = 1  # type: ignore[misc]


def test_ledger_is_readable_after_close(make_port, peers):
    """R09: the ledger of a closed port can be read, and keeps the peak."""
    port = make_port()
    sock, _peer = peers.pair(port)
    sock.recv(PAGE + 1)
    port.close(0)
    assert (port.ledger.now, port.ledger.peak) == (0, 2 * PAGE)


def test_reset_refunds_everything(port, peers):
    """R05 R06: a fatal error refunds every charge of the socket."""
    sock, peer = peers.tcp(port, buffers=8192)
    ops = [sock.recv(100_000), sock.recv(10), sock.send(bytes(OVERFLOW)), sock.send(bytes(5000))]
    assert port.ledger.now > OVERFLOW
    reset(peer)
    finish(port, *ops)
    assert (port.ledger.now, sock.charged) == (0, 0)


def test_refund_comes_with_the_last_packet(port, pair):
    """R06: when a callback runs, its operation's charge is refunded; charges of others stay."""
    sock, peer = pair
    seen = []
    sock.recv(PAGE, callback=lambda _c: seen.append((port.ledger.now, sock.charged)))
    behind = sock.recv(3 * PAGE)
    peer.sendall(b"x")
    run_until(port, lambda: seen)
    assert seen == [(3 * PAGE, 3 * PAGE)]
    behind.cancel()
