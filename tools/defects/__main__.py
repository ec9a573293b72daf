"""Plant known defects in the sources, one at a time, and check that a test finds each.

    python tools/defects [--list | --check] [--tree DIRECTORY] [NAME...]

`defects.toml` has the defects: a snippet of one file, the snippet that breaks the rule, and the
tests that must fail then. Without a NAME all are planted. They are planted in a copy of the sources
(default: build/defects), which is built with the preset `dev`; the next run builds only what
changed. Exits with 1 if a defect was not found, or if its snippet does not occur exactly once.
--check only looks whether each snippet occurs exactly once. A test that is skipped finds nothing.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import tomllib

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("defects.toml")
TIMEOUT = 600.0
"""The maximum seconds for the tests of one defect. Tests that hang count as having found it."""
FOUND = "found"


class BuildError(Exception):
    """The sources do not build."""


class Defect(NamedTuple):
    """A way to break one rule, and the tests that guard it."""

    name: str
    rule: str
    file: str
    before: str
    after: str
    cpp: str = ""
    """A filter of GoogleTest for iocp_tests."""
    python: str = ""
    """Arguments of pytest."""

    def plant(self, tree: Path) -> None:
        """Put the defect into the tree."""
        path = tree / self.file
        path.write_text(path.read_text().replace(self.before, self.after))

    def misfits(self, tree: Path) -> str | None:
        """Return why the defect cannot be planted, if it cannot."""
        path = tree / self.file
        if not path.exists():
            return f"there is no {self.file}"
        count = path.read_text().count(self.before)
        return None if count == 1 else f"its snippet occurs {count} times in {self.file}"


def defects() -> list[Defect]:
    """Read defects.toml."""
    return [Defect(**entry) for entry in tomllib.loads(TABLE.read_text())["defect"]]


def copy_sources(tree: Path) -> None:
    """Bring the copy up to date. Unchanged files keep their times, so that they are not rebuilt."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], check=True, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        source, target = ROOT / name, tree / name
        if not name or not source.is_file():
            continue
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Restore the file's content after the block."""
    before = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(before)


def run(command: list[str], tree: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in the tree, and return its output."""
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, **options)


def build(tree: Path, target: str) -> None:
    """Build one target."""
    if not (tree / "build" / "dev" / "build.ninja").exists():
        configure = ["cmake", "--preset", "dev", f"-DPython_EXECUTABLE={sys.executable}"]
        run(configure, tree, check=True)
    result = run(["cmake", "--build", "--preset", "dev", "--target", target], tree)
    if result.returncode != 0:
        raise BuildError(f"{result.stdout[-4000:]}{result.stderr[-4000:]}")


def commands(defect: Defect) -> Iterator[tuple[str, list[str]]]:
    """Yield the targets to build, each with the command that runs its tests."""
    if defect.cpp:
        yield "iocp_tests", ["build/dev/iocp_tests", f"--gtest_filter={defect.cpp}"]
    if defect.python:
        options = ["-m", "pytest", "-p", "no:cacheprovider", "-q", "-x"]
        yield "_core", [sys.executable, *options, *shlex.split(defect.python)]


def fails(tree: Path, command: list[str]) -> bool:
    """Return whether the tests fail with the package of the copy, whatever is installed."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "python")}
    try:
        return run(command, tree, env=environment, timeout=TIMEOUT).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def outcome_of(defect: Defect, tree: Path) -> str:
    """Plant a defect, and return whether its tests find it."""
    with restored(tree / defect.file):
        defect.plant(tree)
        for target, command in commands(defect):
            try:
                build(tree, target)
            except BuildError as error:
                return f"NO BUILD: {error}"
            if not fails(tree, command):
                return "NOT FOUND"
    return FOUND


def outcomes(chosen: list[Defect], tree: Path) -> Iterator[tuple[Defect, str]]:
    """Yield the outcome of each defect. Before that, its tests must pass without any defect."""
    for target in sorted({target for defect in chosen for target, _ in commands(defect)}):
        build(tree, target)
    sound = []
    for defect in chosen:
        if any(fails(tree, command) for _, command in commands(defect)):
            yield defect, "FAILS ANYWAY"
        else:
            sound.append(defect)
    for defect in sound:
        yield defect, outcome_of(defect, tree)


def main(arguments: list[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="tools/defects", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the defects and their rules")
    parser.add_argument("--check", action="store_true", help="only look for their snippets")
    parser.add_argument("--tree", type=Path, default=ROOT / "build" / "defects")
    given = parser.parse_args(arguments)
    every = defects()
    unknown = set(given.names) - {defect.name for defect in every}
    if unknown:
        parser.error(f"there is no defect {', '.join(sorted(unknown))}")
    chosen = [defect for defect in every if not given.names or defect.name in given.names]
    if given.list:
        for defect in chosen:
            print(f"{defect.name}: {defect.rule}")
        return 0
    wrong = {defect.name: defect.misfits(ROOT) for defect in chosen}
    missed = [f"{name}: {why}" for name, why in wrong.items() if why is not None]
    if given.check or missed:
        print(*missed, f"{len(chosen)} defects", sep="\n")
        return 1 if missed else 0
    tree = given.tree.resolve()
    copy_sources(tree)
    begun = time.monotonic()
    for defect, outcome in outcomes(chosen, tree):
        missed += [] if outcome == FOUND else [defect.name]
        print(f"{time.monotonic() - begun:6.0f} s  {defect.name}: {outcome}", flush=True)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
