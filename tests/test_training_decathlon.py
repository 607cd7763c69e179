"""The Decathlon: all stores under one set of rules, each run made once, whatever stops it in between."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mmtk import plugins, store
from mmtk.cli.decathlon import _echo_rows
from mmtk.errors import ArgumentError, MmtkError, ScoreError, StoreError
from mmtk.registry import Registry
from mmtk.runs import differences_of, evaluate_run, evaluation, lock_folder, means_of, read_result, rows_of
from mmtk.runs.summary import RESULTS, write_results
from mmtk.scoring import evaluate_file, intervals
from mmtk.training import _pace, decathlon, methods
from mmtk.training.methods import Job, Method, get_method, list_methods, paper_budget, register, trained
from tests.commands import invoke, run_mmtk
from tests.small_stores import write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.thin import thin_plugin  # noqa: E402

pytestmark = pytest.mark.usefixtures("thin_models")


@pytest.fixture
def stores(tmp_path):
    folder = tmp_path / "stores"
    write_small_store(folder / "breastmnist_28.h5", (12, 6, 6), size=28)
    write_small_store(folder / "pathmnist_28.h5", (12, 6, 6), flag="pathmnist", size=28, channels=3, classes=3,
                      task="multi-class", synthetic=True)
    return folder


class Killed(BaseException):
    pass


def constant(job: Job):
    """A method of no time: the same scores for every image, but for the seed."""
    job.progress(1, 2)
    scores = {split.name: np.random.default_rng(job.seed).random((len(split), len(split.info.classes)))
              for split in job.store.splits}
    return job.leave({"method": "constant"}, lambda: scores)


def other_seeds(job: Job):
    return constant(replace(job, seed=job.seed + 5))


def as_method(name, function=constant, **facts):
    return Method(name, name, f"{__name__}:{function.__name__}", facts=facts)


CONSTANT = as_method("constant", method="constant")


def plan(stores, out, protocols=("isbi21",), seeds=(0,), epochs=2):
    chosen = [trained("resnet18", protocol, epochs) for protocol in protocols]
    return decathlon.plan_runs(stores, out, methods=chosen, seeds=seeds)


def files(out: Path) -> dict[str, bytes]:
    """What runs leave, but for clocks."""
    kept = [path for path in sorted(out.rglob("*")) if path.suffix in (".csv", ".json") or path.name == "best.pt"]
    return {
        str(path.relative_to(out)): re.sub(rb'\n *"seconds": [0-9.]+,', b"", path.read_bytes())
        for path in kept if path.name != RESULTS
    }


def test_runs_are_planned_in_the_papers_order_and_what_is_missing_is_named(stores, tmp_path):
    entries, missing = plan(stores, tmp_path / "runs", protocols=["isbi21", "v2"], seeds=[0, 1])
    assert [(e.flag, e.method.name, e.seed) for e in entries[::2]] == [
        ("pathmnist", "resnet18_isbi21", 0), ("pathmnist", "resnet18_v2", 0),
        ("breastmnist", "resnet18_isbi21", 0), ("breastmnist", "resnet18_v2", 0),
    ]
    assert len({entry.out for entry in entries}) == 8
    assert len(missing) == 8
    with pytest.raises(MmtkError, match=r"contains no store named FLAG_28\.h5"):
        plan(tmp_path, tmp_path / "runs")
    with pytest.raises(ArgumentError, match="methods: two have the same name; found resnet18_v2, resnet18_v2"):
        plan(stores, tmp_path / "runs", protocols=["v2", "v2"])


def test_a_killed_decathlon_goes_on_and_repeats_nothing(stores, tmp_path):
    entries, _ = plan(stores, tmp_path / "whole")
    whole = list(decathlon.run_all(entries, device="cpu"))
    entries, _ = plan(stores, tmp_path / "broken")
    for stop in ((0, 1.0), (1, 0.5)):  # once at the end of the first run's last epoch, once inside the second run
        def follow(now, stop=stop):
            if (now.done, now.fraction) == stop:
                raise Killed

        with pytest.raises(Killed):
            list(decathlon.run_all(entries, device="cpu", follow=follow))
    told = []
    again = list(decathlon.run_all(entries, device="cpu", follow=told.append))
    assert [now.done + now.fraction for now in told] == sorted(now.done + now.fraction for now in told)
    assert (told[-1].done, told[-1].runs, told[-1].remaining) == (2, 2, 0)
    assert [outcome.result.reused for outcome in again] == [True, False]
    assert [outcome.result.metrics for outcome in again] == [outcome.result.metrics for outcome in whole]
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    third = list(decathlon.run_all(entries, device="cpu"))
    assert all(outcome.result.reused for outcome in third)
    assert [(row.auc, row.acc, row.tests) for row in rows_of(third)] == [
        (row.auc, row.acc, row.tests) for row in rows_of(whole)
    ]


def stamps(out: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of everything in finished runs."""
    finished = [path.parent for path in out.rglob("outcome.json")]
    return {str(p.relative_to(out)): (p.stat().st_mtime_ns, p.read_bytes())
            for folder in finished for p in folder.iterdir()}


