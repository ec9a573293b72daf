"""Make docs/requirements.md: the tests of each requirement, from the numbers in the tests.

A test names its requirements as R01, R02, ... A Python test has them in its docstring, or in the
module's for all tests of a file. A C++ test has them in the comment above it, or in the first
comment for all tests of a file.

    python tools/requirements.py

tests/cli/test_requirements.py fails if the page differs, or if a requirement has no test.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "requirements.md"

REQUIREMENTS = {
    "R01": "A post says whether it is done, pending, queued, or refused.",
    "R02": "A post that fits the system's buffers is done at once; any other is pending.",
    "R03": "Every accepted post has exactly one completion, later.",
    "R04": "A stream's send goes out whole, or ends with an error and its count.",
    "R05": "A fatal error of a socket releases all that the socket holds.",
    "R06": "The ledger charges whole pages, and refunds them with the last packet.",
    "R07": "A budget and caps bound what is outstanding.",
    "R08": "A refusal of the system is one exception, with the counters of the moment.",
    "R09": "The ledger can be read at any time, and is exact.",
    "R10": "Making sockets can be refused, and nothing leaks.",
    "R11": "A zero-byte receive waits without memory, and leaves the data in place.",
    "R12": "Received data is drained with bounded work in each turn.",
    "R13": "Each socket has a receive strategy, which can change at any time.",
    "R14": "The cost of each strategy is measured.",
    "R15": "Waiting for room to send costs no memory.",
    "R16": "Send strategies, and a send queue with marks and a cap.",
    "R17": "A peer that does not read costs no more than the caps.",
    "R18": "Kernel buffers and Nagle's algorithm can be set, and read as they took effect.",
    "R19": "The effect of buffers and Nagle's algorithm is measured, and stalls are reported.",
    "R20": "A model of the stack in virtual time.",
    "R21": "A planner recommends a strategy for a load.",
    "R22": "Every family and type of socket that the system has; adopted and duplicated sockets.",
    "R23": "Receives into several buffers, sends from several.",
    "R24": "Completions through the port: one, a batch, posted by the user, to several threads.",
    "R25": "Completions through event objects, and results on request.",
    "R26": "Completion routines, in alertable waits of the posting thread alone.",
    "R27": "Blocking calls.",
    "R28": "Many targets from one thread, each with an operation of its own.",
    "R29": "Flags, in and out.",
    "R30": "Posting order, and sequence numbers.",
    "R31": "Cancel of one operation, or of all of a socket.",
    "R32": "Accept, connect, disconnect, files; no accept's error stops a listener.",
    "R33": "An asyncio event loop on the port.",
    "R37": "Paused readers, closes that end in a reset, and files that count as bytes.",
    "R38": "No use from any thread, at any time, crashes, hangs, leaks or loses a completion.",
}
_NAMED = re.compile(r"\bR[0-3][0-9]\b")
_CPP_TEST = re.compile(r"((?:^//[^\n]*\n)*)^(?:TEST|TEST_F|TEST_P)\((\w+), (\w+)\)", re.MULTILINE)


def _python(path: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    for number in _NAMED.findall(ast.get_docstring(tree) or ""):
        yield number, name
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for number in _NAMED.findall(ast.get_docstring(node) or ""):
                yield number, f"{name}::{node.name}"


def _cpp(path: Path) -> Iterator[tuple[str, str]]:
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    heading = re.match(r"(?:^//[^\n]*\n)*", text, re.MULTILINE)
    for number in _NAMED.findall(heading.group() if heading else ""):
        yield number, name
    for comment, suite, test in _CPP_TEST.findall(text):
        for number in _NAMED.findall(comment):
            yield number, f"{name}::{suite}.{test}"


def held() -> dict[str, list[str]]:
    """Return the tests of each requirement, in order, each once."""
    tests: dict[str, list[str]] = {number: [] for number in REQUIREMENTS}
    files = [(path, _python) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    files += [(path, _cpp) for path in sorted((ROOT / "tests" / "cpp").rglob("*.cpp"))]
    for path, names in files:
        for number, test in names(path):
            if test not in tests[number]:
                tests[number].append(test)
    return tests


def page(tests: dict[str, list[str]]) -> str:
    """Make the page's text: a table, and below it the tests of each requirement."""
    lines = [
        "# Requirements and their tests",
        "",
        "R01 to R38 are the requirements of the library. Each test names the numbers it holds, and",
        "`python tools/requirements.py` makes this page from them. A file named alone holds a",
        "requirement with all its tests. Python tests run on every backend.",
        "",
        "| | what | tests |",
        "| --- | --- | --- |",
    ]
    for number, what in REQUIREMENTS.items():
        lines.append(f"| [{number}](#{number.lower()}) | {what} | {len(tests[number])} |")
    for number, what in REQUIREMENTS.items():
        lines += ["", f"## {number}", "", what, ""]
        by_file: dict[str, list[str]] = {}
        for test in tests[number]:
            name, _, inside = test.partition("::")
            by_file.setdefault(name, []).append(inside)
        for name, inside in by_file.items():
            listed = ", ".join(f"`{test}`" for test in inside if test)
            lines.append(f"- `{name}`" + (f": {listed}" if listed else ""))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(held()), encoding="utf-8")
