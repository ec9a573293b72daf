"""Print the classes of one room of cpp/ with their sizes and dependencies.

    python tools/classes.py [ROOM]        (default: core)

Prints one line for each class or struct with members of its own: public member functions, data
members, lines of its header and source, fan-out (classes of the room whose headers its files
include) and fan-in (files of cpp/ that include its header, directly or not). Exits with 1 if a
class has more than 30 public functions or 20 data members, or if more than half of the files
include a header.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from includes import CPP, included

MAX_PUBLIC = 30
MAX_FIELDS = 20
CLASS = re.compile(r"^(class|struct)\s+(\w+)(?:\s+final)?(?:\s*:[^{;]+)?\s*\{", re.MULTILINE)
# The name of a member function, and the parenthesis behind it.
FUNCTION = re.compile(r"([~\w]+|operator[^\s(]*(?:\(\))?)\s*\(")
FIELD = re.compile(
    r"^(?:mutable\s+)?[\w:<>,*&\s\[\]()]+[\s*&>](\w+)(?:\s*:\s*\d+)?(?:\s*(?:\{.*\}|=.*))?$",
    re.DOTALL,
)


class Shape(NamedTuple):
    """The number of public functions and of data members of a class."""

    name: str
    public: int
    fields: int


def plain(text: str) -> str:
    """Return the source without comments, strings and preprocessor lines."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    return re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", text, flags=re.MULTILINE)


def body_of(text: str, brace: int) -> str:
    """Return the text between the brace at place `brace` and the brace that closes it."""
    depth = 0
    for place in range(brace, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[brace + 1 : place]
    raise ValueError("a class body has no closing brace")


def statements(body: str) -> Iterator[str]:
    """Yield the members of a class: declarations, labels, and definitions without their bodies."""
    text, depth, brackets = "", 0, 0
    for place, char in enumerate(body):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            following = body[place + 1 :].lstrip()[:1]
            if depth == 0 and following not in (";", ",", ")", "{", ":"):
                yield text.strip()
                text = ""
        elif depth == 0:
            brackets += {"(": 1, ")": -1}.get(char, 0)
            if char == ";":
                yield text.strip()
                text = ""
            elif (
                char == ":" and brackets == 0 and text.strip() in ("public", "private", "protected")
            ):
                yield text.strip() + ":"
                text = ""
            else:
                text += char


def shape(kind: str, name: str, body: str) -> Shape:
    """Count the class's declarations, except constructors, destructor and deleted functions."""
    functions: set[str] = set()
    public, fields = kind == "struct", 0
    for statement in statements(body):
        if statement.endswith(":"):
            public = statement == "public:"
            continue
        head = re.sub(r"\s+", " ", statement)
        if not head or re.match(r"(using|friend|enum|class|struct|union|static_assert)\b", head):
            continue
        if head.startswith("template"):
            head = re.sub(r"^template ?<[^>]*> ?", "", head)
        called = FUNCTION.search(re.sub(r"\[\[\w+\]\]|<[^<>]*>|decltype\(.*?\)", "", head))
        if called is not None and "= [" not in head:
            if public and called[1].lstrip("~") != name and "= delete" not in head:
                functions.add(called[1] + head[head.find("(") :])
        elif not head.startswith("static ") and FIELD.match(head):
            fields += 1 + head.count(",") if "<" not in head and "(" not in head else 1
    return Shape(name, len(functions), fields)


def shapes(header: Path) -> list[Shape]:
    """Return the top-level classes of a header that have a public function or a field."""
    text = plain(header.read_text())
    found = []
    for match in CLASS.finditer(text):
        one = shape(match[1], match[2], body_of(text, match.end() - 1))
        if one.public or one.fields:
            found.append(one)
    return found


def reach() -> dict[str, set[str]]:
    """Return, for each file, every header that it needs, directly or not."""
    direct = {
        path.relative_to(CPP).as_posix(): included(path) for path in sorted(CPP.rglob("*.?pp"))
    }
    needed: dict[str, set[str]] = {}

    def follow(name: str) -> set[str]:
        if name not in needed:
            needed[name] = set()
            for header in direct.get(name, ()):
                needed[name] |= {header} | follow(header)
        return needed[name]

    return {name: follow(name) for name in direct}


def main() -> int:
    """Print the table, and the classes that break a rule."""
    room = sys.argv[1] if len(sys.argv) > 1 else "core"
    needed = reach()
    wrong = []
    print(f"{'class':20}{'public':>8}{'fields':>8}{'lines':>8}{'fan-out':>9}{'fan-in':>8}")
    for header in sorted((CPP / room).glob("*.hpp")):
        name = header.relative_to(CPP).as_posix()
        source = header.with_suffix(".cpp")
        files = [header, source] if source.exists() else [header]
        lines = sum(len(file.read_text().splitlines()) for file in files)
        out = {one for file in files for one in included(file) if one.startswith(room + "/")}
        fan_in = sum(name in headers for headers in needed.values())
        if fan_in * 2 > len(needed):
            wrong.append(f"{fan_in} of {len(needed)} files include {name}; at most half may")
        for one in shapes(header):
            print(
                f"{one.name:20}{one.public:8}{one.fields:8}{lines:8}{len(out - {name}):9}{fan_in:8}"
            )
            if one.public > MAX_PUBLIC or one.fields > MAX_FIELDS:
                wrong.append(f"{one.name}: {one.public} public functions, {one.fields} fields")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