KILLS = """
import os, signal
from pathlib import Path
from mmtk.training import checkpoints

def dying(path, state, save=checkpoints.save):
    if len(list(Path(os.environ["RUNS"]).rglob("outcome.json"))) == int(os.environ["FINISHED"]):
        os.kill(os.getpid(), signal.SIGKILL)
    save(path, state)

checkpoints.save = dying
"""


def test_a_decathlon_killed_twice_by_the_system_touches_no_finished_run(stores, tmp_path):
    for flag in ("dermamnist", "octmnist"):
        write_small_store(stores / f"{flag}_28.h5", (12, 8, 8), flag=flag, size=28, classes=4, task="multi-class")
    out = tmp_path / "runs"
    arguments = ["--stores", stores, "--out", str(out), "--protocol", "quick", "--epochs", "2", "--device", "cpu"]
    before: list[dict[str, tuple[int, bytes]]] = []
    for finished in (1, 2):
        killed = {"RUNS": out, "FINISHED": finished, plugins.VARIABLE: thin_plugin(tmp_path, KILLS)}
        run_mmtk("decathlon", *arguments, env=killed, code=-signal.SIGKILL)
        assert len(list(out.rglob("outcome.json"))) == finished
        before.append(stamps(out))
    done = invoke("decathlon", *arguments, "--json")
    after = stamps(out)
    for earlier in before:
        assert earlier
        assert {name: after[name] for name in earlier} == earlier
    told = json.loads(done.stdout)
    assert [run["flag"] for run in told["runs"]] == ["pathmnist", "dermamnist", "octmnist", "breastmnist"]
    assert all(set(run["splits"]) == set(store.SPLITS) for run in told["runs"])
    assert done.stderr.count("(finished before)") >= 2
    assert json.loads((out / RESULTS).read_text())["runs"] == told["runs"]
    for run in told["runs"]:
        kept = {path.name for path in (out / run["out"]).iterdir() if not path.name.endswith(".csv")}
        assert {"config.json", "metrics.jsonl", "best.pt", "result.json", "scores.json"} <= kept
        assert len(list((out / run["out"]).glob("*.csv"))) == 3
        made_with = json.loads((out / run["out"] / "config.json").read_text())["made_with"]
        assert {"mmtk", "revision", "torch"} <= set(made_with)


# ------------------------------------------------------------------------------- tables


def outcomes_of(stores, out, seeds=(0,), chosen=(CONSTANT,)):
    entries, _ = decathlon.plan_runs(stores, out, methods=chosen, seeds=seeds)
    return list(decathlon.run_all(entries))


def test_a_store_that_could_not_be_read_when_runs_were_planned_costs_its_runs(stores, tmp_path, monkeypatch):
    real, broken = store.open, [stores / "breastmnist_28.h5"]

    def once(path, *rest):
        if path in broken:
            broken.remove(path)
            raise StoreError(path, expected="a readable store", found="Input/output error")
        return real(path, *rest)

    monkeypatch.setattr(store, "open", once)
    path, breast = outcomes_of(stores, tmp_path / "runs")
    assert (path.error, breast.result) == ("", None)
    assert "could not be read when the runs were planned" in breast.error
    assert [row.info.flag for row in rows_of([path, breast])] == ["pathmnist"]


def test_rows_mean_over_seeds_and_hold_against_the_paper_only_what_may_be(stores, tmp_path):
    outcomes = outcomes_of(stores, tmp_path / "runs", seeds=(0, 1))
    path, breast = rows_of(outcomes)
    assert [row.info.flag for row in (path, breast)] == ["pathmnist", "breastmnist"]
    assert (list(breast.tests), breast.images) == ([0, 1], 6)
    tests = [outcome.result.metrics["test"] for outcome in outcomes[2:]]
    assert breast.auc.value == pytest.approx(sum(test.auc for test in tests) / 2)
    assert breast.spread[1] == pytest.approx(abs(tests[0].acc - tests[1].acc) / 2**0.5)
    assert path.paper is breast.paper is None
    assert path.paper_row == breast.paper_row == ""
    (mean,) = means_of([path, breast])
    assert mean.auc.value == pytest.approx((path.auc.value + breast.auc.value) / 2)
    assert mean.auc.low < mean.auc.value < mean.auc.high
    by_seed = [np.mean([outcomes[seed].result.metrics["test"].acc, tests[seed].acc]) for seed in (0, 1)]
    assert mean.spread[1] == pytest.approx(np.std(by_seed, ddof=1))
    assert means_of(rows_of(outcomes[:3]))[0].spread is None  # breastmnist has one seed only
    assert differences_of([path, breast]) == []


