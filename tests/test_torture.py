"""The torture finds what is planted, and nothing in what has been mended; ``make torture`` tries far more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import ROOT, run_python
from tests.torture import shim
from tests.torture.__main__ import again, plan
from tests.torture.tally import ENDED, LEFT, LOST, SILENT, TRACEBACK, UNTOLD, Tally, merged


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := shim.why_not():
        pytest.skip(reason)
    return shim.compiled(tmp_path_factory.mktemp("shim"))


def planted(name: str, **environment: str) -> Tally:
    answer = run_python("-m", "tests.torture.planted", name, cwd=ROOT, env=environment, code=0)
    return Tally.from_json(json.loads(answer.stdout))


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("sound", set()), ("in-place", {LOST}), ("leaving", {LEFT}), ("mute", {LOST}), ("crude", {UNTOLD}),
        ("crashing", {ENDED}),
    ],
)
def test_a_planted_fault_of_a_command_is_found(library: Path, name: str, verdicts: set[str]) -> None:
    tally = planted(name, LD_PRELOAD=str(library))
    assert {failure.verdict for failure in tally.failures} == verdicts
    assert tally.tried > 20
    assert all(again(f"build/plain:{failure.again.partition(':')[2]}") for failure in tally.failures)


def test_a_verify_that_sees_nothing_is_found() -> None:
    tally = planted("blind")
    assert tally.tried == 300
    assert {failure.verdict for failure in tally.failures} == {SILENT}


def test_crashes_and_hangs_are_put_down_to_their_mutants() -> None:
    tally = planted("failing")
    failures = sorted((int(failure.again.partition(":")[2]), failure.verdict) for failure in tally.failures)
    assert failures == [
        (number, verdict)
        for start in (0, 5)
        for number, verdict in ((start + 1, ENDED), (start + 2, ENDED), (start + 3, TRACEBACK), (start + 4, TRACEBACK))
    ]
    assert tally.tried == 10


def test_a_run_is_large_enough_and_the_same_every_time() -> None:
    jobs = plan(24_000, 1_900)
    assert jobs == plan(24_000, 1_900)
    assert sum(job["stop"] - job["start"] for job in jobs if job["kind"] == "mutants") > 20_000
    assert sum(job["number"] / job["parts"] for job in jobs if job["kind"] == "faults") > 1_800
    assert not plan(100, 100, ["nothing"])


def test_tallies_add_up_and_name_what_shows_a_failure_again() -> None:
    one, other = Tally("build", faults=True, tried=2), Tally("build", faults=True, tried=1)
    other.note(LEFT, "build/plain:write:once:EIO:3", "left: .a.N")
    (both,) = merged([one, Tally.from_json(other.to_json())])
    assert both.line() == "build: 3 faults and kills, 0 lost, 1 left over, 0 untold, 0 crashes or hangs"
    assert both.reproductions(5)[0].endswith("--seed 5 --again 'build/plain:write:once:EIO:3'")


def test_nothing_passes_unsaid(library: Path) -> None:
    only = [word for name in ("stores", "images", "import", "show") for word in ("--only", name)]
    answer = run_python("-m", "tests.torture", "--minutes", "0.2", *only, cwd=ROOT, code=0)
    assert "stores: " in answer.stdout
    assert "import: " in answer.stdout
