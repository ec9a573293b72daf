"""Every Python block below docs/ runs, and asserts what it shows.

Each block runs by itself, on each backend. A block that cannot run alone begins with
```python title="fragment"; a test file begins with ```python title="tests", and pytest runs it. A
block that begins with ```python title="linux" does not run on Windows.
test_styles.py runs the programs that pages include from docs/programs.
"""

import gc
import re

import pytest

import iocp_sock
from support import WINDOWS, descriptors, settled
from support.inner_pytest import run_pytest
from support.places import DOCS, needs_docs

_FENCE = re.compile(r"^```python(?P<marker>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = needs_docs


def blocks():
    """Yield each Python block: "page:line", the marker after ```python, code, path and line."""
    for path in sorted(DOCS.glob("**/*.md")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(DOCS).as_posix()
        for found in _FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{name}:{line}", found["marker"].strip(), found["code"], path, line


FRAGMENT, TESTS, LINUX = 'title="fragment"', 'title="tests"', 'title="linux"'
BLOCKS = list(blocks())
PROGRAMS = [block for block in BLOCKS if block[1] in ("", LINUX)]
TEST_FILES = [block for block in BLOCKS if block[1] == TESTS]


def test_there_are_programs():
    """The search finds every Python block of the pages, so that this file tests all of them."""
    assert any(path.name == "memory.md" for _, _, _, path, _ in PROGRAMS)
    fences = sum(
        line.startswith("```python")
        for path in DOCS.glob("**/*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    assert fences == len(BLOCKS)


def test_markers():
    """Every block has a known marker, or none if it is a program for all systems."""
    assert {marker for _, marker, _, _, _ in BLOCKS} <= {"", FRAGMENT, TESTS, LINUX}


def test_programs_are_shown():
    """A page includes each program of docs/programs; ruff must not reformat the include line."""
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("**/*.md"))
    for program in DOCS.joinpath("programs").glob("*.py"):
        assert f'--8<-- "programs/{program.name}"\n' in pages


@pytest.mark.parametrize("block", PROGRAMS, ids=[block[0] for block in PROGRAMS])
def test_block(block, backend, monkeypatch, tmp_path):
    """A block that is a program asserts something, runs to its end, and leaves nothing open."""
    _name, marker, code, path, line = block
    if marker == LINUX and WINDOWS:
        pytest.skip("the block is marked for Linux only")
    assert re.search(r"^\s*assert ", code, re.MULTILINE), "the block asserts nothing"
    monkeypatch.setenv("IOCP_SOCK_BACKEND", backend)
    monkeypatch.chdir(tmp_path)
    before = descriptors()
    program = compile("\n" * line + code, str(path), "exec")
    namespace = {"__name__": "__main__"}
    exec(program, namespace)
    ports = [thing for thing in namespace.values() if isinstance(thing, iocp_sock.Port)]
    namespace.clear()
    gc.collect()
    for port in ports:
        assert port.backend == backend
        settled(port)
    assert descriptors() <= before


@pytest.mark.parametrize("block", TEST_FILES, ids=[block[0] for block in TEST_FILES])
def test_test_file(block, tmp_path):
    """A block marked as a test file has tests, and all of them pass."""
    result = run_pytest(tmp_path, block[2])
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    assert "skipped" not in result.stdout