def test_a_method_differs_from_itself_by_nothing_and_from_another_by_an_interval(stores, tmp_path):
    other, same = as_method("other", other_seeds), as_method("same", method="constant")
    rows = rows_of(outcomes_of(stores, tmp_path / "runs", chosen=(CONSTANT, same, other)))
    nothing, some, again = differences_of(rows)
    assert (nothing.method, nothing.other, nothing.datasets) == ("same", "constant", 2)
    assert (nothing.auc.low, nothing.auc.value, nothing.auc.high) == (0, 0, 0)
    assert (some.auc, some.acc) == (again.auc, again.acc)
    by_dataset = [rows[4 + i].auc.value - rows[i].auc.value for i in (0, 1)]
    assert some.auc.value == pytest.approx(np.mean(by_dataset))
    assert some.auc.low < some.auc.high


def test_a_run_is_scored_once_and_its_predictions_must_be_its_own(stores, tmp_path):
    (outcome,) = outcomes_of(stores, tmp_path / "runs")[1:]
    opened, folder = store.open(stores / "breastmnist_28.h5"), outcome.entry.out
    (csv,) = folder.glob("*_test_*.csv")
    found = evaluate_file(csv, stores)
    bands = intervals(found.labels, found.predictions.scores, found.info.task, found.subjects)
    assert outcome.evaluation.facts["intervals"]["auc"] == asdict(bands.auc)
    assert np.sum(outcome.evaluation.facts["details"]["confusion"]) == 6
    assert outcome.evaluation.facts["delong"]["value"] == pytest.approx(bands.auc.value)
    before = (folder / "scores.json").stat().st_mtime_ns
    again = evaluate_run(folder, opened)
    assert (folder / "scores.json").stat().st_mtime_ns == before
    assert json.dumps(again.facts) == json.dumps(json.loads(json.dumps(outcome.evaluation.facts)))
    np.testing.assert_array_equal(again.resampled.replicates, outcome.evaluation.resampled.replicates)
    rows = csv.read_text().splitlines()
    csv.write_text("".join(f"{row},0.9,0.1\n" for row in range(6)))
    with pytest.raises(MmtkError, match=r"csv: does not match result\.json"):
        evaluate_run(folder, opened)
    csv.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(ScoreError, match="rows, expected 6"):
        evaluate_run(folder, opened)
    (theirs,) = (tmp_path / "runs" / "pathmnist_28" / "constant_seed0").glob("*_test_*.csv")
    shutil.copy(theirs, folder / theirs.name)
    told = json.loads((folder / "result.json").read_text())
    told["splits"]["test"]["file"] = theirs.name
    (folder / "result.json").write_text(json.dumps(told))
    with pytest.raises(MmtkError, match=r"found predictions of pathmnist 28 test, expected breastmnist 28 test"):
        evaluate_run(folder, opened)


def spoil_text(path, *contents):
    for content in contents:
        path.write_bytes(content)
        yield
    path.unlink()
    path.mkdir()
    yield
    path.rmdir()


NOT_JSON = (b"", b"[]", b"null", b"7", b'{"images": 6}', b"[" * 100_000, b'{"a": NaN}', b"\xff", b'{"intervals": []}')


def test_what_is_kept_of_a_run_is_found_again_if_it_cannot_be_trusted(stores, tmp_path):
    (outcome,) = outcomes_of(stores, tmp_path / "runs")[1:]
    opened, folder = store.open(stores / "breastmnist_28.h5"), outcome.entry.out
    kept = {name: (folder / name).read_bytes() for name in ("scores.json", "resamples.npz")}

    def good():
        found = evaluate_run(folder, opened)
        assert json.dumps(found.facts) == json.dumps(outcome.evaluation.facts)
        np.testing.assert_array_equal(found.resampled.replicates, outcome.evaluation.resampled.replicates)
        return found.unsaved

    half = kept["resamples.npz"][:900]
    for name, contents in (("scores.json", NOT_JSON), ("resamples.npz", (b"", b"PK\x03\x04", half))):
        for _ in spoil_text(folder / name, *contents):
            assert ("directory" in good()) == (folder / name).is_dir()
        good()
        assert (folder / name).read_bytes() == kept[name]
    arrays = dict(np.load(folder / "resamples.npz"))
    for name, wrong in (
        ("drawn", "of an earlier version"), ("drawn", None), ("values", np.zeros(2)), ("values", np.zeros(3)),
        ("found", np.zeros((9, 2))), ("found", arrays["found"].astype(object)),
        ("found", arrays["found"].astype(np.float32)), ("resampled", None),
    ):
        with (folder / "resamples.npz").open("wb") as file:
            np.savez(file, **{key: value for key, value in (arrays | {name: wrong}).items() if value is not None})
        assert good() == ""
    assert (folder / "resamples.npz").read_bytes() == kept["resamples.npz"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE])
