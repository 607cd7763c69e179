"""The Decathlon: all stores under one set of rules, each run made once, whatever stops it in between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mmtk import store
from mmtk.cli import group
from mmtk.errors import ArgumentError, MmtkError, ScoreError
from mmtk.scoring import evaluate_file
from mmtk.training import decathlon
from mmtk.training.search import search
from tests.small_stores import MULTILABEL, write_small_store

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


def plan(stores, out, protocols=("isbi21",), seeds=(0,), epochs=2):
    ways = [decathlon.Way("resnet18", protocol, epochs) for protocol in protocols]
    return decathlon.plan_runs(stores, out, ways=ways, seeds=seeds)


def files(out: Path) -> dict[str, bytes]:
    """What runs leave, but for clocks."""
    kept = [path for path in sorted(out.rglob("*")) if path.suffix in (".csv", ".json") or path.name == "best.pt"]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept if path.name != decathlon.RESULTS}


def test_runs_are_planned_in_the_papers_order_and_what_is_missing_is_named(stores, tmp_path):
    entries, missing = plan(stores, tmp_path / "runs", protocols=["isbi21", "v2"], seeds=[0, 1])
    assert [(e.info.flag, e.way.protocol, e.seed) for e in entries[::2]] == [
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
    assert "octmnist_28 resnet18, isbi21, seed 0:" in done.stderr
    assert "octmnist_28.h5 test labels" in done.stderr
    results = json.loads((tmp_path / "runs" / decathlon.RESULTS).read_text())
    assert [("error" in run, run["flag"]) for run in results] == [
        (False, "pathmnist"), (True, "octmnist"), (False, "breastmnist"),
    ]
    again = CliRunner().invoke(group, [*arguments, "--json"])
    assert json.loads(again.stdout) == results
    assert again.stderr.count("(finished before)") == 2


# ------------------------------------------------------------------------------ sklearn


@pytest.fixture(params=["binary-class", "multi-class", "multi-label, binary-class"])
def learnable(request, tmp_path):
    """A store whose labels show in the images."""
    task = request.param
    options = {"classes": 3, "flag": "pathmnist", "channels": 3} if task == "multi-class" else {"classes": 2}
    opened = store.open(write_small_store(tmp_path / "noise.h5", (400, 80, 80), task=task, size=8, **options))
    arrays = {}
    for split in opened.splits:
        images = split.images // 2
        shown = split.labels if task == MULTILABEL else split.labels == np.arange(len(opened.info.classes))
        for column in range(shown.shape[1]):
            images[shown[:, column].astype(bool), 2 * column : 2 * column + 2] += 100
        arrays[split.name] = (images, split.labels, split.records)
    return store.open(store.write_store(tmp_path / "learnable.h5", opened.info, arrays))


def test_the_method_without_a_network_learns_and_gives_the_same_again(learnable, tmp_path):
    first = search(learnable, tmp_path / "a", budget=300)
    assert first.metrics["test"].auc > 0.95
    assert first.images == {"train": 400, "val": 80, "test": 80}
    again = search(learnable, tmp_path / "a", budget=300)
    assert (first.reused, again.reused, again.metrics) == (False, True, first.metrics)
    other = search(learnable, tmp_path / "b", budget=300)
    assert other.metrics == first.metrics
    names = sorted(path.name for path in (tmp_path / "a").glob("*.csv"))
    assert len(names) == 3
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    lines = [json.loads(line) for line in (tmp_path / "a" / "search.jsonl").read_text().splitlines()]
    counts = [line["images"] for line in lines]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (300, 400)
    assert len(lines) < 2 * counts.count(300)
    for split in ("train", "val", "test"):
        scored = evaluate_file(next((tmp_path / "a").glob(f"*_{split}_*.csv")), renamed(learnable, tmp_path))
        assert scored.agrees


def renamed(opened, folder):
    """A folder with the store under the name that result files tell."""
    target = folder / "named" / f"{opened.info.flag}_8.h5"
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        target.symlink_to(opened.path)
    return target.parent


def test_a_short_budget_ends_the_search_early_with_what_there_is(learnable, tmp_path):
    result = search(learnable, tmp_path / "run", budget=0.001)
    lines = (tmp_path / "run" / "search.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert result.metrics["test"].auc > 0.5


def test_a_budget_or_store_that_cannot_be_is_refused(learnable, tmp_path):
    with pytest.raises(ArgumentError, match="budget: expected seconds above 0, found 0"):
        search(learnable, tmp_path / "run", budget=0)
    lost = store.open(write_small_store(tmp_path / "lost.h5", (20, 6, 2), classes=4, task="multi-class"))
    with pytest.raises(ScoreError, match=r"lost\.h5 test labels"):
        search(lost, tmp_path / "run", budget=10)
    search(learnable, tmp_path / "run", budget=0.001)
    with pytest.raises(MmtkError, match="expected seed 1, found 0 in the run that lies there"):
        search(learnable, tmp_path / "run", budget=0.001, seed=1)


def test_the_command_takes_methods_beside_protocols(stores, tmp_path):
    arguments = ["decathlon", "--stores", str(stores), "--out", str(tmp_path / "runs"), "--method", "sklearn"]
    done = CliRunner().invoke(group, [*arguments, "--budget", "0.01"])
    assert done.exit_code == 0, done.output
    assert "sklearn, 0.01 s" in done.stdout
    assert "resnet18" not in done.stdout
    assert (tmp_path / "runs" / "breastmnist_28" / "sklearn_0.01s_seed0" / "result.json").is_file()
