"""The four servers of docs/programs, each with another way to be notified of completions."""

import gc
import importlib
import sys

import pytest

from support import descriptors
from support.places import DOCS, needs_docs

PROGRAMS = DOCS / "programs"
STYLES = ["port", "event", "routine", "blocking"]

pytestmark = needs_docs


@pytest.mark.parametrize("style", STYLES)
def test_style(style, backend, monkeypatch, capsys):
    """R24 R25 R26 R27 R28: each server serves 200 clients at once, and leaks no descriptor."""
    monkeypatch.setenv("IOCP_SOCK_BACKEND", backend)
    monkeypatch.syspath_prepend(str(PROGRAMS))
    before = descriptors()
    program = importlib.import_module(f"{style}_server")
    try:
        assert program.main() == 200
    finally:
        for name in ("clients", f"{style}_server"):
            sys.modules.pop(name, None)
    assert capsys.readouterr().out.startswith(f"{backend}: 200 connections served")
    del program
    gc.collect()
    assert descriptors() <= before


def test_every_program_is_run():
    assert sorted(path.stem for path in PROGRAMS.glob("*_server.py")) == sorted(
        f"{style}_server" for style in STYLES
    )
