"""Every Python block of docs/*.md runs, and checks what it shows.

A block is run by itself, on each backend. One that is no program of its own says so in its first
line: ```python title="fragment". One that is a test file says title="tests", and is run by pytest.
What a page takes from docs/programs is run by test_styles.py.
"""

import gc
import re
from pathlib import Path

import pytest

import iocp_sock
from inner_pytest import run_pytest
from support import descriptors, settled

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r"^```python(?P<marker>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the tests stand without the docs here")


def blocks():
    """All Python blocks: where each is, what its first line says beside the language, its code."""
    for path in sorted(DOCS.glob("**/*.md")):
        text = path.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path.name}:{line}", found["marker"].strip(), found["code"], path, line


FRAGMENT, TESTS = 'title="fragment"', 'title="tests"'
BLOCKS = list(blocks())
PROGRAMS = [block for block in BLOCKS if not block[1]]
TEST_FILES = [block for block in BLOCKS if block[1] == TESTS]


def test_there_are_programs():
    """The blocks are found: without them the rest of this file would test nothing."""
    assert any(path.name == "memory.md" for _, _, _, path, _ in PROGRAMS)
    fences = sum(
        line.startswith("```python")
        for path in DOCS.glob("**/*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    assert fences == len(BLOCKS)


def test_markers():
    """A block is a program or a test file, or a fragment and says so; nothing else is skipped."""
    assert {marker for _, marker, _, _, _ in BLOCKS} <= {"", FRAGMENT, TESTS}


@pytest.mark.parametrize("block", PROGRAMS, ids=[block[0] for block in PROGRAMS])
def test_block(block, backend, monkeypatch, tmp_path):
    """A program asserts something, runs to its end, and leaves nothing open."""
    _name, _marker, code, path, line = block
    assert re.search(r"^\s*assert ", code, re.MULTILINE), "it could not fail"
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
    """A test file has tests, and all of them pass."""
    result = run_pytest(tmp_path, block[2])
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    assert "skipped" not in result.stdout
