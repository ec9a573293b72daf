"""Fixtures for pytest: ports on the model, to test servers in virtual time under seeded faults.

pytest loads this module from an installed package (entry point group pytest11). It adds fixtures,
the marker `sim` and the option --sim-seed. It does not touch tests that use none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from iocp_sock.port import Port
from iocp_sock.sim import Sim

__all__ = ["make_sim_port", "sim_network", "sim_port", "sim_seed"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --sim-seed."""
    parser.getgroup("iocp_sock").addoption(
        "--sim-seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the model that sim_port runs on, if the test sets none (default: 0)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `sim`."""
    config.addinivalue_line(
        "markers", "sim(**options): fields of iocp_sock.Sim for the model that sim_port runs on"
    )


@pytest.fixture
def sim_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of the model: that of --sim-seed, else 0.

    `@pytest.mark.parametrize("sim_seed", range(100))` runs a test with a hundred seeds.
    """
    seed: int = request.config.getoption("--sim-seed")
    return seed


@pytest.fixture
def sim_network(request: pytest.FixtureRequest, sim_seed: int) -> Sim:
    """Make the model that the ports of a test share, with the options of its marker `sim`.

    The options of the closest marker override those of its class or module. The report of a failed
    test shows the expression that makes the same model again.
    """
    options: dict[str, Any] = {"seed": sim_seed}
    for marker in reversed(list(request.node.iter_markers("sim"))):
        options.update(marker.kwargs)
    made = ", ".join(f"{name}={value!r}" for name, value in options.items())
    request.node.add_report_section("setup", "model", f"Sim({made})")
    return Sim(**options)


@pytest.fixture
def make_sim_port(sim_network: Sim) -> Iterator[Callable[..., Port]]:
    """Return a function that makes ports on the test's model, each a machine of its own.

    The function takes the fields of PortConfig as keywords. The end of the test closes the ports,
    and then raises the first exception of a callback, unless the test set the port's error_handler.
    """
    ports: list[Port] = []
    raised: list[BaseException] = []

    def make(**options: Any) -> Port:
        port = Port(backend=sim_network, **options)
        port.error_handler = lambda error, _callback: raised.append(error)
        ports.append(port)
        return port

    yield make
    for port in ports:
        port.close(0)
    if raised:
        raise raised[0]


@pytest.fixture
def sim_port(make_sim_port: Callable[..., Port]) -> Port:
    """Make a port on the test's model."""
    return make_sim_port()
