"""Draws comments and messages at random, to check that each is clear without the code.

Rewrite a comment that needs the code around it, and draw as many again, until a draw has no such
comment. Usage: python tools/reading.py [SEED [COMMENTS [MESSAGES]]]
"""

from __future__ import annotations

import ast
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("cpp", "tests", "python", "tools", "bench", "examples")

# A message to a person has at least four words in a row. Other strings are names or formats.
SENTENCE = re.compile(r"[A-Za-z]\w*[,:;]? \S+ \S+ \S+")
RAISED = re.compile(r"(?:raise|refuse|Error::of|set_error|throw)\s*\(([^;]*?)\)\s*;", re.DOTALL)
LITERALS = re.compile(r'"((?:[^"\\]|\\.)*)"')


def comment_blocks(path: Path, marker: str) -> Iterator[tuple[int, str]]:
    """Yields each block of whole-line comments with its line."""
    block: list[str] = []
    for number, line in enumerate([*path.read_text().splitlines(), ""], 1):
        text = line.strip()
        if text.startswith(marker) and not text.startswith("#!"):
            block.append(text.removeprefix(marker).strip())
        elif block:
            yield number - len(block), " ".join(block)
            block = []


def cpp_comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yields each block of whole-line comments of a C++ file with its line."""
    return comment_blocks(path, "//")


def cpp_messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the literals of each call that reports an error, joined as the compiler joins them."""
    text = path.read_text()
    for call in RAISED.finditer(text):
        message = "".join(LITERALS.findall(call[1]))
        if SENTENCE.search(message):
            yield text.count("\n", 0, call.start()) + 1, message


def python_comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the docstrings of a Python file and its blocks of whole-line comments."""
    yield from comment_blocks(path, "#")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def python_messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the message of each raise statement of a Python file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            message = "".join(
                part.value
                for argument in node.exc.args
                for part in ast.walk(argument)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            if SENTENCE.search(message):
                yield node.lineno, message


def files(*suffixes: str) -> list[Path]:
    """Returns the sources with one of the suffixes."""
    found = (path for name in SOURCES for path in (ROOT / name).rglob("*"))
    return sorted(path for path in found if path.suffix in suffixes)


def everything() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Returns the comments and the messages, each with its place."""
    comments: list[tuple[str, str]] = []
    messages: list[tuple[str, str]] = []
    readers = (
        (cpp_comments, cpp_messages, (".cpp", ".hpp")),
        (python_comments, python_messages, (".py",)),
    )
    for read_comments, read_messages, suffixes in readers:
        for path in files(*suffixes):
            for reader, into in ((read_comments, comments), (read_messages, messages)):
                into += [(f"{path.relative_to(ROOT)}:{at}", text) for at, text in reader(path)]
    return comments, messages


def main(seed: int = 1, of_comments: int = 40, of_messages: int = 20) -> None:
    """Prints the drawn comments and messages, each with its place."""
    draw = random.Random(seed)
    for title, wanted, pool in zip(
        ("comment", "message"), (of_comments, of_messages), everything(), strict=True
    ):
        print(f"{len(pool)} {title}s; {wanted} drawn with seed {seed}\n")
        for number, (place, text) in enumerate(draw.sample(pool, min(wanted, len(pool))), 1):
            print(f"{title} {number}, {place}\n{text}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
