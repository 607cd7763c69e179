"""The Decathlon: all stores under one set of rules, each run made once, whatever stops it in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmtk.cli import group
from mmtk.errors import MmtkError
from mmtk.training import decathlon
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def stores(tmp_path):
    folder = tmp_path / "stores"
    write_small_store(folder / "breastmnist_28.h5", (12, 6, 6), size=28)
    write_small_store(folder / "pathmnist_28.h5", (12, 6, 6), flag="pathmnist", size=28, channels=3, classes=3,
                      task="multi-class", synthetic=True)
    return folder


class Killed(BaseException):
    pass


def plan(stores, out, **options):
    options = {"models": ["resnet18"], "protocols": ["isbi21"], "seeds": [0], "epochs": 2} | options
    return decathlon.plan_runs(stores, out, **options)


def files(out: Path) -> dict[str, bytes]:
    """What runs leave, but for clocks."""
    kept = [path for path in sorted(out.rglob("*")) if path.suffix in (".csv", ".json") or path.name == "best.pt"]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept if path.name != decathlon.RESULTS}


def test_runs_are_planned_in_the_papers_order_and_what_is_missing_is_named(stores, tmp_path):
    entries, missing = plan(stores, tmp_path / "runs", protocols=["isbi21", "v2"], seeds=[0, 1])
    assert [(e.info.flag, e.protocol, e.seed) for e in entries[::2]] == [
        ("pathmnist", "isbi21", 0), ("pathmnist", "v2", 0), ("breastmnist", "isbi21", 0), ("breastmnist", "v2", 0),
    ]
    assert len({entry.out for entry in entries}) == 8
    assert len(missing) == 8
    with pytest.raises(MmtkError, match=r"expected stores named FLAG_28\.h5, found none"):
        plan(tmp_path, tmp_path / "runs")


def test_a_killed_decathlon_goes_on_and_repeats_nothing(stores, tmp_path):
    entries, _ = plan(stores, tmp_path / "whole")
    whole = list(decathlon.run_all(entries, device="cpu"))
    entries, _ = plan(stores, tmp_path / "broken")
    for stop in (2, 3):  # once at the end of the first run's last epoch, once inside the second run
        def progress(done, total, stop=stop):
            assert total == 4
            if done == stop:
                raise Killed

        with pytest.raises(Killed):
            list(decathlon.run_all(entries, device="cpu", progress=progress))
    told = []
    again = list(decathlon.run_all(entries, device="cpu", progress=lambda done, total: told.append((done, total))))
    assert told[-1] == (4, 4)
    assert told == sorted(told)
    assert [outcome.result.reused for outcome in again] == [True, False]
    assert [outcome.result.metrics for outcome in again] == [outcome.result.metrics for outcome in whole]
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    third = list(decathlon.run_all(entries, device="cpu"))
    assert all(outcome.result.reused for outcome in third)
    assert decathlon.rows_of(third) == decathlon.rows_of(whole)


def test_rows_mean_over_seeds_and_hold_against_the_paper_only_what_may_be(stores, tmp_path):
    entries, _ = plan(stores, tmp_path / "runs", seeds=[0, 1], epochs=1)
    outcomes = list(decathlon.run_all(entries, device="cpu"))
    path, breast = decathlon.rows_of(reversed(outcomes[:2] + outcomes[2:]))[::-1]
    assert (path.info.flag, breast.info.flag, breast.seeds, breast.images) == ("pathmnist", "breastmnist", 2, 6)
    tests = [outcome.result.metrics["test"] for outcome in outcomes[2:]]
    assert breast.auc == pytest.approx(sum(test.auc for test in tests) / 2)
    assert breast.spread[1] == pytest.approx(abs(tests[0].acc - tests[1].acc) / 2**0.5)
    assert path.paper is breast.paper is None  # synthetic, and one epoch


def test_the_command_prints_a_table_and_a_failed_run_does_not_stop_the_others(stores, tmp_path):
    write_small_store(stores / "octmnist_28.h5", (8, 4, 2), flag="octmnist", size=28, classes=4, task="multi-class")
    out, short = tmp_path / "runs", ["--epochs", "1", "--device", "cpu"]
    arguments = ["decathlon", "--stores", str(stores), "--out", str(out), *short]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 1, done.output
    table = done.stdout
    assert "resnet18, isbi21" in table
    assert "pathmnist SYNTHETIC" in table
    assert "mean over 2" in table
    assert "no store of chestmnist" in table
    assert "octmnist_28 resnet18 isbi21 seed 0:" in done.stderr
    assert "octmnist_28.h5 test labels" in done.stderr
    results = json.loads((tmp_path / "runs" / decathlon.RESULTS).read_text())
    assert [("error" in run, run["flag"]) for run in results] == [
        (False, "pathmnist"), (True, "octmnist"), (False, "breastmnist"),
    ]
    again = CliRunner().invoke(group, [*arguments, "--json"])
    assert json.loads(again.stdout) == results
    assert again.stderr.count("(finished before)") == 2
