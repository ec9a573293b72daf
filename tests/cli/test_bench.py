"""The benchmark commands run and report; no test judges the speeds that they measure."""

import json
import subprocess
import sys

import pytest

from support import LOCKS_LITTLE, PAGE, linux_only
from support.places import ROOT

CONNECTIONS = 20

pytestmark = pytest.mark.skipif(
    not (ROOT / "bench").is_dir(), reason="this source tree has no directory bench"
)


@pytest.mark.skipif(LOCKS_LITTLE, reason="20 direct sends of 16 KiB are over RLIMIT_MEMLOCK")
@linux_only("the benchmark reads /proc and pins processors")
def test_strategies(backend):
    """R14: one command gives rate, CPU, latency, charge and memory of every strategy."""
    options = f"--connections {CONNECTIONS} --idle 0 --rounds 1 --seconds 0.1 --backends {backend}"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "strategies", "--json", *options.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=100,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["failures"] == []
    assert set(told["skipped"]) <= {"epoll-send-direct"}  # epoll has no zero-copy send
    rows = {(row["direction"], row["strategy"]): row for row in told["rows"]}
    assert {strategy for direction, strategy in rows if direction == "receive"} == {
        "adaptive",
        "direct",
        "pooled",
        "zero_byte",
    }
    assert {strategy for direction, strategy in rows if direction == "send"} >= {
        "buffered",
        "when_writable",
    }
    assert sum(row["cpu_us_per_message"] for row in rows.values()) > 0
    for (direction, strategy), row in rows.items():
        assert row["messages_per_second"] > 0
        assert row["cpu_us_per_message"] >= 0  # 0 if the messages take less than a clock tick
        assert row["p99_us"] >= row["p50_us"] > 0
        if direction == "receive":
            posted = strategy == "direct"
            assert row["idle_charged_bytes"] == (CONNECTIONS * PAGE if posted else 0)
