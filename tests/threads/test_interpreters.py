"""Sub-interpreters cannot import the package; the main interpreter goes on."""

import importlib.util
import sys

import pytest

PROGRAM = """
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters

    def serve():
        with iocp_sock.Port(backend=BACKEND) as port:
            got = []
            port.post(1, callback=got.append)
            port.run(until_idle=True)
            assert got[0].value == 1

    serve()
    for _ in range(3):
        sub = interpreters.create(*KIND)
        try:
            told = interpreters.run_string(
                sub,
                "try:\\n"
                "    import iocp_sock\\n"
                "except ImportError as error:\\n"
                "    assert 'SENTENCE' in str(error), error\\n"
                "else:\\n"
                "    raise AssertionError('it was imported')\\n",
            )
            assert told is None, told
        finally:
            interpreters.destroy(sub)
        serve()
    print("whole")
"""


# Each kind of sub-interpreter, with words of the error that its import raises. From Python 3.13 on
# CPython itself refuses the import in an isolated interpreter; the module refuses it in a legacy
# one.
KINDS = {
    "default": (
        "",
        "does not support loading in subinterpreters"
        if sys.version_info >= (3, 13)
        else "main interpreter",
    ),
    "legacy": (
        "'legacy'" if sys.version_info >= (3, 13) else "isolated=False",
        "main interpreter",
    ),
}


@pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in ("_interpreters", "_xxsubinterpreters")),
    reason="this Python has no sub-interpreters",
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_main_interpreter_alone(backend, in_subprocess, kind):
    """The import in a sub-interpreter raises ImportError; the main interpreter goes on."""
    arguments, sentence = KINDS[kind]
    program = PROGRAM.replace("*KIND", arguments).replace("SENTENCE", sentence)
    assert in_subprocess(program, backend).strip() == "whole"
