"""Plays one scenario: python -m stress SCENARIO BACKEND [ROUNDS]."""

import os
import subprocess
import sys

from stress.scenarios import load, play

PATIENCE = 100.0 * float(os.environ.get("IOCP_SOCK_SLOWNESS") or 1)


def main(arguments: list[str]) -> int:
    """Play the scenario, or list the scenarios."""
    scenarios = load()
    if len(arguments) not in (2, 3) or arguments[0] not in scenarios:
        print(__doc__, *sorted(scenarios), sep="\n")
        return 2
    name, backend = arguments[:2]
    rounds = int(arguments[2]) if len(arguments) > 2 else scenarios[name].rounds
    if scenarios[name].leaves and rounds > 1:
        return _play_in_processes(name, backend, rounds)
    play(name, backend, rounds, PATIENCE)
    return 0


def _play_in_processes(name: str, backend: str, rounds: int) -> int:
    for _ in range(rounds):
        command = [sys.executable, "-m", "stress", name, backend, "1"]
        status = subprocess.run(command, check=False, timeout=PATIENCE).returncode
        if status != 0:
            print(f"a process ended with status {status}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
