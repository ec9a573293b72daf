"""The native programs, compiled on demand by the system's C compiler."""

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

_SOURCES = Path(__file__).parent / "native"
_FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]
_SECONDS = 120


class CompileError(RuntimeError):
    """A native program could not be built; the text is the compiler's."""


def _compiler() -> list[str]:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return [found]
    raise CompileError("no C compiler: install one, or name it in CC")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "iocp_sock-bench"
    return Path(tempfile.gettempdir()) / f"iocp_sock-bench-{os.getuid()}"


@functools.cache
def program(name: str) -> Path:
    """The executable of native/NAME.c, built when source, flags or compiler are new."""
    source = _SOURCES / f"{name}.c"
    command = [*_compiler(), *_FLAGS]
    digest = hashlib.sha256(shlex.join(command).encode())
    for part in (source, *sorted(_SOURCES.glob("*.h"))):
        digest.update(part.read_bytes())
    cache = _cache()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    built = cache / f"{name}-{digest.hexdigest()[:16]}"
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [*command, "-o", str(partial), str(source)],
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CompileError(f"{source.name}: {done.stderr.strip()}")
        partial.replace(built)
    return built
