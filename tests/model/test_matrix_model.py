"""R19 and R20: the matrix over a path with a delay, compared with the model and documents."""

import dataclasses
import json
import subprocess
import sys

import pytest

from iocp_sock import Sim
from iocp_sock.cli.matrix.cell import CELLS, Cell, Measured, stalls
from iocp_sock.cli.matrix.path import Path
from iocp_sock.cli.matrix.sender import Effort
from support.benchmarks import HERE, ROOT, needs_benchmarks

if HERE:
    from bench import documents, matrix
    from bench.__main__ import main
    from bench.agreement import compare, largest_deviation
    from bench.program import CompileError
    from bench.relay import Relay, RelayUnavailable

pytestmark = needs_benchmarks

DELAY = 0.01
WAY = Path(one_way_us=DELAY * 1e6)
EFFORT = Effort({"one_way": 20, "write_write_read": 6, "gathered": 6, "bulk": 4}, 5.0)
TRIES = 3
NAGLE = Cell("write_write_read", "default", "default", True)
NODELAY = NAGLE.without_nagle
FEW = [
    NAGLE,
    NODELAY,
    Cell("one_way", "least", "default", True),
    Cell("gathered", "default", "least", True),
    Cell("bulk", "least", "default", True),
    Cell("bulk", "default", "default", False),
]


@pytest.fixture
def relay():
    """Make a relay that delays packets; skip the test if the relay cannot be made."""
    try:
        made = Relay(delay=DELAY, congestion="reno")
    except (RelayUnavailable, CompileError) as error:
        pytest.skip(str(error))
    with made:
        yield made


def one(cell, *latencies_us):
    return Measured(cell, 1, 1, latencies_us, None, 0, False)


def test_how_long_the_path_takes_is_no_stall():
    """R19: the delay of the path is subtracted before the matrix decides that a cell stalls."""
    slow, fast = one(NAGLE, 40_001.0), one(NODELAY, 24_999.0)
    assert stalls([slow, fast], WAY) == {NAGLE: "delayed_ack"}
    assert stalls([one(NAGLE, 40_000.0), fast], WAY) == {}
    assert stalls([slow, one(NODELAY, 25_000.0)], WAY) == {NAGLE: "other"}
    there = Cell("one_way", "least", "least", True)
    assert stalls([one(there, 30_000.0)], WAY) == {}
    assert stalls([one(there, 30_001.0)], WAY) == {there: "other"}


def of(measured_us, modelled_us, flowing_us=20_000.0):
    measured = [one(NAGLE, measured_us), one(NODELAY, flowing_us)]
    modelled = [one(NODELAY, 20_000.0), one(NAGLE, modelled_us)]
    return compare(measured, modelled, WAY)


@pytest.mark.parametrize(
    ("measured", "modelled", "agrees"),
    [
        (80_000.0, 80_000.0, True),
        (80_000.0, 60_000.0, True),
        (80_000.0, 59_999.0, False),
        (80_000.0, 100_001.0, False),
        (80_000.0, 21_000.0, False),
        (21_000.0, 80_000.0, False),
        (21_000.0, 39_000.0, True),
    ],
)
def test_the_rule_of_agreement(measured, modelled, agrees):
    """R19: a cell agrees if measurement and model have the same verdict on a stall.

    If the cell stalls, the medians must also be within 25 %.
    """
    stalling, flowing = of(measured, modelled)
    assert (stalling.cell, flowing.cell) == (NAGLE, NODELAY)
    assert stalling.agrees is agrees
    assert flowing.agrees
    assert stalling.ratio == modelled / measured


def test_a_stall_for_another_reason_is_another_verdict():
    """R19: a cell does not agree if measurement and model stall for different reasons."""
    stalling, flowing = of(80_000.0, 80_000.0, flowing_us=30_000.0)
    assert (stalling.measured_stall, stalling.modelled_stall) == ("other", "delayed_ack")
    assert not stalling.agrees
    assert flowing.agrees
    assert stalling.figures()["agrees"] is False


def test_the_largest_deviation_is_of_cells_that_stall():
    """largest_deviation() counts only cells that stall; without such a cell it is None."""
    assert largest_deviation(of(80_000.0, 70_000.0)) == pytest.approx(0.125)
    assert largest_deviation(of(21_000.0, 39_000.0)) is None


