"""The machine on which a result was measured: CPUs, limits, versions."""

import contextlib
import importlib.metadata
import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True)
class Cpus:
    """The CPUs to which server and client are pinned."""

    server: int
    client: int

    @classmethod
    def choose(cls, wanted: tuple[int, int] | None = None) -> "Cpus":
        """The wanted CPUs, or the first two (or the only one) that this process may use."""
        if wanted is not None:
            return cls(*wanted)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1 % len(allowed)])


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Runs the `with` block, and the processes that it starts, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> None:
    """Raises the soft open-file limit to the hard one, for this process and its children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe(cpus: Cpus) -> dict[str, object]:
    """The context of a result: date, kernel, CPU, versions, load at the start."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "server_cpu": cpus.server,
        "client_cpu": cpus.client,
        "load_average": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "iocp_sock": _version("iocp_sock"),
        "uvloop": _version("uvloop"),
    }
