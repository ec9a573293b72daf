"""Makes the benchmarks importable if their directory exists; they run on Linux only."""

import sys

import pytest

from support.places import ROOT

HERE = sys.platform == "linux" and (ROOT / "bench").is_dir()
if HERE:
    sys.path.append(str(ROOT))

needs_benchmarks = pytest.mark.skipif(
    not HERE, reason="Linux only, and only beside the benchmarks: TUN devices and namespaces"
)
