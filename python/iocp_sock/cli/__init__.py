"""The command line: ``iocp-sock COMMAND``, a module or package for each command."""

import sys
from typing import Annotated

import typer

import iocp_sock
from iocp_sock.cli.child import ChildError
from iocp_sock.cli.demo import demo
from iocp_sock.cli.doctor import doctor
from iocp_sock.cli.echo import echo
from iocp_sock.cli.matrix import matrix
from iocp_sock.cli.plan import plan
from iocp_sock.cli.simulate import simulate
from iocp_sock.cli.top import top

app = typer.Typer(
    name="iocp-sock",
    help="Completion-port sockets for Python: watch them, serve with them, check this system.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(echo)
app.command()(top)
app.command()(doctor)
app.command()(matrix)
app.command()(plan)
app.command()(simulate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iocp-sock {iocp_sock.version()}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. A failure of the system or of a child prints one line; exit code 1.

    Exit code 3: the command needs a control socket, and this system has none.
    """
    try:
        app(prog_name="iocp-sock")
    except iocp_sock.ControlUnavailable as error:
        print(f"iocp-sock: {error.strerror}", file=sys.stderr)
        sys.exit(3)
    except (OSError, ChildError) as error:
        sys.exit(f"iocp-sock: {error}")
