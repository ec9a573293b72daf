"""The benchmarks as modules, where they lie beside the tests; they are for Linux."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = sys.platform == "linux" and (ROOT / "bench").is_dir()
if HERE:
    sys.path.append(str(ROOT))

needs_benchmarks = pytest.mark.skipif(
    not HERE, reason="Linux only, and only beside the benchmarks: TUN devices and namespaces"
)
