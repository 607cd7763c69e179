"""MedMNIST's result files: names, both layouts, what is refused, and ``mmtk evaluate``."""

from __future__ import annotations

import errno
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmtk import evaluate, store
from mmtk.datasets import get_dataset, list_datasets
from mmtk.errors import ArgumentError, ScoreError, StoreError
from mmtk.scoring import (
    Metrics,
    Predictions,
    ScoredFile,
    evaluate_file,
    read_predictions,
    result_name,
    write_predictions,
)
from tests.commands import invoke
from tests.small_stores import MULTILABEL, small_info, write_small_store

FIGURES = Metrics(0.91349, 0.8455)


# ------------------------------------------------------------------ names, round trip


def test_names_are_medmnists():
    assert result_name("breastmnist", 28, "test", FIGURES, "a_1") == "breastmnist_test_[AUC]0.913_[ACC]0.846@a_1.csv"
    assert result_name("octmnist", 224, "val", Metrics(1, 0.5), "x") == "octmnist_224_val_[AUC]1.000_[ACC]0.500@x.csv"


@given(
    scores=hnp.arrays(
        st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements={"allow_nan": False, "allow_infinity": False},
    ),
    size=st.sampled_from([28, 64, 224]), split=st.sampled_from(store.SPLITS),
)
def test_what_is_written_is_read_back_exactly(tmp_path, scores, size, split):
    path = write_predictions(tmp_path, "pathmnist", size, split, scores, FIGURES, "resnet18_28.5 seed0")
    read = read_predictions(path)
    assert (read.flag, read.size, read.split, read.run) == ("pathmnist", size, split, "resnet18_28.5 seed0")
    assert read.metrics == Metrics(0.913, 0.846)
    assert read.labels is None
    np.testing.assert_array_equal(read.scores.astype(scores.dtype), scores)
    path.unlink()
    assert not list(tmp_path.iterdir())


def test_the_bytes_are_those_pandas_writes_for_medmnist(tmp_path):
    pandas = pytest.importorskip("pandas", exc_type=ImportError)
    scores = np.random.default_rng(0).random((200, 3)).astype(np.float32) ** 20
    path = write_predictions(tmp_path, "octmnist", 28, "test", scores, FIGURES, "a")
    pandas.DataFrame(scores).to_csv(tmp_path / "pandas.csv", header=None)
    assert path.read_bytes() == (tmp_path / "pandas.csv").read_bytes()


def test_a_single_column_of_a_binary_task_may_be_flat(tmp_path):
    path = write_predictions(tmp_path / "new", "breastmnist", 28, "test", np.array([0.25, 0.5]), FIGURES, "a")
    assert read_predictions(path).scores.tolist() == [[0.25], [0.5]]


@pytest.mark.parametrize("run_name", ["", "a/b", "a@b", "a\nb"])
def test_a_run_that_cannot_stand_in_a_name_is_refused(tmp_path, run_name):
    with pytest.raises(ArgumentError, match=r"run: found .*expected a name"):
        write_predictions(tmp_path, "breastmnist", 28, "test", np.ones((2, 2)), FIGURES, run_name)


