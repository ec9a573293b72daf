"""The native programs, compiled on demand by the system's C compiler, or by MinGW-w64's."""

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


_WINDOWS = "x86_64-w64-mingw32-gcc-posix"
_WINDOWS_FLAGS = ["-D_WIN32_WINNT=0x0A00", "-static"]


class CompileError(RuntimeError):
    """A native program could not be built; the message gives the reason."""


def _compiler() -> list[str]:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found:
            return [found]
    raise CompileError("there is no C compiler; install one, or name it in CC")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "iocp_sock-bench"
    return Path(tempfile.gettempdir()) / f"iocp_sock-bench-{os.getuid()}"


@functools.cache
def program(name: str) -> Path:
    """The executable of native/NAME.c, built again if source, flags or compiler changed."""
    return _built(name, "", [*_compiler(), *_FLAGS], [])


@functools.cache
def windows_program(name: str) -> Path:
    """The Windows executable of native/NAME.c, built by MinGW-w64."""
    if shutil.which(_WINDOWS) is None:
        raise CompileError(f"there is no {_WINDOWS}; tools/windows/setup installs it")
    return _built(name, ".exe", [_WINDOWS, *_FLAGS, *_WINDOWS_FLAGS], ["-lws2_32"])


def _built(name: str, suffix: str, command: list[str], libraries: list[str]) -> Path:
    source = _SOURCES / f"{name}.c"
    digest = hashlib.sha256(shlex.join([*command, *libraries]).encode())
    for part in (source, *sorted(_SOURCES.glob("*.h"))):
        digest.update(part.read_bytes())
    cache = _cache()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    built = cache / f"{name}-{digest.hexdigest()[:16]}{suffix}"
    if not built.exists():
        partial = built.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [*command, "-o", str(partial), str(source), *libraries],
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise CompileError(f"{source.name}: {done.stderr.strip()}")
        partial.replace(built)
    return built
