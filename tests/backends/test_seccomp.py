"""A seccomp filter denies io_uring, as container runtimes do: the port falls back to epoll."""

import errno
import json
import os
import subprocess
import sys

import pytest

from support import linux_only, seccomp
from support.places import ROOT, TESTS, python_path

pytestmark = [
    linux_only("io_uring and a seccomp filter"),
    pytest.mark.skipif(not seccomp.supported(), reason="no io_uring call numbers for this machine"),
    pytest.mark.skipif("IOCP_SOCK_DENIED" in os.environ, reason="io_uring is denied already"),
]

REFUSALS = [errno.EPERM, errno.ENOSYS]
NAMES = [errno.errorcode[code] for code in REFUSALS]


@pytest.mark.parametrize("code", REFUSALS, ids=NAMES)
def test_falls_back_and_says_why(in_subprocess, code):
    """Kernel fact: io_uring may fail with EPERM or ENOSYS; 'auto' then takes epoll and says why."""
    output = in_subprocess(
        """
        import json, socket
        from support import seccomp
        seccomp.deny_io_uring(CODE)
        try:
            iocp_sock.Port(backend="uring")
            refused = None
        except iocp_sock.BackendUnavailable as error:
            refused = str(error)
        with iocp_sock.Port() as port:
            ours, theirs = socket.socketpair()
            sock = port.adopt(ours)
            op = sock.recv(10)
            theirs.sendall(b"abc")
            while not op.done:
                port.run_once(1)
            print(json.dumps([port.backend, port.backend_reason, refused, bytes(op.data).decode(),
                              iocp_sock.probe()]))
            theirs.close()
        """.replace("CODE", str(int(code)))
    )
    backend, reason, refused, data, probe = json.loads(output)
    name = errno.errorcode[code]
    assert backend == "epoll"
    assert "io_uring refused" in reason
    assert name in reason
    assert name in refused
    assert data == "abc"
    assert probe["epoll"] == "ok"
    assert name in probe["uring"]


@pytest.mark.parametrize("code", REFUSALS, ids=NAMES)
def test_doctor_says_why(in_subprocess, code):
    """`iocp-sock doctor` names the errno with which io_uring was refused."""
    pytest.importorskip("typer")
    output = in_subprocess(
        """
        import sys
        from support import seccomp
        seccomp.deny_io_uring(CODE)
        from iocp_sock.cli import main
        sys.argv = ["iocp-sock", "doctor"]
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, stop.code
        """.replace("CODE", str(int(code)))
    )
    assert errno.errorcode[code] in output


# Test files left out of the run under the filter, because they start processes or use no backend of
# the system.
ELSEWHERE = [
    "stress",
    "test_bench.py",
    "test_cli.py",
    "test_closing_beside_threads.py",
    "test_docs.py",
    "test_fuzz_model.py",
    "test_lifetimes.py",
    "test_matrix.py",
    "test_matrix_model.py",
    "test_plan.py",
    "test_pytest_plugin.py",
    "test_rings.py",
    "test_sim.py",
    "test_top.py",
]


@pytest.mark.skipif(
    os.environ.get("IOCP_SOCK_SANITIZED") == "1",
    reason="running the whole suite twice more takes too long under a sanitizer",
)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("code", REFUSALS, ids=NAMES)
def test_the_suite_passes_where_io_uring_is_denied(code):
    """The suite passes on epoll in a process to which io_uring is denied."""
    # A fresh interpreter is needed, because pytest must be the first to import the package's
    # plugin. The seccomp filter survives exec().
    program = (
        "import os, sys\n"
        "from support import seccomp\n"
        f"seccomp.deny_io_uring({int(code)})\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'pytest', *sys.argv[1:]])"
    )
    environment = {
        **os.environ,
        "IOCP_SOCK_DENIED": errno.errorcode[code],
        **python_path(),
    }
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            "-q",
            "-x",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(ROOT),
            "-c",
            str(ROOT / "pyproject.toml"),
            *(f"--ignore={path}" for name in ELSEWHERE for path in TESTS.rglob(name)),
            str(TESTS),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert " passed" in result.stdout
    assert f"uring: io_uring_setup: {errno.errorcode[code]}" in result.stdout
