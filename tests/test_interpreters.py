"""Sub-interpreters: what they are told, and that nobody else is disturbed."""

import importlib.util

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
        sub = interpreters.create()
        try:
            told = interpreters.run_string(
                sub,
                "try:\\n"
                "    import iocp_sock\\n"
                "except ImportError as error:\\n"
                "    assert 'main interpreter' in str(error), error\\n"
                "else:\\n"
                "    raise AssertionError('it was imported')\\n",
            )
            assert told is None, told
        finally:
            interpreters.destroy(sub)
        serve()
    print("whole")
"""


@pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in ("_interpreters", "_xxsubinterpreters")),
    reason="this Python has no sub-interpreters",
)
def test_the_main_interpreter_alone(backend, in_subprocess):
    """The import of a sub-interpreter is refused with a sentence; the main one goes on."""
    assert in_subprocess(PROGRAM, backend).strip() == "whole"