def test_a_run_is_as_good_where_what_was_found_cannot_be_kept(stores, tmp_path, monkeypatch, number):
    def failing(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(evaluation, "write_atomically", failing)
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--method", "sklearn"]
    done = invoke(*arguments, "--budget", "0.01")
    assert done.stderr.count(f"(intervals not saved: [Errno {number}] {os.strerror(number)}") == 2
    assert "mean over 2" in done.stdout


def test_results_that_cannot_be_written_end_no_run(stores, tmp_path):
    (tmp_path / "runs" / RESULTS).mkdir(parents=True)
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--method", "sklearn"]
    done = invoke(*arguments, "--budget", "0.01", code=1)
    assert "mean over 2" in done.stdout
    assert isinstance(done.exception, StoreError)
    assert "results.json" in str(done.exception)


def test_figures_one_ulp_off_are_those_of_the_run(stores, tmp_path):
    outcome = outcomes_of(stores, tmp_path / "runs")[1]
    path, opened = outcome.entry.out / "result.json", store.open(stores / "breastmnist_28.h5")
    result = json.loads(path.read_text())
    auc = result["splits"]["test"]["auc"]
    for other, good in ((math.nextafter(auc, 0), True), (auc - 1e-4, False), (None, False)):
        result["splits"]["test"]["auc"] = other
        path.write_text(json.dumps(result))
        if good:
            evaluate_run(outcome.entry.out, opened)
        else:
            with pytest.raises(MmtkError, match=r"does not match result\.json"):
                evaluate_run(outcome.entry.out, opened)


def with_test_labels(path, labels, *, partial=False):
    opened = store.open(path)
    arrays = {split.name: (split.images, split.labels, split.records) for split in opened.splits}
    images, _, records = arrays["test"]
    arrays["test"] = images, np.array(labels, np.uint8)[:, None], records
    store.write_store(path, replace(opened.info, partial=partial), arrays)


@pytest.mark.parametrize("ones", [1, 0])
def test_a_test_split_with_one_image_of_a_class_or_none_leaves_its_figures_undefined(stores, tmp_path, ones):
    with_test_labels(stores / "breastmnist_28.h5", [1] * ones + [0] * (6 - ones), partial=not ones)
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--method", "sklearn"]
    for again in (False, True):
        done = invoke(*arguments, "--budget", "0.01", "--seeds", "2")
        assert done.stderr.count("(finished before)") == 4 * again
    line = next(line for line in done.stdout.splitlines() if line.startswith("breastmnist"))
    assert ("undefined" in line) == (not ones)
    assert "ACC" not in line
    mean = next(line for line in done.stdout.splitlines() if line.startswith("mean over 2"))
    assert ("undefined" in mean) == (not ones)
    told = json.loads(invoke(*arguments, "--budget", "0.01", "--json").stdout)
    breast = told["table"][1]
    assert (breast["auc"]["value"] is None) == (told["means"][0]["auc"]["value"] is None) == (not ones)
    assert breast["acc"]["low"] is not None
    assert "NaN" not in (tmp_path / "runs" / RESULTS).read_text()


def test_stores_of_several_sizes_are_trained_each_with_the_stem_of_its_own(stores, tmp_path):
    write_small_store(stores / "breastmnist_128.h5", (4, 4, 4), size=128)
    out = tmp_path / "runs"
    arguments = ["decathlon", "--stores", stores, "--out", out, "--protocol", "quick", "--epochs", "1"]
    done = invoke(*arguments, "--device", "cpu", "--size", "28", "--size", "128")
    titles = [line.rstrip() for line in done.stdout.splitlines() if line.startswith("resnet18, quick")]
    assert [title.partition("  ")[0] for title in titles[:2]] == ["resnet18, quick", "resnet18, quick, 128 px"]
    assert "no store of pathmnist at 128 px, chestmnist, chestmnist at 128 px" in done.stdout
    for size, edge in ((28, 3), (128, 7)):
        weights = torch.load(out / f"breastmnist_{size}" / "resnet18_quick_seed0" / "best.pt", weights_only=True)
        assert weights["conv1.weight"].shape == (64, 1, edge, edge)
    with pytest.raises(MmtkError, match=r"contains no store named FLAG_64\.h5 or FLAG_224\.h5"):
        decathlon.plan_runs(stores, out, methods=[CONSTANT], seeds=[0], sizes=[64, 224])


def test_sets_that_the_paper_does_not_have_count_in_no_mean(stores, tmp_path, capsys):
    for flag in ("lung", "another"):
        write_small_store(stores / f"{flag}_28.h5", (12, 6, 6), flag=flag, size=28)
    chosen = (CONSTANT, as_method("other", other_seeds))
    rows = rows_of(outcomes_of(stores, tmp_path / "runs", chosen=chosen))
    assert [row.info.flag for row in rows[:4]] == ["pathmnist", "breastmnist", "another", "lung"]
    ten, without = means_of(rows), means_of([row for row in rows if row.is_of_ten])
    assert [mean.datasets for mean in ten] == [2, 2]
    assert ten == without
    assert means_of(rows[2:4]) == []
    over_ten, *alone = differences_of(rows)
    assert (over_ten.flag, over_ten.datasets) == ("", 2)
    assert [(one.flag, one.datasets) for one in alone] == [("another", 1), ("lung", 1)]
    assert alone[1].auc.value == pytest.approx(rows[7].auc.value - rows[3].auc.value)
    _echo_rows([replace(row, info=replace(row.info, title=f"The {row.info.flag}")) for row in rows])
    told = capsys.readouterr().out
    assert "other - constant, on The lung: AUC" in told
    assert "on lung" not in told


def test_what_medmnist_added_is_trained_after_the_ten_and_has_a_place_of_its_own(stores, tmp_path):
    kinds = {"vesselmnist3d": {"ndim": 3}, "organmnist3d": {"ndim": 3}, "bloodmnist": {"channels": 3}, "alung": {}}
    for flag, kind in kinds.items():
        write_small_store(stores / f"{flag}_8.h5", (12, 6, 6), flag=flag, **kind)
    write_small_store(stores / "breastmnist_8.h5", (12, 6, 6))
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--size", "8", "--device", "cpu"]
    done = invoke(*arguments, "--method", "sklearn", "--budget", "0.2")
    order = ["breastmnist", "bloodmnist", "organmnist3d", "vesselmnist3d", "alung"]
    assert re.findall(r"^\d/5 (\w+): sklearn", done.stderr, re.MULTILINE) == order
    block = [line.split("  ")[0] for line in done.stdout.splitlines()[2:9]]
    assert block == [
        "breastmnist", "mean over 1", "MedMNIST v2's other sets", *order[1:4], "other datasets",
    ]
    for flag in order:
        assert (tmp_path / "runs" / f"{flag}_8" / "sklearn_0.2s_seed0" / "result.json").exists()


class Seen:
    """Goes by the mean of an image, and keeps the shapes it was given."""

    shapes: ClassVar = []

    def fit(self, x, y):
        self.shapes.append(x.shape)

    def predict_proba(self, x):
        self.shapes.append(x.shape)
        mean = x.reshape(len(x), -1).mean(axis=1) / 255
        return np.stack([1 - mean, mean], axis=1)


def test_own_classes_are_given_volumes_as_they_are_stored(tmp_path):
    opened = store.open(write_small_store(tmp_path / "vesselmnist3d_8.h5", (12, 6, 7), flag="vesselmnist3d", ndim=3))
    settings = {"name": "seen", "estimator": f"{__name__}:Seen"}
    method = Method("seen", "seen", "mmtk.training.estimators:run", settings=settings)
    result = method.run(Job(opened, tmp_path / "run", 1))
    assert Seen.shapes == [(n, 8, 8, 8) for n in (12, 12, 6, 7)]
    assert result.images == {"train": 12, "val": 6, "test": 7}


def test_v2_counts_batches_of_volumes_as_they_are_and_keeps_their_pace_apart(stores, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_pace.time, "perf_counter", lambda: now[0])
    for flag, ndim in (("breastmnist", 2), ("organmnist3d", 3), ("vesselmnist3d", 3)):
        write_small_store(stores / f"{flag}_8.h5", (70, 6, 6), flag=flag, ndim=ndim)
    entries, _ = decathlon.plan_runs(stores, tmp_path, methods=[trained("resnet18", "v2", 10)], seeds=(0,), sizes=[8])
    assert [entry.batches for entry in entries] == [10, 30, 30]
    clock = _pace.Clock(entries)
    for number, seconds in enumerate((1.0, 100.0)):
        batches = entries[number].batches
        clock.begin(number)
        clock.update(number, 0, batches)
        now[0] += seconds * batches
        clock.update(number, batches, batches)
        clock.end(number)
    assert clock.progress().remaining == pytest.approx(30 * 100.0)
    other = replace(entries[1], method=Method("net", "net", "net:fit", epochs=2, batch_size=32))
    assert other.batches == 6  # of volumes too, where it says nothing of them


def test_seconds_are_kept_beside_the_budget_and_older_results_are_read(stores, tmp_path, monkeypatch):
    monkeypatch.setattr(methods.time, "perf_counter", iter((np.arange(1000) * 2.5).tolist()).__next__)
    path, _ = outcomes_of(stores, tmp_path / "runs")
    result = json.loads((path.result.path / "result.json").read_text())
    assert result["seconds"] == path.result.seconds >= 2.5
    assert result["budget"] == path.entry.budget == path.result.budget
    (row,) = rows_of([path])
    assert (row.seconds, row.budget) == (result["seconds"], result["budget"])
    changed = {**result, "seconds": 0.1}
    (path.result.path / "result.json").write_text(json.dumps(changed))
    with pytest.raises(MmtkError, match="was changed after it was written"):
        read_result(path.result.path)
    older = {name: value for name, value in result.items() if name not in ("seconds", "budget", "checksum")}
    (path.result.path / "result.json").write_text(json.dumps(older))
    assert (read_result(path.result.path).seconds, read_result(path.result.path).budget) == (None, None)


def failing(job: Job):
    """A method that fails once its folder is claimed, as `failing.error` says; later it does not."""
    def predict():
        if failing.error is not None:
            raise failing.error
        return {split.name: np.full((len(split), len(split.info.classes)), 0.5) for split in job.store.splits}

    return job.leave({"method": "failing"}, predict)


@pytest.mark.parametrize(("error", "says", "kept"), [
    (ValueError("bad\nshape \x1b \udcff"), "ValueError: bad shape \\x1b \\udcff (", True),
    (MemoryError(), "MemoryError: not enough memory (", True),
    (FileNotFoundError(2, "No such file", "w.pt"), "FileNotFoundError: [Errno 2] No such file: 'w.pt' (", True),
    (SystemExit(3), "SystemExit: 3 (", True),
    (ScoreError("scores", expected="more"), "scores: expected more", False),
])
def test_whatever_a_method_raises_is_its_outcome_and_is_gone_when_it_is_mended(stores, tmp_path, error, says, kept):
    failing.error = error
    method = as_method("failing", failing, method="failing")
    entries, _ = decathlon.plan_runs(stores, tmp_path / "runs", methods=[method, CONSTANT], seeds=[0])
    outcomes = list(decathlon.run_all(entries))
    assert [bool(outcome.error) for outcome in outcomes] == [True, False, True, False]
    told = outcomes[0].error
    assert told.startswith(says)
    assert len(told.splitlines()) == 1
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "raise failing.error" in text)
    assert told.endswith(f"({Path(__file__).name} line {line})") == kept
    traceback = entries[0].out / "traceback.txt"
    assert traceback.exists() == kept
    failing.error = None
    assert not any(outcome.error for outcome in decathlon.run_all(entries))
    assert not traceback.exists()