def test_only_the_same_cells_are_compared():
    """compare() rejects cells that are missing or occur twice."""
    both = [one(NAGLE, 1.0), one(NODELAY, 1.0)]
    for other in (both[:1], [*both, both[0]], [both[0], one(CELLS[0], 1.0)]):
        with pytest.raises(ValueError, match="same cells"):
            compare(both, other, WAY)


def test_the_model_says_of_the_real_path_what_it_does(relay, backend):
    """R19, R20: the model predicts the patterns that wait for a delayed acknowledgement.

    Unlike `python -m bench matrix` this test compares no times, because a busy machine changes
    them. Such a machine can even stall a whole cell, so the measurement is repeated.
    """
    modelled = matrix.modelled_cells(FEW, Sim(preset="linux", delay=DELAY), EFFORT)
    for _ in range(TRIES):
        measured = matrix.measured_cells(FEW, relay, EFFORT, backend)
        compared = compare(measured, modelled, matrix.path_of(relay))
        waiting = [each.cell for each in compared if each.measured_stall == "delayed_ack"]
        if waiting == [NAGLE]:
            break
    assert waiting == [NAGLE], [each.figures() for each in compared]
    assert [each.cell for each in compared if each.modelled_stall == "delayed_ack"] == [NAGLE]
    assert all(min(each.measured.latencies_us) >= DELAY * 1e6 for each in compared)


def test_the_model_of_another_system_disagrees(relay):
    """R19: a model with Windows' acknowledgement delay disagrees with measurements on Linux."""
    cells = [NAGLE, NODELAY]
    measured = matrix.measured_cells(cells, relay, EFFORT)
    other = Sim(preset="linux", delay=DELAY, ack_delay=0.2)
    compared = compare(measured, matrix.modelled_cells(cells, other, EFFORT), WAY)
    assert [each.agrees for each in compared] == [False, True]


def test_the_models_windows_does_what_documents_say():
    """R20: the model of Windows has the figures that bench/documents.py takes from documents."""
    told = documents.figures()
    assert all(each.agrees for each in told), [each for each in told if not each.agrees]
    assert {each.preset for each in told} == set(documents.WINDOWS)
    assert {each.source.partition(",")[0] for each in told} == {"003", "KB 214397", "KB 823764"}


def test_a_figure_that_is_off_does_not_agree():
    """A modelled figure agrees if it deviates by at most 25 %, or reaches a lower bound."""
    figure = documents.Figure("003", "windows-10", "", 200, 250, "ms")
    assert figure.agrees
    assert not dataclasses.replace(figure, model=250.1).agrees
    assert not dataclasses.replace(figure, model=149.9).agrees
    assert dataclasses.replace(figure, model=9999, at_least=True).agrees
    assert not dataclasses.replace(figure, model=199, at_least=True).agrees
    assert not dataclasses.replace(figure, told=0, model=1).agrees


def test_the_command(relay, tmp_path):
    """R19: `bench matrix` measures, models and compares; its exit code says if all cells agree."""
    path = tmp_path / "result.json"
    options = f"--quick --patterns one_way --out {path}"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "matrix", *options.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(path.read_text())
    assert len(result["cells"]) == result["agreeing"] == 12
    assert result["largest_deviation"] is None
    assert result["relay"]["lost"] == 0
    assert result["relay"]["packets"] > 12 * 40
    for cell in result["cells"]:
        assert cell["measured"]["median_us"] > DELAY * 1e6
    assert "12 of 12 cells agree" in done.stdout
    assert "KB 823764" in done.stdout


@pytest.mark.parametrize(
    "options", [["--delay", "0.021"], ["--delay", "-1"], ["--patterns", "one_way,nonsense"]]
)
def test_what_cannot_be_is_refused_first(options):
    """An invalid argument of `bench matrix` ends it with exit code 2 before anything is made."""
    with pytest.raises(SystemExit) as ended:
        main(["matrix", *options])
    assert ended.value.code == 2


def test_without_a_relay_it_says_what_is_missing(monkeypatch, capsys):
    """If the relay cannot be made, `bench matrix` names the missing right and exits with code 2."""

    def refuse(**_):
        raise RelayUnavailable(1, "a network namespace needs root or CAP_SYS_ADMIN")

    monkeypatch.setattr(matrix, "Relay", refuse)
    assert main(["matrix", "--quick"]) == 2
    assert "CAP_SYS_ADMIN" in capsys.readouterr().err
