"""Check the includes between the directories of cpp/: lower rooms never include higher ones.

    python tools/includes.py [ROOT]

Prints each include that breaks the order, and exits with 1 if there is one.
"""

import re
import sys
from pathlib import Path

# Each room (a directory of cpp/), and the other rooms that its files may include.
ALLOWED = {
    "base": (),
    "ops": ("base",),
    "backend": ("base", "ops"),
    "backend/linux": ("base", "ops", "backend"),
    "backend/windows": ("base", "ops", "backend"),
    "backend/sim": ("base", "ops", "backend"),
    "core": ("base", "ops", "backend"),
    "run": ("base", "ops", "backend", "core"),
    "bindings": ("base", "ops", "backend", "backend/sim", "core", "run"),
    "aio": ("base", "ops", "backend", "core", "run", "bindings"),
}
# The file on top of all rooms, which registers the types of each.
TOP = "module.cpp"
# The only file of a platform that may include every backend, to make one by name.
MAKERS = {"backend/linux/make_backend.cpp", "backend/windows/make_backend.cpp"}
CPP = Path(__file__).resolve().parents[1] / "cpp"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def room_of(path: str) -> str | None:
    """Return the room of a file below cpp/; the most specific one."""
    rooms = [room for room in ALLOWED if path.startswith(room + "/")]
    return max(rooms, key=len, default=None)


def included(path: Path) -> set[str]:
    """Return the headers that a file names in quotes."""
    return set(INCLUDE.findall(path.read_text()))


def broken(root: Path) -> list[str]:
    """Return a line for each include that the order forbids. Nothing includes what is on top."""
    lines = []
    for source in sorted(root.rglob("*.?pp")):
        name = source.relative_to(root).as_posix()
        room = room_of(name)
        if name == TOP:
            continue
        if room is None:
            lines.append(f"{name}: there is no room of this name; add it to ALLOWED")
            continue
        for header in sorted(included(source)):
            target = room_of(header)
            if target is None or target == room or target in ALLOWED[room]:
                continue
            if name in MAKERS and target.startswith("backend/"):
                continue
            lines.append(f"{name} includes {header}: {room} may not include {target}")
    return lines


def main() -> int:
    """Print the forbidden includes."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else CPP
    lines = broken(root)
    print("\n".join(lines) or "every include follows the order of the rooms")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