@pytest.mark.parametrize(("shape", "says"), [
    (lambda n: (n, 2), "shape (12, 2)"), (lambda n: (n, 5), "shape (12, 5)"), (lambda n: (n - 1, 3), "shape (11, 3)"),
    (lambda n: (n,), "shape (12,)"), (lambda n: (n, 3, 1), "shape (12, 3, 1)"),
])
def test_scores_of_another_shape_are_what_is_blamed(stores, tmp_path, shape, says):
    opened = store.open(stores / "pathmnist_28.h5")
    job = Job(opened, tmp_path / "run", budget=1)
    with pytest.raises(ScoreError) as raised:
        job.leave({"method": "mine"}, lambda: {split.name: np.full(shape(len(split)), 0.5) for split in opened.splits})
    assert str(raised.value) == (
        f"mine_28_1s_seed0: scores of train: found {says}, expected (12, 3), "
        "a row per image and a column per class or label"
    )
    assert not (tmp_path / "run" / "result.json").exists()


def test_sets_of_ones_own_are_not_told_which_of_the_ten_lack(stores, tmp_path):
    for path in stores.iterdir():
        path.unlink()
    write_small_store(stores / "lung_28.h5", (12, 6, 6), flag="lung", size=28)
    arguments = ("decathlon", "--stores", stores, "--protocol", "quick", "--epochs", 1, "--device", "cpu")
    told = invoke(*arguments, "--out", tmp_path / "runs").stdout
    assert "lung " in told
    assert "no store of" not in told
    assert "mean over" not in told


