"""Predictions that were made elsewhere become runs, or are refused in a line and leave nothing."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import MmtkError
from mmtk.runs import enter, find_runs
from mmtk.scoring import compare_files, evaluate, parse_file_name, read_outside
from tests.commands import invoke, run_mmtk
from tests.small_runs import write_small_run
from tests.small_stores import MULTILABEL, digests, write_small_store

COUNTS = (20, 6, 9)
KINDS = {
    "breastmnist": {}, "pathmnist": {"task": "multi-class", "classes": 3, "channels": 3},
    "chestmnist": {"task": MULTILABEL, "classes": 3},
}


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    for flag, kind in KINDS.items():
        write_small_store(tmp_path / "stores" / f"{flag}_28.h5", COUNTS, flag=flag, size=28, **kind)
    return tmp_path / "stores"


def scores_of(stores: Path, flag: str = "pathmnist", split: str = "test", seed: int = 1) -> np.ndarray:
    opened = store.open(stores / f"{flag}_28.h5")
    drawn = np.random.default_rng(seed).random((len(getattr(opened, split)), len(opened.info.classes))).round(4)
    return np.stack([1 - drawn[:, 1], drawn[:, 1]], axis=1) if opened.info.task == "binary-class" else drawn


def write_table(path: Path, rows, titles=None) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if titles is not None:
            writer.writerow(titles)
        writer.writerows(rows)
    return path


def numbered(scores: np.ndarray) -> list[list[object]]:
    return [[row, *line] for row, line in enumerate(scores.tolist())]


FORMS = {
    "MedMNIST's": lambda s, n: (numbered(s), None),
    "pandas' default": lambda s, n: (numbered(s), ["", *range(s.shape[1])]),
    "by names": lambda s, n: (numbered(s), ["", *n]),
    "names turned round": lambda s, n: (numbered(s[:, ::-1]), ["index", *n[::-1]]),
    "rows turned round": lambda s, n: (numbered(s)[::-1], ["", *n]),
    "without numbers": lambda s, n: (s.tolist(), n),
    "numbers of classes alone": lambda s, n: (s.tolist(), list(range(s.shape[1]))),
    "numbered titles, turned round": lambda s, n: (
        s[:, ::-1].tolist(), [f"score_{i}" for i in range(s.shape[1])][::-1]
    ),
    "no titles and no numbers": lambda s, n: (s.tolist(), None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flag", KINDS)
def test_a_table_is_read_whatever_its_form(stores: Path, tmp_path: Path, flag: str, form: str) -> None:
    opened, wanted = store.open(stores / f"{flag}_28.h5"), scores_of(stores, flag)
    rows, titles = FORMS[form](wanted, list(opened.info.classes))
    read = read_outside(write_table(tmp_path / "mine.csv", rows, titles), opened, "test")
    assert np.array_equal(read, wanted)


@pytest.mark.parametrize(("rows", "titles"), [
    (lambda p: [[v] for v in p], ["1"]), (lambda p: [[i, v] for i, v in enumerate(p)], ["", "1"]),
    (lambda p: [[i, v] for i, v in enumerate(p)], None), (lambda p: [[v] for v in p], None),
])
def test_scores_of_the_positive_class_alone_are_those_of_both(stores: Path, tmp_path: Path, rows, titles) -> None:
    positive = scores_of(stores, "breastmnist")[:, 1]
    path = write_table(tmp_path / "mine.csv", rows(positive.tolist()), titles)
    read = read_outside(path, store.open(stores / "breastmnist_28.h5"), "test")
    assert np.array_equal(read, np.stack([1 - positive, positive], axis=1))


def test_the_layout_of_2020_is_read_if_its_labels_are_the_stores(stores: Path, tmp_path: Path) -> None:
    opened, scores = store.open(stores / "pathmnist_28.h5"), scores_of(stores)
    titles = ["id", "true_0", "score_0", "score_1", "score_2"]
    labels = opened.test.labels[:, 0].tolist()
    rows = [[i, label, *line] for i, (label, line) in enumerate(zip(labels, scores.tolist(), strict=True))]
    assert np.array_equal(read_outside(write_table(tmp_path / "a.csv", rows, titles), opened, "test"), scores)
    turned = [[i, *line[1:]] for i, line in enumerate(rows[::-1])]
    with pytest.raises(MmtkError, match=r"its rows are not in the order of .* test"):
        read_outside(write_table(tmp_path / "b.csv", turned, titles), opened, "test")


def test_they_stand_in_table_2_and_are_compared_on_test_images(stores: Path, tmp_path: Path) -> None:
    runs, scores = tmp_path / "runs", scores_of(stores)
    write_small_run(stores / "breastmnist_28.h5", runs / "breastmnist_28" / "ours", skill=2)
    files = [
        write_table(tmp_path / "pathmnist_test.csv", numbered(scores), ["", 0, 1, 2]),
        *(write_table(tmp_path / f"breastmnist_{split}.csv", numbered(scores_of(stores, "breastmnist", split)))
          for split in store.SPLITS),
    ]
    arguments = ("enter", *files, "--method", "My AutoML", "--out", runs, "--stores", stores)
    told = invoke(*arguments)
    folder = runs / "pathmnist_28" / "my-automl_seed0"
    assert told.stdout.splitlines()[0].startswith(f"{folder}: test; test ")
    result = json.loads((folder / "result.json").read_text())
    assert set(result["splits"]) == {"test"}
    test = store.open(stores / "pathmnist_28.h5").test
    assert result["splits"]["test"]["auc"] == evaluate(test.labels, scores, "multi-class").auc
    before = digests(folder)
    assert invoke(*arguments).stdout.count("(entered before)") == 2
    assert digests(folder) == before

    page = tmp_path / "page.html"
    shown = invoke("report", runs, "--stores", stores, "--out", page)
    with (tmp_path / "page.table2.csv").open() as file:
        rows = {row["Method"]: row for row in csv.DictReader(file)}
    assert rows["My AutoML"]["PathMNIST AUC"] == f"{result['splits']['test']['auc']:.3f}"
    assert rows["My AutoML"]["DermaMNIST AUC"] == ""
    with (tmp_path / "page.splits.csv").open() as file:
        mine = next(r for r in csv.DictReader(file) if (r["Dataset"], r["Method"]) == ("pathmnist", "My AutoML")
                    or (r["Dataset"], r["Method"]) == ("PathMNIST", "My AutoML"))
    assert (mine["Training AUC"], mine["Validation ACC"], mine["Seeds"]) == ("", "", "1")
    assert mine["Test AUC"] == f"{result['splits']['test']['auc']:.3f}"
    with (tmp_path / "page.intervals.csv").open() as file:
        breast = next(r for r in csv.DictReader(file) if r["Method"] == "My AutoML" and "reast" in r["Dataset"])
    assert breast["AUC, DeLong low"]
    assert "AUC is undefined" not in shown.stdout
    assert "PathMNIST (My AutoML, seed 0)" in shown.stdout
    assert "There are no validation figures" in page.read_text()

    (ours,) = (runs / "breastmnist_28" / "ours").glob("*_test_*.csv")
    (theirs,) = (runs / "breastmnist_28" / "my-automl_seed0").glob("*_test_*.csv")
    assert compare_files(ours, theirs, stores).delong is not None


def test_other_predictions_of_the_same_title_need_force(stores: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "pathmnist_test.csv", tmp_path / "runs"
    (first,) = enter([write_table(path, numbered(scores_of(stores)))], "AutoML", out, stores)
    before = digests(first.path)
    write_table(path, numbered(scores_of(stores, seed=2)))
    with pytest.raises(MmtkError, match=r"already holds other predictions; use --force to replace"):
        enter([path], "AutoML", out, stores)
    with pytest.raises(MmtkError, match="other predictions, of another run with method AutoML; use --force"):
        enter([path], "automl", out, stores)
    assert digests(first.path) == before
    enter([path], "AutoML", out, stores, seed=1)
    enter([path], "AutoML", out, stores, force=True)
    assert len(list(first.path.glob("*.csv"))) == 1
    assert sorted(folder.name for folder in first.path.parent.iterdir()) == ["automl_seed0", "automl_seed1"]
    again, _ = find_runs(out, stores)
    assert again[0].test == again[1].test != first.metrics["test"]

    trained = write_small_run(stores / "pathmnist_28.h5", out / "pathmnist_28" / "other_seed0")
    before = digests(trained)
    with pytest.raises(MmtkError, match="holds no imported predictions"):
        enter([path], "other", out, stores, force=True)
    assert digests(trained) == before


def test_names_tell_what_they_are_of_or_options_do(stores: Path, tmp_path: Path) -> None:
    write_small_store(stores / "lung_test_64.h5", COUNTS, flag="lung_test", size=64)
    write_small_store(stores / "lung_64.h5", COUNTS, flag="lung", size=64)
    assert parse_file_name("lung_test_64_test.csv", stores) == ("lung_test", 64, {"test"})
    assert parse_file_name("lung_64_test_[AUC]0.500_[ACC]0.500@mine.csv", stores) == ("lung", 64, {"test"})
    assert parse_file_name("lung_test_[AUC]0.500_[ACC]0.500@mine.csv", stores) == ("lung", None, {"test"})
    scores = numbered(np.full((9, 2), 0.5))
    path = write_table(tmp_path / "predictions.csv", scores)
    common = ("enter", path, "--method", "A", "--out", tmp_path / "runs", "--stores", stores)
    for options, said in (
        ((), "its name contains no known dataset; use --flag"),
        (("--flag", "lung"), "its name contains no split; use --split"),
        (("--flag", "lung", "--split", "test"), "lung_28.h5"),
    ):
        done = run_mmtk(*common, *options, code=2)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    place = ("--flag", "lung", "--split", "test", "--size", 64)
    told = invoke(*common, *place, "--json")
    (run,) = json.loads(told.stdout)
    assert (run["reused"], run["splits"]["test"]["images"]) == (False, 9)
    assert Path(run["out"]) == tmp_path / "runs" / "lung_64" / "a_seed0"


WRONG = {
    "a row too few": (lambda rows: rows[:-1], None, "found 8 rows, expected 9, one per test image"),
    "a row too many": (lambda rows: [*rows, [9, 0.1, 0.2, 0.7]], None, "found 10 rows, expected 9"),
    "a column too few": (lambda rows: [row[:-2] for row in rows], None, "expected 3 scores per row, for 0, 1, 2"),
    "a column too many": (lambda rows: [[*row, 1] for row in rows], None, "optionally after a row number"),
    "NaN": (lambda rows: [[*rows[0][:-1], "nan"], *rows[1:]], None, "line 1: found 0,"),
    "nothing": (lambda rows: [[*rows[0][:-1], ""], *rows[1:]], ["", 0, 1, 2], "line 2: found 0,"),
    "infinity": (lambda rows: [*rows[:-1], [8, "inf", 0, 0]], None, "line 9: found 8,inf,0,0, expected finite"),
    "words": (lambda rows: [*rows[:-1], [8, "yes", 0, 0]], None, "line 9: found 8,yes,0,0, expected finite"),
    "rows of other lengths": (lambda rows: [*rows[:-1], rows[-1][:-1]], None, "line 9: found 3 columns, expected 4"),
    "a row twice": (lambda rows: [*rows[:-1], [7, *rows[-1][1:]]], None, "a row number occurs twice; expected 0 to 8"),
    "rows from one on": (lambda rows: [[i + 1, *row[1:]] for i, row in enumerate(rows)], ["", 0, 1, 2], "9 is not"),
    "other titles": (lambda rows: rows, ["", "cat", "dog", "cow"], "expected columns titled 0, 1, 2, or 0 to 2"),
    "titles that repeat": (lambda rows: rows, ["", 0, 1, 1], "expected columns titled 0, 1, 2, or 0 to 2"),
    "titles alone": (lambda rows: [], ["", 0, 1, 2], "only a line of titles"),
    "an empty file": (lambda rows: [], None, "contains no scores"),
    "semicolons": (lambda rows: [[";".join(map(str, row))] for row in rows], None, "semicolons"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(stores: Path, tmp_path: Path, name: str) -> None:
    change, titles, said = WRONG[name]
    good = write_table(tmp_path / "breastmnist_test.csv", numbered(scores_of(stores, "breastmnist")))
    bad = write_table(tmp_path / "pathmnist_test.csv", change(numbered(scores_of(stores))), titles)
    done = invoke("enter", good, bad, "--method", "A", "--out", tmp_path / "runs", "--stores", stores, code=1)
    assert isinstance(done.exception, MmtkError)
    assert str(done.exception).startswith(str(bad))
    assert said in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_entered_together_is_refused(stores: Path, tmp_path: Path) -> None:
    test = write_table(tmp_path / "pathmnist_test.csv", numbered(scores_of(stores)))
    again = write_table(tmp_path / "pathmnist_28_test.csv", numbered(scores_of(stores)))
    val = write_table(tmp_path / "pathmnist_val.csv", numbered(scores_of(stores, split="val")))
    high = write_table(tmp_path / "breastmnist_test.csv", [[i, 2.5, -1.5] for i in range(9)])
    for files, method, options, said in (
        ([test, again], "A", {}, "holds pathmnist 28 px test, as "),
        ([val], "A", {}, "predictions of the test images of pathmnist are missing"),
        ([high], "A", {}, "image 0 are not between 0 and 1; found [2.5, -1.5]; use probabilities"),
        ([test], "//", {}, "method: found '//', expected a title with letters or digits"),
        ([test, val], "A", {"split": "test"}, "flag, size and split apply to a single file; found 2 files"),
    ):
        with pytest.raises(MmtkError) as raised:
            enter(files, method, tmp_path / "runs", stores, **options)
        assert said in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_what_a_killed_entering_left_is_no_run(stores: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "pathmnist_test.csv", tmp_path / "runs"
    (first,) = enter([write_table(path, numbered(scores_of(stores)))], "AutoML", out, stores)
    left = first.path.with_name(f".{first.path.name}.0a1b2c3d.mmtk")
    os.replace(first.path, left)
    with pytest.raises(MmtkError, match="contains no finished run"):
        find_runs(out, stores)
    (again,) = enter([path], "AutoML", out, stores)
    assert not again.reused
    assert [folder.name for folder in first.path.parent.iterdir()] == ["automl_seed0"]