@pytest.mark.parametrize("scores", [[[0.5, np.nan]], [[np.inf, 0.0]], np.zeros((0, 2)), np.zeros((2, 2, 2)), [["a"]]])
def test_scores_that_are_no_table_of_numbers_are_not_written(tmp_path, scores):
    with pytest.raises(ScoreError, match="scores: found"):
        write_predictions(tmp_path, "breastmnist", 28, "test", scores, FIGURES, "a")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        write_predictions(tmp_path, "breastmnist", 28, "test", np.ones((2, 2)), FIGURES, "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("breastmnist_test_[AUC]0.913_[ACC]0.846@resnet18_224_train.csv", ("breastmnist", 28, "test")),
        ("organcmnist_128_val_[AUC]0.913_[ACC]0.846@x.csv", ("organcmnist", 128, "val")),
        ("organmnist_axial_train_[AUC]0.913_[ACC]0.846@x.csv", ("organamnist", 28, "train")),
        ("organmnist3d_64_val_[AUC]0.913_[ACC]0.846@x.csv", ("organmnist3d", 64, "val")),
        ("test_nodulemnist3d.csv", ("nodulemnist3d", 28, "test")),
        ("v1-layout_retinamnist_test.csv", ("retinamnist", 28, "test")),
        ("test_retinamnist_64.csv", ("retinamnist", 64, "test")),
        ("octmnist_val_latest@x.csv", ("octmnist", 28, "val")),
    ],
)
def test_dataset_size_and_split_are_told_by_the_name(tmp_path, name, told):
    path = tmp_path / name
    path.write_text("0,0.5,0.5\n")
    read = read_predictions(path)
    assert (read.flag, read.size, read.split) == told
    assert read.metrics == (Metrics(0.913, 0.846) if "[AUC]" in name else None)


@pytest.mark.parametrize(("flag", "size"), [(d.flag, size) for d in list_datasets() for size in d.sizes])
def test_files_of_every_set_and_size_are_read_and_evaluated(tmp_path, flag, size):
    dataset = get_dataset(flag)
    kind = {"task": dataset.task.value, "classes": len(dataset.classes), "ndim": dataset.ndim, "size": 4}
    opened = store.open(write_small_store(tmp_path / "small.h5", (1, 1, 40), flag=flag, partial=True, **kind))
    (tmp_path / "small.h5").rename(tmp_path / f"{flag}_{size}.h5")
    scores = np.random.default_rng(1).random((40, len(dataset.classes)))
    metrics = evaluate(opened.test.labels, scores, dataset.task)
    path = write_predictions(tmp_path, flag, size, "test", scores, metrics, "resnet18_28_train")
    assert path.name.startswith(f"{flag}_test_" if size == 28 else f"{flag}_{size}_test_")
    found = evaluate_file(path, tmp_path)
    assert (found.predictions.flag, found.predictions.size, found.predictions.split) == (flag, size, "test")
    assert (found.metrics, found.agrees) == (metrics, True)
    (told,) = json.loads(invoke("evaluate", path, "--stores", tmp_path, "--json").stdout)
    assert (told["flag"], told["size"], told["auc"]) == (flag, size, metrics.auc)


@pytest.mark.parametrize(
    "name",
    ["nothing.csv", "breastmnist.csv", "xbreastmnist_test.csv", "train_breastmnist_or_test.csv",
     "breastmnist@test.csv", "breastmnist_test_[AUC]nan_[ACC]nan@x.csv", "breastmnist_test_[AUC]NaN_[ACC]0.8@x.csv",
     "breastmnist_test_[AUC]0.9134_[ACC]0.8@x.csv"],
)
def test_names_that_do_not_tell_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("0,0.5,0.5\n")
    with pytest.raises(ScoreError, match=re.escape(str(path)) + ".*expected a name like breastmnist_test_"):
        read_predictions(path)


# ---------------------------------------------------------------------------- content


