"""AUC and ACC, against an independent rewriting and, where it can be imported, MedMNIST's own evaluator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import Metrics, evaluate
from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, ScoreError

BINARY, MULTICLASS, MULTILABEL, ORDINAL = Task.BINARY, Task.MULTICLASS, Task.MULTILABEL, Task.ORDINAL


def rank_auc(truth, scores):
    """The chance that a positive ranks above a negative, ties counting half."""
    above = np.subtract.outer(scores[truth == 1].astype(float), scores[truth == 0].astype(float))
    return ((above > 0).sum() + 0.5 * (above == 0).sum()) / above.size


def slow_metrics(labels, scores, task):
    labels, scores = np.asarray(labels), np.asarray(scores)
    if task == MULTILABEL:
        pairs = [(labels[:, i], scores[:, i]) for i in range(labels.shape[1])]
        accs = [sum(bool(s > 0.5) == bool(t) for t, s in zip(*p, strict=True)) / len(labels) for p in pairs]
        return np.mean([rank_auc(*p) for p in pairs]), np.mean(accs)
    labels = labels.reshape(-1)
    if task == BINARY:
        last = scores.reshape(len(labels), -1)[:, -1]
        return rank_auc(labels, last), sum((s > 0.5) == t for t, s in zip(labels, last, strict=True)) / len(labels)
    aucs = [rank_auc(labels == c, scores[:, c]) for c in range(scores.shape[1])]
    hits = [max(range(len(row)), key=row.__getitem__) == truth for truth, row in zip(labels, scores, strict=True)]
    return np.mean(aucs), sum(hits) / len(hits)


@st.composite
def cases(draw):
    task = draw(st.sampled_from(list(Task)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k = draw(st.integers(2, 6))
    n = draw(st.integers(2 * k, 60))
    scores = rng.random((n, k)).astype(draw(st.sampled_from([np.float32, np.float64])))
    if draw(st.booleans()):  # coarse scores: ties, and scores of exactly one half
        scores = np.round(scores * 4) / 4
    if task == MULTILABEL:
        return np.stack([rng.permutation(n) % 2 for _ in range(k)], axis=1).astype(np.uint8), scores, task
    if task == BINARY:
        shape = draw(st.sampled_from(["n", "n1", "n2"]))
        scores = {"n": scores[:, 0], "n1": scores[:, :1], "n2": scores[:, :2]}[shape]
        k = 2
    labels = (rng.permutation(n) % k).astype(np.uint8)
    return labels[:, None] if draw(st.booleans()) else labels, scores, task


@given(cases())
def test_metrics_are_those_of_the_definitions(case):
    found = evaluate(*case)
    assert found == pytest.approx(slow_metrics(*case), abs=1e-12)
    assert evaluate(case[0], case[1], case[2].value) == found


@settings(max_examples=60)
@given(cases())
def test_metrics_are_medmnists_to_the_last_bit(case):
    medmnist = pytest.importorskip("medmnist.evaluator", exc_type=ImportError)
    labels, scores, task = case
    expected = medmnist.getAUC(labels, scores, task.value), medmnist.getACC(labels, scores, task.value)
    assert tuple(evaluate(labels, scores, task)) == expected


def test_a_score_of_one_half_is_negative_and_ties_take_the_first_class():
    assert evaluate([0, 1], [0.5, 0.6], BINARY).acc == 1.0
    assert evaluate([1, 0], [0.5, 0.4], BINARY).acc == 0.5
    assert evaluate([0, 1], [[0.5, 0.5], [0.5, 0.5]], MULTICLASS) == Metrics(0.5, 0.5)


def test_binary_takes_the_last_column_and_scores_of_any_range():
    labels, last = [0, 1, 1, 0], np.array([-3.0, 9.0, 0.7, 0.2])
    alone = evaluate(labels, last, BINARY)
    assert alone == Metrics(1.0, 1.0)
    assert evaluate(labels, np.stack([-last, last], axis=1), BINARY) == alone
    assert evaluate(labels, np.stack([last, -last], axis=1), BINARY).auc == 0.0


def test_labels_may_be_whole_floats_as_a_loader_or_an_old_file_gives_them():
    scores = [[0.1, 0.9], [0.8, 0.3], [0.2, 0.4]]
    floats = np.array([[0, 1], [1, 0], [0, 0]], np.float32)
    assert evaluate(floats, scores, MULTILABEL) == evaluate(floats.astype(np.uint8), scores, MULTILABEL)
    assert evaluate([True, False], [0.9, 0.1], BINARY) == Metrics(1.0, 1.0)


GOOD = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])


def spoilt(row, column, value):
    scores = GOOD.copy()
    scores[row, column] = value
    return scores


@pytest.mark.parametrize(
    ("labels", "scores", "task", "says"),
    [
        ([0, 1, 0, 1], spoilt(2, 0, np.nan), BINARY, "NaN or infinity in row 2"),
        ([0, 1, 0, 1], spoilt(3, 1, np.inf), MULTICLASS, "NaN or infinity in row 3"),
        ([0, 1, 0, 1], np.full((4, 2), np.nan), BINARY, "rows 0, 1, 2 and 1 more"),
        ([0, 1, 0, np.nan], GOOD, BINARY, "row 3"),
        ([0, 1, 0], GOOD, BINARY, "found 4 rows, expected 3"),
        ([0, 1, 0, 2], GOOD, BINARY, "found 2 in row 3"),
        ([0, -1, 0, 1], GOOD, MULTICLASS, "found -1 in row 1"),
        ([0, 1, 0, 2], GOOD, ORDINAL, "no column for class 2, the label of row 3"),
        ([0, 0.5, 0, 1], GOOD, BINARY, "not whole numbers in row 1"),
        ([1, 1, 1, 1], GOOD, BINARY, "value 0 never occurs"),
        ([0, 1, 0, 1], np.column_stack([GOOD, GOOD[:, 0]]), MULTICLASS, "value 2 never occurs"),
        ([[0, 1]] * 4, GOOD, MULTILABEL, "label column 0"),
        ([[0], [1], [0], [1]], GOOD, MULTILABEL, "found 2 columns, expected 1"),
        ([[0, 1]] * 4, GOOD, BINARY, "expected (n,) or (n, 1)"),
        ([0, 1, 0, 1], GOOD, MULTILABEL, "expected (n, labels)"),
        ([0, 1, 0, 1], GOOD[:, 0], MULTICLASS, "expected (n, classes)"),
        ([0, 1, 0, 1], GOOD[:, :1], ORDINAL, "expected (n, classes)"),
        ([0, 1, 0, 1], np.column_stack([GOOD, GOOD[:, 0]]), BINARY, "(n, 2)"),
        ([0, 1, 0, 1], GOOD[None], MULTICLASS, "found shape (1, 4, 2)"),
        ([], [], BINARY, "no rows"),
        ([0, 1, 0, 1], [["a", "b"]] * 4, BINARY, "expected numbers"),
        ([0, 1], [[0.1], [0.2, 0.3]], BINARY, "an array of numbers"),
        ([0, 1], np.array([1j, 2j]), BINARY, "dtype complex128"),
    ],
)
def test_what_the_original_swallows_is_refused_with_its_row(labels, scores, task, says):
    with pytest.raises(ScoreError) as error:
        evaluate(labels, scores, task)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_task_is_refused_naming_the_known_ones():
    with pytest.raises(ArgumentError, match=r"task regression: .*ordinal-regression"):
        evaluate([0, 1], [0.1, 0.9], "regression")


def test_scores_of_fewer_columns_than_classes_are_not_blamed_on_labels():
    with pytest.raises(ScoreError, match=r"^scores: .*no column for class 2, the label of row 2; found 2 columns"):
        evaluate([0, 1, 2], np.full((3, 2), 0.5), "multi-class")
    blamed = "^labels: found -1 in row 2, expected 0 to 1"
    with pytest.raises(ScoreError, match=blamed):
        evaluate([0, 1, -1], np.full((3, 2), 0.5), "multi-class")
