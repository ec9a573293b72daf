"""Making a port with too few free descriptors."""

import errno

import pytest

import iocp_sock
from support import descriptors, linux_only, no_descriptor_left
from support.backends import GRANTED

pytestmark = linux_only("lowers RLIMIT_NOFILE")


def spare(count):
    """Lower the limit so that this many descriptors can be opened."""
    return no_descriptor_left(count)


@pytest.mark.parametrize("backend", [*GRANTED, "auto"])
@pytest.mark.parametrize("count", [0, 1])
def test_no_descriptor_for_a_port(backend, count):
    """R10: a lack of descriptors is raised as EMFILE, not as a missing backend; nothing leaks."""
    before = descriptors()
    with spare(count), pytest.raises(iocp_sock.ResourceExhausted) as caught:
        iocp_sock.Port(backend=backend)
    assert caught.value.errno == errno.EMFILE
    assert "not implemented" not in str(caught.value)
    assert caught.value.ledger == {}
    assert descriptors() == before
    with iocp_sock.Port(backend=backend):
        pass
    if backend == "auto":
        assert "io_uring" in str(caught.value)


@pytest.mark.parametrize("backend", [*GRANTED, "auto"])
def test_every_count_of_descriptors(backend):
    """With any number of free descriptors the port is made, or raises EMFILE."""
    made = 0
    for count in range(8):
        before = descriptors()
        with spare(count):
            try:
                port = iocp_sock.Port(backend=backend)
            except iocp_sock.ResourceExhausted as error:
                assert error.errno == errno.EMFILE  # noqa: PT017 - one of two outcomes
                assert made == 0
            else:
                made += 1
                port.close()
        assert descriptors() == before
    assert made
