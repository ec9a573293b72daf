"""``iocp-sock doctor``: the features that this system offers or refuses."""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

import iocp_sock
from iocp_sock import _core
from iocp_sock.cli import limits, table


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the backends with the reason if one does not work here, the limits, and the versions."""
    report = examine()
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _print_tables(report)
    if report["chosen"]["backend"] is None:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Return the whole report, in the form of the JSON."""
    survey = _core.survey()
    return {
        "versions": _versions(),
        "backends": {name: state for name, (state, _) in survey.items()},
        "chosen": _chosen(),
        "features": {name: features for name, (state, features) in survey.items() if state == "ok"},
        "page_size": iocp_sock.PAGE_SIZE,
        "limits": {
            "open_files": _figures(limits.open_files()),
            "locked_memory": _figures(limits.locked_memory()),
        },
        "environment": {"IOCP_SOCK_BACKEND": os.environ.get("IOCP_SOCK_BACKEND")},
    }


def _figures(limit: limits.Limit | None) -> dict[str, int | None] | None:
    return None if limit is None else asdict(limit)


def _versions() -> dict[str, str]:
    versions = {
        "iocp_sock": iocp_sock.version(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    compiler = getattr(iocp_sock, "compiler", None)
    if compiler is not None:
        versions["compiler"] = str(compiler())
    return versions


def _chosen() -> dict[str, str | None]:
    try:
        with iocp_sock.Port() as port:
            return {"backend": port.backend, "reason": port.backend_reason}
    except OSError as error:
        return {"backend": None, "reason": str(error)}


def _print_tables(report: dict[str, Any]) -> None:
    console = Console()
    console.print(table.facts("Backends", _backend_rows(report)))
    for name, features in report["features"].items():
        console.print(table.facts(f"Features of {name} here", _feature_rows(features)))
    console.print(table.facts("System", _system_rows(report)))


def _backend_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from report["backends"].items()
    chosen = report["chosen"]
    yield "a new port gets", f"{chosen['backend'] or 'none'}: {chosen['reason']}"
    yield "IOCP_SOCK_BACKEND", report["environment"]["IOCP_SOCK_BACKEND"] or "not set"


def _feature_rows(features: dict[str, bool]) -> Iterator[tuple[str, str]]:
    for name, present in features.items():
        yield name.replace("_", " "), "yes" if present else "no"


def _system_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from report["versions"].items()
    yield "page size", f"{report['page_size']:,} B"
    yield "open files", _limit(report["limits"]["open_files"], "")
    yield "locked memory", _limit(report["limits"]["locked_memory"], " B")


def _limit(limit: dict[str, int | None] | None, unit: str) -> str:
    if limit is None:
        return f"not available on {platform.system()}"
    soft, hard = (_amount(limit[which], unit) for which in ("soft", "hard"))
    return f"{soft} (can be raised to {hard})" if soft != hard else soft


def _amount(value: int | None, unit: str) -> str:
    return "unlimited" if value is None else f"{value:,}{unit}"