def write_text(tmp_path, text, name="breastmnist_test_[AUC]0.913_[ACC]0.846@x.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("form", ["{}", "\ufeff{}", "{}\n \n\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_line_ends_and_blank_lines_of_spreadsheets_are_read(tmp_path, form, end):
    text = form.format("0,0.1,0.9\n\n1,0.2,0.8\n").replace("\n", end)
    assert read_predictions(write_text(tmp_path, text)).scores.tolist() == [[0.1, 0.9], [0.2, 0.8]]


def test_rows_may_stand_in_any_order(tmp_path):
    read = read_predictions(write_text(tmp_path, "2,0.3,0.7\r\n0,0.1,0.9\r\n\r\n1,0.2,0.8\r\n"))
    assert read.scores.tolist() == [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]


def test_the_layout_of_2020_has_a_header_and_labels(tmp_path):
    text = "\ufeffid,true_0,true_1,score_0,score_1\n1,0.0,1.0,0.25,0.75\n0,1.0,0.0,0.5,0.125\n"
    read = read_predictions(write_text(tmp_path, text, "chestmnist_test.csv"))
    assert read.scores.tolist() == [[0.5, 0.125], [0.25, 0.75]]
    assert read.labels is not None
    assert read.labels.tolist() == [[1, 0], [0, 1]]
    assert read.metrics is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "contains no scores"),
        ("\n\n", "contains no scores"),
        ("id,true_0,score_0\n", "contains no scores"),
        ("0,0.1\n2,0.3\n", "row 1 is missing; found row 2 on line 2"),
        ("0,0.1\n1,0.2\n0,0.3\n", "line 3: row 0 is repeated, first on line 1"),
        ("0,0.1\n-1,0.2\n", "line 2: does not start with a row number; found -1"),
        ("0,0.1\n1.5,0.2\n", "line 2: does not start with a row number; found 1.5"),
        ("nan,0.1\n", "line 1: does not start with a row number; found nan"),
        ("0,0.1\n9999999999999999999,0.2\n", "row 1 is missing"),
        ("0,0.1,0.9\n1,0.2,nan\n", "line 2: found 1,0.2,nan, expected finite numbers"),
        ("0,0.1,0.9\n1,inf,0.2\n", "line 2: found 1,inf,0.2, expected finite"),
        ("0,0.1,0.9\n1,1e999,0.2\n", "line 2: found 1,1e999,0.2, expected finite"),
        ("0,0.1,0.9\n1,0.2\n", "line 2: found 2 columns, expected 3"),
        ("0,0.1\n1,0.2,0.8\n", "line 2: found 3 columns, expected 2"),
        ("0\n1\n", "line 1: found 1 columns, expected 2"),
        ("0,0.1\n1,much\n", "line 2: found 1,much, expected numbers"),
        ("0,0.1\n1,\n", "line 2: found 1,, expected numbers"),
        ("index,a,b\n0,0.1,0.9\n", "line 1: found index,a,b, expected numbers"),
        ("id,score_0,true_0\n0,0.1,1\n", "expected id,true_0,...,score_0,..."),
        ("id,true_0\n0,1\n", "expected id,true_0,...,score_0,..."),
        ("0,0.1\nid,true_0\n", "line 2: found id,true_0, expected numbers"),
        (b"\x89PNG\r\n\xff\xfe", "not encoded as UTF-8; found byte 0x89 at offset 0; save it as"),
        ("0,0.1,0.9\n".encode("utf-16"), "encoded as UTF-16 or UTF-32, not UTF-8; save it as"),
        ("0,0.1,0.9\n".encode("utf-16-le"), "UTF-16 or UTF-32"),
        ("0,0.1,0.9\n".encode("utf-32"), "UTF-16 or UTF-32"),
        ("0;0,1;0,9\n1;0,2;0,8\n", "line 1: columns are separated by semicolons, not commas; save it as"),
        ("id;true_0;score_0\n", "line 1: columns are separated by semicolons"),
        ("0\t0.1\t0.9\n", "line 1: columns are separated by tabs"),
        ("\n \n0,0.1\n,\n", "line 4: found ,, expected numbers"),
        ("0,0.1\n1,1_0\n", "line 2: found 1,1_0, expected numbers"),
        ("0,0.1\n" + "1" * 300 + ",0.2\n", "row 1 is missing; found row 1.11111e+299 on line 2"),
        ("0,0.1\n1," + "x" * 9000 + "\n", f"line 2: found 1,{'x' * 58}..., expected numbers"),
        ("0,0.1\n1,\x00\n", "expected numbers"),
        ('0,"' + "x" * 200_000 + '"\n', "is not a result file: field larger"),
    ],
)
def test_bad_content_is_refused_in_one_line_that_names_file_and_line(tmp_path, text, says):
    path = write_text(tmp_path, text)
    with pytest.raises(ScoreError) as error:
        read_predictions(path)
    line = str(error.value)
    assert line.startswith(str(path))
    assert says in line
    assert "\n" not in line


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ScoreError, match="no such file"):
        read_predictions(tmp_path / "breastmnist_test.csv")
    (tmp_path / "breastmnist_val.csv").mkdir()
    with pytest.raises(ScoreError, match="directory"):
        read_predictions(tmp_path / "breastmnist_val.csv")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_an_error_of_the_system_is_told_as_it_is(tmp_path, scored, monkeypatch, number):
    path, other = scored["breastmnist"][3], scored["pathmnist"][3]
    read = Path.read_bytes

    def failing(self):
        if self == path:
            raise OSError(number, os.strerror(number), str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(OSError, match=os.strerror(number)):
        read_predictions(path)
    done = invoke("evaluate", path, other, "--stores", tmp_path, code=2)
    assert done.stderr == f"mmtk: error: {path}: {os.strerror(number)}\n"
    assert str(other) in done.output


# ------------------------------------------------------------------- against a store


@pytest.fixture
def scored(tmp_path):
    """A store of each kind of task, and a good result file for its test split."""
    made = {}
    for flag, task, classes in [("breastmnist", "binary-class", 2), ("pathmnist", "multi-class", 4),
                                ("retinamnist", "ordinal-regression", 5), ("chestmnist", MULTILABEL, 3)]:
        path = write_small_store(tmp_path / f"{flag}_28.h5", flag=flag, task=task, classes=classes, size=28,
                                 synthetic=flag == "breastmnist", partial=flag == "breastmnist")
        labels = store.open(path).test.labels
        scores = np.random.default_rng(1).random((len(labels), classes))
        metrics = evaluate(labels, scores, task)
        made[flag] = labels, scores, metrics, write_predictions(tmp_path, flag, 28, "test", scores, metrics, "a")
    return made


def test_each_task_is_scored_against_its_store(tmp_path, scored):
    for flag, (_, _, metrics, path) in scored.items():
        found = evaluate_file(path, tmp_path)
        assert found.metrics == metrics
        assert found.agrees
        assert not found.own_order
        assert found.info.synthetic == found.info.partial == (flag == "breastmnist")


def write_2020(path, labels, scores):
    head = ["id", *(f"true_{i}" for i in range(labels.shape[1])), *(f"score_{i}" for i in range(scores.shape[1]))]
    rows = [[i, *map(float, t), *s] for i, (t, s) in enumerate(zip(labels, scores, strict=True))]
    path.write_text("\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n")
    return path


def test_labels_in_a_file_of_2020_are_held_against_the_store(tmp_path, scored):
    labels, scores, metrics, _ = scored["chestmnist"]
    path = write_2020(tmp_path / "chestmnist_test.csv", labels, scores)
    assert evaluate_file(path, tmp_path).metrics == metrics
    order = np.roll(np.arange(len(labels)), 1)
    write_2020(path, labels[order], scores[order])
    found = evaluate_file(path, tmp_path)
    assert found.own_order
    assert found.metrics == pytest.approx(metrics)
    invoke("evaluate", path, "--stores", tmp_path, code=1)
    write_2020(path, 1 - labels, scores)
    with pytest.raises(ScoreError, match="its true labels are not those of"):
        evaluate_file(path, tmp_path)
    write_2020(path, labels[:, :2], scores)
    with pytest.raises(ScoreError, match="its true labels are not those of"):
        evaluate_file(path, tmp_path)


def test_files_that_do_not_fit_their_store_are_refused(tmp_path, scored):
    labels, scores, metrics, path = scored["pathmnist"]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ScoreError, match=f"found {len(labels) - 1} rows, expected {len(labels)}"):
        evaluate_file(path, tmp_path)
    wide = write_predictions(tmp_path, "pathmnist", 28, "test", scores[:, :2], metrics, "narrow")
    with pytest.raises(ScoreError, match=re.escape(str(wide)) + ".* scores per row, expected 4"):
        evaluate_file(wide, tmp_path)
    with pytest.raises(StoreError, match=r"octmnist_64\.h5"):
        evaluate_file(write_predictions(tmp_path, "octmnist", 64, "test", scores, metrics, "a"), tmp_path)