def test_an_interrupted_decathlon_ends(stores, tmp_path):
    failing.error = KeyboardInterrupt()
    entries, _ = decathlon.plan_runs(
        stores, tmp_path / "runs", methods=[as_method("failing", failing, method="failing")], seeds=[0]
    )
    with pytest.raises(KeyboardInterrupt):
        list(decathlon.run_all(entries))


# -------------------------------------------------------------------------------- trouble


def test_the_command_prints_a_table_and_a_failed_run_does_not_stop_the_others(stores, tmp_path):
    write_small_store(stores / "octmnist_28.h5", (8, 4, 2), flag="octmnist", size=28, classes=4, task="multi-class")
    out, short = tmp_path / "runs", ["--epochs", "1", "--device", "cpu"]
    arguments = ["decathlon", "--stores", stores, "--out", str(out), *short]
    done = invoke(*arguments, code=1)
    table = done.stdout
    assert "resnet18, isbi21" in table
    assert "pathmnist SYNTHETIC" in table
    assert "mean over 2" in table
    assert "no store of chestmnist" in table
    assert "octmnist: resnet18, isbi21, seed 0:" in done.stderr
    assert "octmnist_28.h5 test: labels" in done.stderr
    results = json.loads((tmp_path / "runs" / RESULTS).read_text())["runs"]
    assert [("error" in run, run["flag"]) for run in results] == [
        (False, "pathmnist"), (True, "octmnist"), (False, "breastmnist"),
    ]
    again = invoke(*arguments, "--json", code=1)
    told = json.loads(again.stdout)
    assert told["runs"] == results
    assert [row["flag"] for row in told["table"]] == ["pathmnist", "breastmnist"]
    assert len(told["means"]) == 1
    assert again.stderr.count("(finished before)") == 2


