"""The pytest fixtures of the package: ports on the model, their seeds and their markers."""

import textwrap
from typing import Any

import pytest

from support.inner_pytest import run_pytest


@pytest.fixture
def outcome(tmp_path):
    """Return a function that runs pytest on a test file, checks the counts, returns the output."""

    def run(program: str, *options: str, **expected: int) -> str:
        result = run_pytest(tmp_path, textwrap.dedent(program), *options)
        printed = result.stdout + result.stderr
        for word, count in expected.items():
            assert f"{count} {word}" in printed.splitlines()[-1], printed
        assert result.returncode == (0 if set(expected) == {"passed"} else 1), printed
        return printed

    return run


def test_a_server_under_faults_from_many_seeds(outcome: Any) -> None:
    """R20: the fixture sim_port has virtual time, and sim_seed decides which segments are lost."""
    outcome(
        """
        import pytest

        hashes = set()

        @pytest.mark.sim(preset="windows-10", loss=0.05, jitter=0.001)
        @pytest.mark.parametrize("sim_seed", range(5))
        def test_echo(sim_port, sim_network, sim_seed):
            assert sim_port.backend == "sim"
            assert sim_network.seed == sim_seed
            assert sim_network.preset == "windows-10"
            listener = sim_port.listen(("10.0.0.1", 7000))
            listener.accept_each(lambda conn: conn.receive(lambda conn, data: conn.send(data)))
            got = bytearray()
            with listener, sim_port.connect(("10.0.0.1", 7000)).socket as client:
                client.receive(lambda _, data: got.extend(bytes(data)))
                client.send(b"x" * 100_000)
                while len(got) < 100_000:
                    sim_port.run_once()
            assert sim_network.counts()["retransmissions"] > 0
            hashes.add(sim_network.trace_hash())

        def test_every_seed_went_its_own_way():
            assert len(hashes) == 5
        """,
        passed=6,
    )


def test_ports_of_one_test_are_machines_of_one_network(outcome: Any) -> None:
    outcome(
        """
        def test_two_machines(sim_port, make_sim_port, sim_network):
            other = make_sim_port(budget=8192)
            assert other.ledger.budget == 8192
            with sim_port.listen(("10.0.0.1", 80)) as listener:
                accept = listener.accept()
                connect = other.connect(("10.0.0.1", 80))
                while not (accept.done and connect.done):
                    other.run_once(0.1)
                    sim_port.run_once(0.1)
            with connect.socket, accept.accepted as conn:
                assert conn.getpeername()[0] != "10.0.0.1"
            assert len(sim_network.machines()) == 2

        kept = []

        def test_nothing_is_closed_by_hand(sim_port, sim_network):
            listener = sim_port.listen(("10.0.0.1", 80))
            listener.accept_each(lambda conn: kept.append(conn.recv(4096)))
            receive = sim_port.connect(("10.0.0.1", 80)).socket.recv(4096)
            kept.extend([sim_port, sim_network, listener, receive])
            sim_port.run_once(1)
            sim_port.run_once(1)
            assert sim_port.ledger.now == 8192

        def test_the_fixture_closed_it():
            port, network, _listener, *receives = kept
            assert port.closed
            assert [receive.done for receive in receives] == [True, True]
            assert (port.outstanding, port.ledger.now) == (0, 0)
            assert network.machines()[0]["locked"] == 0
        """,
        passed=3,
    )


def test_the_seed_of_the_command_line(outcome: Any) -> None:
    outcome(
        """
        def test_seed(sim_network, sim_seed):
            assert sim_network.seed == sim_seed == 4711
        """,
        "--sim-seed=4711",
        passed=1,
    )


def test_the_closest_marker_goes_first(outcome: Any) -> None:
    outcome(
        """
        import pytest

        @pytest.mark.sim(preset="windows-2000", delay=0.5)
        class TestMarkers:
            @pytest.mark.sim(delay=0.25, seed=9)
            def test_merged(self, sim_network):
                assert sim_network.values["delay"] == 0.25
                assert (sim_network.preset, sim_network.seed) == ("windows-2000", 9)

            def test_of_the_class(self, sim_network):
                assert (sim_network.values["delay"], sim_network.seed) == (0.5, 0)
        """,
        passed=2,
    )


def test_a_failure_shows_how_to_make_the_model_again(outcome: Any) -> None:
    printed = outcome(
        """
        import pytest

        @pytest.mark.sim(loss=0.25)
        def test_fails(sim_port):
            assert False
        """,
        "--sim-seed=12",
        failed=1,
    )
    assert "Sim(seed=12, loss=0.25)" in printed


def test_what_a_callback_raises_is_an_error_of_its_test(outcome: Any) -> None:
    printed = outcome(
        """
        def test_raises(sim_port):
            sim_port.call_later(3600, lambda: 1 / 0)
            sim_port.run(until_idle=True)

        def test_handles_itself(sim_port):
            seen = []
            sim_port.error_handler = lambda error, _callback: seen.append(error)
            sim_port.call_later(3600, lambda: 1 / 0)
            sim_port.run(until_idle=True)
            assert isinstance(seen[0], ZeroDivisionError)
        """,
        passed=2,
        error=1,
    )
    assert "ZeroDivisionError" in printed


def test_other_suites_are_left_alone(outcome: Any) -> None:
    """In a suite that uses none of its fixtures, the plugin imports no heavy module."""
    outcome(
        """
        import subprocess
        import sys

        def test_nothing_heavy():
            assert "iocp_sock.pytest_plugin" in sys.modules
            heavy = {"typer", "rich", "matplotlib", "prometheus_client", "hypothesis", "asyncio"}
            # pytest itself imports pdb, and from Python 3.14 on pdb imports asyncio.
            listing = [sys.executable, "-c", "import pdb, sys; print(*sys.modules)"]
            heavy -= set(subprocess.check_output(listing, text=True).split())
            assert not heavy & set(sys.modules)

        def test_no_fixture_acts(request):
            assert not [name for name in request.fixturenames if "sim_" in name]
        """,
        passed=2,
    )
