"""Registers the scenarios by name, and plays one of them."""

import faulthandler
import gc
import importlib
import sys
import warnings
from collections.abc import Callable
from typing import NamedTuple

import iocp_sock
from stress.stage import Stage

SWITCH_INTERVAL = 1e-5
MODULES = ("closing", "dying", "leaving", "reading", "replacing", "using", "waiting")


class Scenario(NamedTuple):
    """The function that plays a round, and the number of rounds in a run."""

    play: Callable[[Stage], None]
    rounds: int
    leaves: bool
    """Whether a round ends with its process, while threads still work."""


SCENARIOS: dict[str, Scenario] = {}


def scenario(rounds: int, *, leaves: bool = False) -> Callable[[Callable], Callable]:
    """Register a function that plays one round as a scenario."""

    def enter(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        SCENARIOS[play.__name__] = Scenario(play, rounds, leaves)
        return play

    return enter


def load() -> dict[str, Scenario]:
    """Import every module of scenarios, and return the scenarios."""
    for module in MODULES:
        importlib.import_module(f"stress.{module}")
    return SCENARIOS


def play(name: str, backend: str, rounds: int, patience: float) -> None:
    """Play the rounds; after `patience` seconds the process dumps its stacks and exits."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(patience, exit=True)
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)  # scenarios drop open objects
    warnings.simplefilter("ignore", iocp_sock.NagleStallWarning)
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL)
    stage = Stage(backend)
    sys.unraisablehook = stage.unraisable
    scene = load()[name]
    if scene.leaves:
        scene.play(stage)
        return
    stage.begin()
    for _ in range(rounds):
        scene.play(stage)
        stage.end_round()
    stage.end()