def test_evaluate_prints_figures_counts_and_marks(tmp_path, scored):
    (_, scores, metrics, path), other = scored["breastmnist"], scored["pathmnist"][3]
    said = invoke("evaluate", path, other, "--stores", tmp_path)
    first, second = said.output.splitlines()
    figures = f"AUC {metrics.auc:.3f} ACC {metrics.acc:.3f}"
    assert first == f"{figures}  in the file's name {figures}  {len(scores)} images  SYNTHETIC  PARTIAL  {path}"
    assert "SYNTHETIC" not in second


def test_evaluate_exits_1_when_the_name_carries_other_figures_at_three_decimals(tmp_path, scored):
    _, scores, metrics, path = scored["breastmnist"]
    near = write_predictions(tmp_path, "breastmnist", 28, "test", scores, Metrics(metrics.auc, metrics.acc - 1e-3), "b")
    said = invoke("evaluate", near, path, "--stores", tmp_path, code=1)
    assert ["DIFFERS" in line for line in said.output.splitlines()] == [True, False]


def test_figures_one_ulp_off_a_rounding_edge_agree_with_the_name(tmp_path):
    named = Predictions("breastmnist", 28, "test", Metrics(0.812, 0.5), "x", np.zeros((1, 2)))
    for auc, agrees in ((0.8125, True), (math.nextafter(0.8125, 1), True), (0.81251, False), (math.nan, False)):
        file = ScoredFile(tmp_path, named, Metrics(auc, 0.5), False, small_info(), np.zeros(1), np.zeros(1))
        assert file.agrees == agrees
    undefined = replace(named, metrics=Metrics(math.nan, 0.5))
    assert ScoredFile(tmp_path, undefined, Metrics(math.nan, 0.5), False, small_info(), [], []).agrees


