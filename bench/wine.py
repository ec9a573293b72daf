"""Windows programs under the Wine that tools/windows/setup prepared."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_WINE = "/usr/lib/wine/wine64"


def _home() -> Path:
    return Path(os.environ.get("IOCP_SOCK_WINDOWS") or _ROOT / "build" / "windows")


def python() -> list[str]:
    """The command of the Windows CPython. The process that it starts is the interpreter itself."""
    return [_WINE, str(_home() / "python" / "python.exe")]


def native(program: Path) -> list[str]:
    """The command of a native Windows program. The process that it starts is the program itself."""
    return [_WINE, str(program)]


def environment() -> dict[str, str]:
    """The environment of a Windows program, which finds the sources from its working directory."""
    left_out = ("PYTHONHOME", "VIRTUAL_ENV", "TMPDIR", "TEMP", "TMP", "DISPLAY")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {
        "WINEPREFIX": str(_home() / "prefix"),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree=;mshtml=;winemenubuilder.exe=",
        "PYTHONPATH": "",
    }


def _servers() -> Iterator[int]:
    prefix = f"WINEPREFIX={_home() / 'prefix'}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
                if name.startswith("wineserver") and prefix in (
                    (entry / "environ").read_bytes().split(b"\0")
                ):
                    yield int(entry.name)
            except OSError:
                continue  # the process has ended meanwhile


def server_pid(cpu: int) -> int:
    """Pin the Wine prefix's server to the CPU, starting it if none runs; return its pid."""
    found = list(_servers())
    if not found:
        subprocess.run([_ROOT / "tools/windows/python", "-c", "pass"], check=True)
        found = list(_servers())
    os.sched_setaffinity(found[0], {cpu})
    return found[0]
