"""A ring of io_uring belongs to one thread."""

import shutil
import subprocess

import pytest

import iocp_sock
from support import linux_only


@linux_only("thread ids that the kernel gives again, and io_uring")
def test_a_thread_with_the_id_of_one_that_ended(with_threads):
    """A ring belongs to a thread, not to its id: the next thread of that id gets its own."""
    if iocp_sock.probe()["uring"] != "ok":
        pytest.skip("io_uring is refused here")
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False).returncode
    ):
        pytest.skip("unshare cannot make a process namespace, in which thread ids can be chosen")
    with_threads(
        """
        port = iocp_sock.Port(backend="uring")
        ours, theirs = socket.socketpair()
        sock = port.adopt(ours)
        ids = []
        def receive():
            ids.append(threading.get_native_id())
            operation = sock.recv(1)
            port.run_once(0)
            theirs.send(b"x")
            while not operation.done:
                assert port.run_once(20) != 0
            assert operation.error is None
        join(together(receive))
        def receive_if_the_same():
            if threading.get_native_id() == ids[0]:
                receive()
        while len(ids) < 2:
            with open("/proc/sys/kernel/ns_last_pid", "w") as last:
                last.write(str(ids[0] - 1))
            join(together(receive_if_the_same))
        assert ids[0] == ids[1]
        port.close(0)
        theirs.close()
        check(port)
        """,
        before=unshare,
    )


@linux_only("os.fork and io_uring")
def test_a_ring_of_a_forked_child(with_threads):
    """In a forked child a ring belongs to one thread too, and others may not run the port."""
    if iocp_sock.probe()["uring"] != "ok":
        pytest.skip("io_uring is refused here")
    with_threads(
        """
        parent = iocp_sock.Port(backend="uring")
        parent.run_once(0)
        child = os.fork()
        if child == 0:
            port = iocp_sock.Port(backend="uring")
            port.run_once(0)
            refused = []
            def run():
                try:
                    port.run_once(0)
                except iocp_sock.WrongThread:
                    refused.append(1)
            join(together(run))
            port.close(0)
            os._exit(0 if refused else 7)
        assert os.waitpid(child, 0)[1] == 0
        parent.close(0)
        check(parent)
        """
    )