def flip(path: Path) -> None:
    """Turn a byte in the middle of a store's images, where nothing but a checksum shows it."""
    content = bytearray(path.read_bytes())
    content[content.index(store.open(path).train.images.tobytes()) + 100] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Path.unlink, "cannot be read: no such file"),
        (lambda path: os.truncate(path, 3000), "store is corrupt: the file is truncated"),
        (flip, "store is corrupt: train/images chunk 0.*checksum differs"),
        (lambda path: shutil.copy(path.with_name("pathmnist_28.h5"), path),
         "found a store of pathmnist_28, expected breastmnist_28"),
    ],
    ids=["vanished", "cut short", "flipped", "another"],
)
def test_a_store_spoilt_on_the_way_costs_its_own_runs_only(stores, tmp_path, spoil, says):
    write_small_store(stores / "retinamnist_28.h5", (12, 8, 8), flag="retinamnist", size=28, classes=4,
                      task="ordinal-regression")
    entries, _ = decathlon.plan_runs(stores, tmp_path / "runs", methods=[CONSTANT], seeds=(0, 1))
    outcomes = []
    for outcome in decathlon.run_all(entries):
        if not outcomes:
            spoil(stores / "breastmnist_28.h5")
        outcomes.append(outcome)
    assert [bool(outcome.error) for outcome in outcomes] == [False] * 4 + [True] * 2
    with pytest.raises(MmtkError, match=says):
        raise MmtkError(outcomes[-1].error)
    assert {path.name for path in (tmp_path / "runs" / "breastmnist_28").glob("*/*")} == {"outcome.json"}
    assert [row.info.flag for row in rows_of(outcomes)] == ["pathmnist", "retinamnist"]


def test_a_damaged_store_is_said_and_the_others_run(stores, tmp_path):
    (stores / "octmnist_28.h5").write_bytes(b"no store")
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--method", "sklearn"]
    done = invoke(*arguments, "--budget", "0.01", code=1)
    assert "octmnist_28.h5: " in done.stderr
    assert "mean over 2" in done.stdout


def test_a_run_folder_in_use_is_not_touched(stores, tmp_path):
    out = tmp_path / "runs"
    with lock_folder(out / "breastmnist_28" / "constant_seed0"):
        outcomes = outcomes_of(stores, out)
    assert "another process" in outcomes[1].error
    assert not list((out / "breastmnist_28" / "constant_seed0").iterdir())
    assert outcomes[0].result


def test_results_of_other_methods_are_kept(stores, tmp_path):
    out = tmp_path / "runs"
    for method in (CONSTANT, as_method("second", method="second")):
        path = write_results(outcomes_of(stores, out, chosen=[method]), out)
    told = json.loads(path.read_text())["runs"]
    assert [run["method"] for run in told] == ["constant"] * 2 + ["second"] * 2
    shutil.rmtree(out / "breastmnist_28" / "constant_seed0")
    path.write_text(path.read_text()[:50])
    write_results(outcomes_of(stores, out)[:1], out)
    told = [run["out"] for run in json.loads(path.read_text())["runs"]]
    runs = [(flag, method) for flag in ("breastmnist", "pathmnist") for method in ("constant", "second")]
    assert sorted(told) == [f"{flag}_28/{method}_seed0" for flag, method in runs]


def test_results_of_any_shape_are_told_again(stores, tmp_path):
    out = tmp_path / "runs"
    outcomes = outcomes_of(stores, out)
    whole = write_results(outcomes, out).read_bytes()
    runs = json.loads(whole)["runs"]
    contents = [json.dumps({"runs": wrong}).encode() for wrong in (
        None, 5, "runs", {"out": "."}, [1], [None], [[]], [{}], [{"out": 5}], [{"out": ["a"]}], [{"out": "a\0b"}],
        [*runs, {}],
    )]
    for content in (*NOT_JSON, *contents):
        (out / RESULTS).write_bytes(content)
        assert write_results(outcomes, out).read_bytes() == whole


def test_results_that_the_system_cannot_read_are_not_replaced(stores, tmp_path, monkeypatch):
    out = tmp_path / "runs"
    outcomes = outcomes_of(stores, out)
    path = write_results(outcomes, out)
    before = path.read_bytes()

    def failing(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(OSError, match="Input/output error"):
        write_results(outcomes[:1], out)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["result.json", "config.json"])
