"""Check a Windows wheel: its tag, its files, and the imports of its module.

Usage: check_wheel.py WINDOWS.whl [LINUX.whl]. With the wheel of another platform, both must have
the same files and metadata. Prints the errors and exits with 1.
"""

import email.parser
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TAG = "cp311-cp311-win_amd64"
MODULE = "iocp_sock/_core.cp311-win_amd64.pyd"
REQUIRED = {"python311.dll", "kernel32.dll", "msvcrt.dll", "ws2_32.dll"}
ALLOWED = REQUIRED | {"mswsock.dll", "ntdll.dll"}


def imported(module: Path) -> set[str]:
    """Return the names of the libraries that a module imports, in lower case."""
    listing = subprocess.run(
        ["x86_64-w64-mingw32-objdump", "-p", str(module)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {name.lower() for name in re.findall(r"^\s*DLL Name: (\S+)$", listing, re.MULTILINE)}


def portable(names: list[str]) -> set[str]:
    """Return the names of files with the word TAG in place of the platform's tag."""
    return {re.sub(r"(?<=^iocp_sock/_core\.)[^/]+(?=\.(so|pyd)$)", "TAG", name) for name in names}


def metadata(wheel: zipfile.ZipFile) -> str:
    """Return the metadata of a wheel."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return wheel.read(name).decode()


def problems(path: Path, other: Path | None) -> list[str]:
    """Return the errors of a wheel."""
    found = []
    if not path.name.endswith(f"-{TAG}.whl"):
        found.append(f"{path.name} is not tagged {TAG}")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as work:
        names = wheel.namelist()
        modules = [name for name in names if name.endswith((".pyd", ".dll", ".so", ".exe"))]
        if modules != [MODULE]:
            return [*found, f"it has the compiled files {modules}; it must have only {MODULE}"]
        (tags,) = (name for name in names if name.endswith(".dist-info/WHEEL"))
        written = email.parser.Parser().parsestr(wheel.read(tags).decode()).get_all("Tag")
        if written != [TAG]:
            found.append(f"WHEEL names the tags {written}")
        imports = imported(Path(wheel.extract(MODULE, work)))
        if imports - ALLOWED:
            found.append(
                f"it imports {sorted(imports - ALLOWED)}, which some versions of Windows lack"
            )
        if REQUIRED - imports:
            found.append(f"it must import {sorted(REQUIRED - imports)}")
        if other is not None:
            with zipfile.ZipFile(other) as reference:
                one, two = portable(names), portable(reference.namelist())
                one = {name.replace(".pyd", ".so") for name in one}
                if one != two:
                    found.append(f"only here: {sorted(one - two)}, only there: {sorted(two - one)}")
                if metadata(wheel) != metadata(reference):
                    found.append(f"the metadata differs from that of {other.name}")
    return found


def main() -> int:
    """Check the wheels that the command line names."""
    path, *others = (Path(argument) for argument in sys.argv[1:])
    found = problems(path, others[0] if others else None)
    for problem in found:
        print(f"{path.name}: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
