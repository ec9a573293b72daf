"""The command line: `python -m bench COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from bench import echo, idle, instructions, loops, matrix, model, stalled, strategies
from bench.machine import raise_file_limit
from bench.program import CompileError


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _pair(text: str) -> tuple[int, int]:
    server, client = text.split(",")
    return int(server), int(client)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON instead of a table")
    common.add_argument("--out", metavar="FILE", help="write the JSON to FILE as well")
    common.add_argument(
        "--servers", type=_names, metavar="A,B", help="only these servers, in this order"
    )
    common.add_argument(
        "--before",
        metavar="DIRECTORY",
        help="also run before-*: the servers of this package as built in another tree, whose "
        "iocp_sock/ is below DIRECTORY",
    )
    common.add_argument(
        "--cpus", type=_pair, metavar="S,C", help="CPU of the server and of the client"
    )

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    echo.add_arguments(
        commands.add_parser("echo", parents=[common], help="echo rate, CPU and latency")
    )
    echo.add_arguments(
        commands.add_parser(
            "windows", parents=[common], help="the same for Windows servers, under Wine"
        )
    )
    idle.add_arguments(
        commands.add_parser("idle", parents=[common], help="memory per idle connection")
    )
    instructions.add_arguments(
        commands.add_parser(
            "instructions",
            parents=[common],
            help="instructions for each echoed message, by callgrind",
        )
    )
    strategies.add_arguments(
        commands.add_parser(
            "strategies", parents=[common], help="the cost of each receive and send strategy"
        )
    )
    stalled.add_arguments(
        commands.add_parser("stalled", parents=[common], help="the cost of peers that never read")
    )
    loops.add_arguments(
        commands.add_parser(
            "loops", parents=[common], help="what calls, timers, tasks and futures cost a loop"
        )
    )
    model.add_arguments(
        commands.add_parser("model", parents=[common], help="speed and memory of the model itself")
    )
    matrix.add_arguments(
        commands.add_parser(
            "matrix", parents=[common], help="iocp-sock matrix across a delay, beside the model"
        )
    )
    return parser


_MAINS = {
    "idle": idle.main,
    "instructions": instructions.main,
    "loops": loops.main,
    "matrix": matrix.main,
    "model": model.main,
    "stalled": stalled.main,
    "strategies": strategies.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    raise_file_limit()
    try:
        return _MAINS.get(options.command, echo.main)(options)
    except CompileError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