def test_a_run_whose_files_are_damaged_costs_itself_only(stores, tmp_path, name):
    outcomes_of(stores, tmp_path / "runs")
    path = tmp_path / "runs" / "breastmnist_28" / "constant_seed0" / name
    for _ in spoil_text(path, *NOT_JSON):
        first, second = outcomes_of(stores, tmp_path / "runs")
        assert first.result.reused
        assert name in second.error
        assert "Errno" not in second.error


def test_a_method_of_no_epochs_is_refused():
    with pytest.raises(ArgumentError, match="epochs: found 0, expected at least 1"):
        trained("resnet18", "quick", 0)


def test_time_left_is_estimated_from_the_pace_and_from_budgets(stores, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(_pace.time, "perf_counter", lambda: now[0])
    chosen = [trained("resnet18", "isbi21", 10), CONSTANT]
    entries, _ = decathlon.plan_runs(stores, tmp_path, methods=chosen, seeds=(0,), budget=30)
    clock = _pace.Clock(entries)
    clock.begin(0)
    assert clock.progress().remaining is None
    clock.update(0, 4, 10)  # goes on from four batches
    now[0] = 8.0
    clock.update(0, 8, 10)
    assert clock.progress() == _pace.OverallProgress(0, 4, entries[0].name, 0.8, pytest.approx(0.2 * 20 + 30 + 20 + 30))
    clock.end(0)
    clock.begin(1)
    clock.update(1, 5, 10)
    assert clock.progress().remaining == pytest.approx(15 + 20 + 30)
    clock.begin(2)  # on another machine
    assert clock.progress() == _pace.OverallProgress(1, 4, "2 active", 0.5, pytest.approx((15 + 20 + 30) / 2))
    clock.update(2, 4, 10)
    now[0] = 10.0
    clock.update(2, 6, 10)
    pace = clock.progress().remaining
    clock.update(2, 4, 10)  # its worker died, and another goes on from the last epoch
    now[0] = 12.0
    clock.update(2, 6, 10)
    assert clock.progress().remaining == pytest.approx(pace)


# ------------------------------------------------------------------------------- methods


def test_a_method_takes_one_function_and_names_are_told_apart(stores, tmp_path, monkeypatch):
    known = Registry("method")
    for method in list_methods():
        known.add(method, method.name)
    monkeypatch.setattr(methods, "_METHODS", known)
    register("constant", "always the same")(constant)
    with pytest.raises(ArgumentError, match="method constant: the name constant is already taken"):
        register("constant", "again")(constant)
    expected = r"method nothing: .*resnet18_isbi21.*, constant, cmd:NAME="
    with pytest.raises(ArgumentError, match=expected):
        get_method("nothing")
    assert {"sklearn", "resnet18_v2", "resnet50_isbi21", "constant"} <= {method.name for method in list_methods()}
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--method", "constant"]
    done = invoke(*arguments, "--seeds", "2")
    assert "always the same" in done.stdout
    assert "(sd " in done.stdout
    assert "decathlon: 100 %" in done.stderr
    assert (tmp_path / "runs" / "breastmnist_28" / "constant_seed1" / "result.json").is_file()
    wrong = invoke(*arguments, "--method", "other", code=1)
    assert isinstance(wrong.exception, ArgumentError)


def test_a_protocol_is_a_method_and_its_options_stand_in_its_name(stores, tmp_path):
    method = get_method("resnet18_quick")
    assert (method.facts["epochs"], method.batches(17)) == (6, 12)
    assert trained("resnet18", "quick", 1, resolution=None).name == "resnet18_quick"
    assert trained("resnet18", "quick", 1, resolution=224, precision="bfloat16").name == "resnet18_quick_224_bfloat16"
    with pytest.raises(ArgumentError, match=r"model vgg: .*resnet18, resnet50$"):
        trained("vgg", "quick")
    arguments = ["decathlon", "--stores", stores, "--out", tmp_path / "runs", "--method", "resnet18_quick"]
    done = invoke(*arguments, "--protocol", "quick", "--epochs", "1", "--device", "cpu")
    assert done.stdout.count("resnet18, quick") == 1


def test_budgets_are_the_papers_by_the_number_of_images_or_given(stores, tmp_path):
    assert [paper_budget(n) / 3600 for n in (780, 9_999, 10_000, 50_000, 50_001, 112_120)] == [2, 2, 4, 4, 6, 6]
    entries, _ = decathlon.plan_runs(stores, tmp_path, methods=[CONSTANT], seeds=[0])
    assert (entries[0].budget, entries[0].out.name) == (120, "constant_seed0")
    entries, _ = decathlon.plan_runs(stores, tmp_path, methods=[CONSTANT], seeds=[0], budget=5)
    assert (entries[0].budget, entries[0].out.name) == (5, "constant_5s_seed0")
    both = ["decathlon", "--stores", stores, "--out", str(tmp_path), "--budget", "1", "--budget-share", "1"]
    assert "not both" in invoke(*both, code=2).output
