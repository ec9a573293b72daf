"""R38: threads use, close and drop ports of other threads; no crash, no hang, no leak."""

import os
import subprocess
import sys

import pytest

from stress.__main__ import PATIENCE
from stress.scenarios import load
from support import BACKENDS
from support.backends import STATES
from support.places import python_path

SCENARIOS = load()


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_stress(name: str, backend: str, request: pytest.FixtureRequest) -> None:
    """The scenario's process ends with status 0."""
    if STATES[backend] != "ok":
        pytest.skip(f"{backend}: {STATES[backend]}")
    if name == "forks" and os.environ.get("IOCP_SOCK_SANITIZED") == "1":
        pytest.skip("the sanitizer's allocator may be locked at a fork, and stays so in the child")
    times = request.config.getoption("--stress-rounds")
    if times == 0:
        pytest.skip("--stress-rounds 0")
    rounds = max(1, round(SCENARIOS[name].rounds * times))
    command = [sys.executable, "-m", "stress", name, backend, str(rounds)]
    result = subprocess.run(
        command,
        env={**os.environ, **python_path()},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.returncode == 0, f"status {result.returncode}\n{result.stdout}{result.stderr}"
