"""Lack of memory: each allocation of the module, and of the interpreter, fails once.

The outcome of each failure is success or an error, which is raised or reported; never a crash, a
hang, or a leak. Each sweep runs in a process of its own.
"""

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

import iocp_sock
from support import SLOWNESS, linux_only
from support.places import ROOT, TESTS, python_path

KINDS = {"new": 0, "python": 1}
SCENARIOS = (
    "operations",
    "subscriptions",
    "completions",
    "events",
    "shared",
    "flow",
    "waits",
    "datagrams",
    "messages",
    "routines",
    "another",
    "turn",
)
NOT_IN_THE_MODEL = {
    "shared": "the model runs in one thread",
    "datagrams": "not in the model: families and types besides TCP over IPv4",
    "messages": "not in the model: AF_UNIX",
    "routines": "not in the model: no descriptor stands behind a modelled socket",
    "turn": "the event loop does not run on a model yet",
}
STRIDES = {"new": 1, "python": 3}
"""One allocation in this many fails; --every-allocation makes each fail."""

pytestmark = linux_only("a library loaded by LD_PRELOAD makes allocations fail")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the library that makes allocations fail."""
    compiler = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")
    made = tmp_path_factory.mktemp("memory") / "failing_allocations.so"
    include = sysconfig.get_paths()["include"]
    if not (Path(include) / "Python.h").exists():
        pytest.skip("the interpreter's headers are missing")
    command = [
        compiler[0],
        "-std=c++17",
        "-O1",
        "-fPIC",
        "-shared",
        "-Wl,-z,lazy",
        f"-I{include}",
        str(TESTS / "support" / "failing_allocations.cpp"),
        "-o",
        str(made),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"no compiler: {compiler[0]}")
    return str(made)


@pytest.mark.timeout(600 * SLOWNESS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_allocation_that_fails_is_an_error_or_none(
    library: str,
    backend: str | iocp_sock.Sim,
    scenario: str,
    kind: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    name = backend if isinstance(backend, str) else "sim"
    if name == "sim" and scenario in NOT_IN_THE_MODEL:
        pytest.skip(NOT_IN_THE_MODEL[scenario])
    stride = 1 if request.config.getoption("--every-allocation") else STRIDES[kind]
    environment = {**os.environ, **python_path(Path(library).parent)}
    before = environment.get("LD_PRELOAD")
    environment["LD_PRELOAD"] = f"{before}:{library}" if before else library
    result = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            str(TESTS / "support" / "memory_sweep.py"),
            name,
            scenario,
            str(KINDS[kind]),
            str(stride),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600 * SLOWNESS,
        check=False,
    )
    assert result.returncode == 0, f"at allocation {result.stderr}"
    table = json.loads(result.stdout)
    if table["allocations"] == 0:
        pytest.skip("the allocator of another preloaded library is used")
    print(f"no memory, {name}, {scenario}, {kind}: {table}")
    record_property("outcomes", table)
    assert table["raised"] + table["told"] > 0, "no failed allocation caused an error"


def test_no_row_of_a_table_goes_without_its_guard() -> None:
    """Every method, property and slot wraps its function in guarded<>."""
    rooms = [ROOT / "cpp" / room for room in ("bindings", "aio")]
    if not all(room.exists() for room in rooms):
        pytest.skip("the sources of the module are missing")
    bare = []
    for path in sorted(path for room in rooms for path in room.glob("*.cpp")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            row = line.strip()
            function = row.startswith('{"') and ("METH_" in row or "keywords_call" in row)
            slot = row.startswith("{Py_") and "reinterpret_cast<void*>(" in row
            if (function or slot) and "guarded<" not in row and "PyObject_" not in row:
                bare.append(f"{path.name}:{number}: {row}")
    assert not bare, bare