def test_a_column_more_than_classes_is_refused_in_a_partial_store_too(tmp_path, scored):
    wide = np.column_stack([scored["breastmnist"][1], scored["breastmnist"][1][:, 0]])
    path = write_predictions(tmp_path, "breastmnist", 28, "test", wide, Metrics(0.5, 0.5), "wide")
    with pytest.raises(ScoreError, match=r"found 3 scores per row, expected 2"):
        evaluate_file(path, tmp_path)


def test_evaluate_exits_2_on_a_bad_file_and_scores_the_others(tmp_path, scored):
    _, _, metrics, path = scored["breastmnist"]
    bad = write_text(tmp_path, "0,nan\n")
    said = invoke("evaluate", bad, path, "--stores", tmp_path, "--json", code=2)
    assert said.stderr.count("\n") == 1
    first, second = json.loads(said.stdout)
    assert first["file"] == str(bad)
    assert "finite" in first["error"]
    assert (second["auc"], second["acc"], second["images"], second["agrees"]) == (*metrics, 9, True)
    assert second["named"] == {"auc": round(metrics.auc, 3), "acc": round(metrics.acc, 3)}


def test_published_files_evaluate_to_the_figures_in_their_names(tmp_path, real_data):
    for flag in ("breastmnist", "pneumoniamnist", "retinamnist"):
        store.import_npz(real_data / "npz" / f"{flag}.npz", tmp_path)
    files = sorted((real_data / "results").glob("*[[]AUC[]]*.csv"))
    assert len(files) == 6
    for path in files:
        found = evaluate_file(path, tmp_path)
        assert found.predictions.metrics is not None, path
        assert found.agrees, (path, found.metrics)
    old = evaluate_file(real_data / "results" / "v1-layout_retinamnist_test.csv", tmp_path)
    assert old.predictions.labels is not None
    assert (f"{old.metrics.auc:.3f}", f"{old.metrics.acc:.3f}", old.own_order) == ("0.712", "0.530", True)
