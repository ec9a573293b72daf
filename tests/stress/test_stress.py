"""R38: threads use, close and drop what other threads run; no crash, no hang, nothing left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import iocp_sock
from stress.__main__ import PATIENCE
from stress.scenarios import load
from support import BACKENDS

STATES = iocp_sock.probe()
SCENARIOS = load()


def _environment() -> dict[str, str]:
    paths = [Path(iocp_sock.__file__).parents[1], Path(__file__).parents[1]]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_stress(name: str, backend: str, request: pytest.FixtureRequest) -> None:
    """The scenario's process ends by itself, with status 0 and no word."""
    if STATES[backend] != "ok":
        pytest.skip(f"{backend}: {STATES[backend]}")
    times = request.config.getoption("--stress-rounds")
    if times == 0:
        pytest.skip("played with --stress-rounds: registered_memory still fails at times on uring")
    rounds = SCENARIOS[name].rounds * times
    command = [sys.executable, "-m", "stress", name, backend, str(rounds)]
    result = subprocess.run(
        command,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert result.returncode == 0, f"status {result.returncode}\n{result.stdout}{result.stderr}"
