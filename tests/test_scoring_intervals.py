"""Intervals: resamples scored like any other predictions, DeLong by its definition, coverage where truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from mmtk import store
from mmtk.errors import ArgumentError, ScoreError
from mmtk.scoring import (
    as_facts,
    assess,
    delong,
    delong_difference,
    details,
    evaluate,
    intervals,
    mean_intervals,
    paired_difference,
    resample,
    write_predictions,
)
from mmtk.scoring._intervals import _draws, _units
from tests.commands import invoke
from tests.small_stores import MULTILABEL, small_info, write_small_store

TASKS = ("binary-class", "multi-class", "ordinal-regression", MULTILABEL)


def drawn(task, n=60, classes=3, seed=0, levels=None):
    """Labels and scores that know something of them; coarse ones where `levels` is given, so that they tie."""
    rng = np.random.default_rng(seed)
    if task == MULTILABEL:
        labels = (rng.random((n, classes)) < 0.4).astype(int)
        labels[:2] = [[0], [1]]
        scores = rng.random((n, classes)) * 0.6 + labels * 0.3
    else:
        classes = 2 if task == "binary-class" else classes
        labels = np.arange(n)[:, None] % classes
        scores = rng.random((n, classes)) + (labels == np.arange(classes)) * 0.4
        scores /= scores.sum(axis=1, keepdims=True)
    return labels, scores if levels is None else np.round(scores * levels) / levels


# --------------------------------------------------------------------------- bootstrap


def by_scikit_learn(labels, scores, task):
    """AUC, ACC, balanced accuracy, kappa, then AUC, recall and F1 of each class, a call each; NaN where undefined."""
    nan = float("nan")

    def auc(truth, column):
        return metrics.roc_auc_score(truth, column) if 0 < np.mean(truth) < 1 else nan

    def recall(truth, given):
        return metrics.recall_score(truth, given) if np.any(truth) else nan

    if task == MULTILABEL:
        columns = [(labels[:, c] == 1, scores[:, c] > 0.5, scores[:, c]) for c in range(labels.shape[1])]
        acc = np.mean((scores > 0.5) == labels)
        balanced = np.mean([(recall(t, g) + recall(~t, ~g)) / 2 for t, g, _ in columns])
    else:
        chosen = scores.argmax(axis=1)
        columns = [(labels[:, 0] == c, chosen == c, scores[:, c]) for c in range(scores.shape[1])]
        acc = np.mean(chosen == labels[:, 0])
        balanced = np.mean([recall(t, g) for t, g, _ in columns])
    kappa = nan
    if task == "ordinal-regression" and len(np.union1d(labels[:, 0], chosen)) > 1:
        kappa = metrics.cohen_kappa_score(labels[:, 0], chosen, weights="quadratic", labels=range(scores.shape[1]))
    each = [(auc(t, s), recall(t, g), metrics.f1_score(t, g, zero_division=0)) for t, g, s in columns]
    return [np.mean([one[0] for one in each]), acc, balanced, kappa, *np.ravel(each)]


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=10)
@given(
    n=st.integers(6, 80), seed=st.integers(0, 99), levels=st.sampled_from([None, 3, 10]),
    clusters=st.one_of(st.none(), st.integers(2, 20)),
)
def test_each_resample_is_scored_as_scikit_learn_scores_its_rows(task, n, seed, levels, clusters):
    labels, scores = drawn(task, n, seed=seed, levels=levels)
    scores[:, -1] += 1e-6 if task == "binary-class" else 0  # no ties of two columns, where argmax and 0.5 differ
    subjects = None if clusters is None else np.array([f"p{i % clusters}" for i in range(n)])
    one = resample(labels, scores, task, subjects, resamples=8, seed=seed)
    units, *named = _units(labels, subjects, 8, seed)
    assert [one.resampled, one.drawn] == named
    assert tuple(one.values[:2]) == evaluate(labels, scores, task)
    draws = np.concatenate([counts for _, counts in _draws(units, n, 8, seed)])
    for counts, found in zip([np.ones(n, int), *draws], [one.values, *one.replicates], strict=True):
        rows = np.repeat(np.arange(n), counts)
        assert found == pytest.approx(by_scikit_learn(labels[rows], scores[rows], task), abs=1e-12, nan_ok=True)


def test_an_interval_is_between_percentiles_of_a_plain_loop():
    labels, scores = drawn("binary-class", 80, seed=5)
    units = _units(labels, None, 400, 0)[0]
    aucs = []
    for counts in np.concatenate([counts for _, counts in _draws(units, 80, 400, 0)]):
        rows = np.repeat(np.arange(80), counts)
        aucs.append(metrics.roc_auc_score(labels[rows, 0], scores[rows, 1]))
    found = intervals(labels, scores, "binary-class", resamples=400).auc
    assert (found.low, found.high) == pytest.approx(np.percentile(aucs, [2.5, 97.5]), abs=1e-12)


def test_resamples_draw_what_they_say():
    labels = np.repeat([0, 1, 2], [50, 7, 3])[:, None]
    units, named, _ = _units(labels, None, 130, 3)
    assert named == "images"
    draws = np.concatenate([counts for _, counts in _draws(units, 60, 130, 3)])
    assert (draws.sum(axis=1) == 60).all()
    assert len(np.unique(draws[:, :50].sum(axis=1))) > 5  # as another test set, not so many of each class
    subjects = np.array([b"a"] * 20 + [b"b"] * 30 + [b""] * 10)
    units, named, _ = _units(labels, subjects, 20, 3)
    assert named == "subjects"
    assert len(units) == 12
    for _, counts in _draws(units, 60, 20, 3):
        assert (counts[:, :20] == counts[:, :1]).all()
        assert (counts[:, 20:50] == counts[:, 20:21]).all()
        assert (counts[:, [0, 20, *range(50, 60)]].sum(axis=1) == 12).all()
    for same in (b"", b"one"):
        assert _units(labels, np.full(60, same), 20, 3)[1] == "images"
    whole = np.concatenate([counts for _, counts in _draws(list(np.arange(40)[:, None]), 40, 4000, 0)])
    assert whole.mean(axis=0) == pytest.approx(np.ones(40), abs=0.08)
    assert whole.var() == pytest.approx(1 - 1 / 40, rel=0.03)


@pytest.mark.parametrize(
    "zero",
    [np.arange(2), np.arange(2, dtype=np.uint8), np.arange(2.0), np.array([False, True]), np.array([0, "b"], object)],
)
def test_subject_0_is_a_subject_like_others(zero):
    labels, scores = drawn("binary-class", 200, seed=7)
    rows = np.repeat([0, 1], 100)
    names = np.array(["a", "b"])[rows]
    assert intervals(labels, scores, "binary-class", zero[rows]) == intervals(labels, scores, "binary-class", names)


@pytest.mark.parametrize(
    "nobody", [np.array(["a", ""]), np.array([b"a", b""]), np.array([1, np.nan]), np.array(["a", None], object),
               np.array(["a", np.nan], object)]
)
def test_images_without_a_subject_are_subjects_of_their_own(nobody):
    labels, scores = drawn("binary-class", 60, seed=7)
    found = nobody[np.repeat([0, 1], 30)]
    names = np.array(["a"] * 30 + [f"x{i:02}" for i in range(30)])
    mine, same = (intervals(labels, scores, "binary-class", some, resamples=300) for some in (found, names))
    assert mine == same


def test_the_same_seed_gives_the_same_interval_and_the_figure_is_evaluates():
    labels, scores = drawn("binary-class", 120)
    one, again = (intervals(labels, scores, "binary-class", resamples=200) for _ in range(2))
    assert one == again
    assert (one.auc.value, one.acc.value) == evaluate(labels, scores, "binary-class")
    assert one.auc.low < one.auc.value < one.auc.high
    assert one != intervals(labels, scores, "binary-class", resamples=200, seed=1)
    assert (one.resamples, one.undefined, one.resampled) == (200, 0, "images")


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Scores of two normal distributions, whose true AUC is known; bootstrap and DeLong."""
    truth, hits = 0.76025, np.zeros(2)
    rng = np.random.default_rng(0)
    for _ in range(200):
        labels = np.arange(120) % 2
        scores = rng.normal(size=120) + labels
        scores = 1 / (1 + np.exp(-scores))
        resampled = intervals(labels, scores, "binary-class", resamples=300).auc
        for i, found in enumerate((resampled, delong(labels, scores))):
            hits[i] += found.low <= truth <= found.high
    assert (hits / 200 > 0.89).all()
    assert (hits / 200 < 0.995).all()


def test_intervals_of_acc_are_of_other_test_images_whose_classes_are_not_counted_beforehand():
    """Recalls far apart, as BreastMNIST's, in test sets of their own number of images of each class."""
    recalls, share, hits, rng = np.array([0.571, 0.947]), 0.73, 0, np.random.default_rng(0)
    truth = recalls @ [1 - share, share]
    for _ in range(300):
        labels = (rng.random(156) < share).astype(int)
        right = rng.random(156) < recalls[labels]
        scores = np.where(right, labels, 1 - labels) * 0.6 + 0.2 + 0.01 * rng.random(156)
        found = intervals(labels, scores, "binary-class", resamples=200).acc
        hits += found.low <= truth <= found.high
    assert 0.91 < hits / 300 < 0.98


def test_copies_of_images_add_no_evidence_where_subjects_are_known():
    """Each image four times: by subject the interval is that of the images once, by images half as wide."""
    labels, scores = drawn("binary-class", 150, seed=6)
    subjects = [f"p{i}" for i in range(150)]
    once = intervals(labels, scores, "binary-class", subjects)
    rows = np.repeat(np.arange(150), 4)
    copies = intervals(labels[rows], scores[rows], "binary-class", np.repeat(subjects, 4))
    naive = intervals(labels[rows], scores[rows], "binary-class")
    for figure in ("auc", "acc", "balanced_accuracy"):
        widths = [getattr(found, figure).high - getattr(found, figure).low for found in (once, copies, naive)]
        assert widths[1] == pytest.approx(widths[0])
        assert widths[2] / widths[1] == pytest.approx(0.5, abs=0.08)


def test_resamples_without_a_class_are_counted_and_left_out():
    labels = np.array([0] * 19 + [1])
    scores = np.linspace(0, 1, 20)
    found = intervals(labels, scores, "binary-class", [f"p{i}" for i in range(20)], resamples=400)
    assert 100 < found.undefined < 200  # one in e draws
    assert found.auc.low == found.auc.high == 1.0
    labels[1], labels[2] = 2, 3  # three classes of an image each: hardly a resample has all
    rare = intervals(labels, np.eye(4)[labels], "multi-class", [f"p{i}" for i in range(20)], resamples=400)
    assert rare.undefined > 200
    assert str(rare.auc) == "1.000 [unknown]"
    assert json.loads(json.dumps(as_facts(rare), allow_nan=False))["auc"] == {"value": 1.0, "low": None, "high": None}
    assert str(rare.acc) == "1.000 [1.000, 1.000]"


def test_a_pair_is_compared_on_the_same_resamples():
    labels, scores = drawn("multi-class", 90, seed=1)
    same = paired_difference(labels, scores, scores, "multi-class", resamples=50)
    assert (same.auc.value, same.auc.low, same.auc.high) == (0, 0, 0)
    worse = np.roll(scores, 1, axis=0)
    found = paired_difference(labels, scores, worse, "multi-class", resamples=300)
    assert found.auc.low > 0.1
    assert found.auc.value == pytest.approx(
        evaluate(labels, scores, "multi-class").auc - evaluate(labels, worse, "multi-class").auc
    )


def test_a_mean_over_datasets_takes_those_of_a_group_together_and_others_apart():
    labels, scores = drawn("binary-class", 200, seed=2)
    one = resample(labels, scores, "binary-class", resamples=2000)
    (auc, acc), width = mean_intervals([one, one], ["a", "a"]), one.intervals().auc
    assert (auc, acc) == (width, one.intervals().acc)
    apart, _ = mean_intervals([one] * 4, ["a", "b", "c", "d"])
    assert apart.value == pytest.approx(auc.value)
    assert (apart.high - apart.low) / (auc.high - auc.low) == pytest.approx(0.5, rel=0.1)


def test_planes_are_drawn_together_only_by_the_same_subjects():
    """Two datasets that agree in all but their subjects' names: their means vary as those of independent ones."""
    labels, scores = drawn("binary-class", 200, seed=2)
    people = np.array([f"p{i % 50}" for i in range(200)])
    others = np.char.add("q", people)
    mine, plane = (resample(labels, scores, "binary-class", some) for some in (people, np.roll(people, 50)))
    one, apart = (resample(labels, scores, "binary-class", some) for some in (people, others))
    same = mean_intervals([mine, plane], ["organ", "organ"])[0]
    assert (same.low, same.high) == (mine.intervals().auc.low, mine.intervals().auc.high)
    found = mean_intervals([one, apart], ["organ", "organ"])[0]
    assert (found.high - found.low) / (same.high - same.low) == pytest.approx(0.5**0.5, rel=0.1)
    for other in (apart, resample(labels, scores, "binary-class", people, resamples=100)):
        with pytest.raises(ScoreError, match=r"resamples: .*different subjects or images"):
            one - other
    fewer = resample(labels, scores, "binary-class", people, resamples=100)
    with pytest.raises(ScoreError, match=r"different numbers.*found 100 and 2000"):
        mean_intervals([one, fewer], ["a", "b"])


# -------------------------------------------------------------------- what is undefined


@pytest.mark.parametrize("task", TASKS)
def test_without_a_class_what_needs_it_is_undefined_and_the_rest_is_found(task):
    labels, scores = drawn(task, 90, seed=4)
    names = tuple("abc"[: scores.shape[1]])
    if task == MULTILABEL:
        labels[:, 0] = 1
    else:
        labels[labels == 1] = 0
    found = assess(labels, scores, task, names)
    with pytest.raises(ScoreError, match=r"never occurs?"):
        evaluate(labels, scores, task)
    exact = evaluate(labels, scores, task, allow_undefined=True)
    assert np.isnan(exact.auc)
    assert str(exact) == f"AUC undefined ACC {exact.acc:.3f}"
    assert str(found.intervals.auc) == str(found.intervals.balanced_accuracy) == "undefined"
    assert found.intervals.acc.low < exact.acc == found.intervals.acc.value < found.intervals.acc.high
    assert found.delong is None
    assert np.isnan(found.details.balanced_accuracy)
    lost = found.details.classes[0 if task == MULTILABEL else 1]
    assert np.isnan([lost.auc, lost.balanced_accuracy]).all()
    told = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert told["intervals"]["auc"] == {"value": None, "low": None, "high": None}
    if task == "ordinal-regression":  # grade 1, which nobody has, still lies between the others
        chosen = scores.argmax(axis=1)
        kappa = metrics.cohen_kappa_score(labels[:, 0], chosen, weights="quadratic", labels=range(3))
        assert found.details.kappa == pytest.approx(kappa)
        never = np.where(chosen == 1, 0, chosen)
        kappa = metrics.cohen_kappa_score(labels[:, 0], never, weights="quadratic", labels=range(3))
        told = assess(labels, np.eye(3)[never], task, names)
        assert told.details.kappa == pytest.approx(kappa) == told.intervals.kappa.value


def test_a_mean_with_an_undefined_part_is_undefined():
    labels, scores = drawn("binary-class", 60)
    parts = [resample(some, scores, "binary-class") for some in (labels, np.zeros_like(labels))]
    auc, acc = mean_intervals(parts, ["a", "b"])
    assert str(auc) == "undefined"
    assert acc.low < acc.value < acc.high


@pytest.mark.parametrize("ones", [1, 2])
def test_delong_is_left_out_where_a_class_has_one_image(ones):
    labels = np.array([1] * ones + [0] * 9)
    found = assess(labels, np.linspace(0, 1, len(labels)), "binary-class", ("no", "yes"))
    assert (found.delong is None) == (ones == 1)
    assert ("delong" in found.facts()) == (ones == 2)
    assert found.intervals.undefined > 0


# ------------------------------------------------------------------------------ DeLong


def by_definition(labels, *predictions):
    """Structural components over all pairs."""
    ones, zeros = [], []
    for scores in predictions:
        x, y = scores[labels == 1][:, None], scores[labels == 0][None, :]
        psi = (x > y) + 0.5 * (x == y)
        ones.append(psi.mean(axis=1))
        zeros.append(psi.mean(axis=0))
    areas = [one.mean() for one in ones]
    return areas, np.cov(ones) / len(ones[0]) + np.cov(zeros) / len(zeros[0])


@given(n=st.integers(6, 60), seed=st.integers(0, 99), levels=st.sampled_from([None, 4]))
def test_delong_is_its_definition(n, seed, levels):
    labels, scores = drawn("binary-class", n, seed=seed, levels=levels)
    other = drawn("binary-class", n, seed=seed + 1, levels=levels)[1]
    (mine, theirs), covariance = by_definition(labels[:, 0], scores[:, 1], other[:, 1])
    found = delong(labels, scores)
    assert found.value == pytest.approx(evaluate(labels, scores, "binary-class").auc)
    reach = 1.959963984540054 * np.sqrt(covariance[0, 0])
    assert (found.low, found.high) == pytest.approx((max(mine - reach, 0), min(mine + reach, 1)), abs=1e-12)
    difference, p = delong_difference(labels, scores, other)
    assert difference.value == pytest.approx(mine - theirs)
    spread = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert difference.high - difference.low <= 2 * 1.96 * spread + 1e-9
    assert 0 <= p <= 1
    assert delong_difference(labels, scores, scores) == (delong_difference(labels, other, other)[0], 1.0)


# ----------------------------------------------------------------------------- details


@pytest.mark.parametrize("task", TASKS)
def test_details_are_those_of_scikit_learn(task):
    labels, scores = drawn(task, 200, classes=4, seed=3)
    names = tuple("abcd"[: scores.shape[1]])
    found = details(labels, scores, task, names)
    assert tuple(one.name for one in found.classes) == names
    if task == MULTILABEL:
        assert found.confusion is found.kappa is None
        given = (scores > 0.5).astype(int)
        assert np.array_equal([c.confusion for c in found.classes], metrics.multilabel_confusion_matrix(labels, given))
        balanced = [metrics.balanced_accuracy_score(labels[:, c], given[:, c]) for c in range(labels.shape[1])]
        assert [c.balanced_accuracy for c in found.classes] == pytest.approx(balanced)
        assert found.balanced_accuracy == pytest.approx(np.mean(balanced))
        assert found.calibration_error == pytest.approx(np.mean([c.calibration_error for c in found.classes]))
        assert [c.recall for c in found.classes] == metrics.recall_score(labels, scores > 0.5, average=None).tolist()
        assert np.mean([c.auc for c in found.classes]) == pytest.approx(evaluate(labels, scores, task).auc)
        return
    chosen = scores.argmax(axis=1)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels[:, 0], chosen))
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels[:, 0], chosen))
    assert [c.f1 for c in found.classes] == pytest.approx(metrics.f1_score(labels[:, 0], chosen, average=None))
    assert sum(c.images for c in found.classes) == 200
    assert (found.kappa is not None) == (task == "ordinal-regression")
    assert [(one.confusion[1][1], sum(one.confusion[1])) for one in found.classes] == [
        (row[c], sum(row)) for c, row in enumerate(found.confusion.tolist())
    ]


@pytest.mark.parametrize("task", TASKS)
def test_intervals_stand_around_the_figures_in_detail(task):
    labels, scores = drawn(task, 90, seed=4)
    inside = details(labels, scores, task, tuple("abc"[: scores.shape[1]]))
    found = intervals(labels, scores, task, resamples=100)
    assert found.balanced_accuracy.value == pytest.approx(inside.balanced_accuracy)
    assert (found.kappa and found.kappa.value) == (inside.kappa and pytest.approx(inside.kappa))
    for estimates, exact in zip(found.classes, inside.classes, strict=True):
        for name in ("auc", "recall", "f1"):
            estimate = getattr(estimates, name)
            assert estimate.value == pytest.approx(getattr(exact, name))
            assert estimate.low <= estimate.value <= estimate.high


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    labels = np.array([1] * 70 + [0] * 30)
    scores = np.full(100, 0.9)
    scores[0] = 0.2  # so that both classes are chosen
    found = details(labels, scores, "binary-class", ("no", "yes")).calibration_error
    assert found == pytest.approx((abs(99 * 0.9 - 69) + abs(0.8 - 0)) / 100)
    perfect = np.where(labels == 1, 1.0, 0.0)
    assert details(labels, perfect, "binary-class", ("no", "yes")).calibration_error == 0
    several, odds = drawn("multi-class", 30)
    found = details(several, 7 * odds, "multi-class", tuple("abc"))
    assert found.calibration_error is found.classes[0].calibration_error is None


# ----------------------------------------------------------------------- errors, files


def test_what_cannot_be_resampled_is_refused():
    labels, scores = drawn("binary-class", 20)
    with pytest.raises(ArgumentError, match="resamples: found 0, expected at least 1"):
        intervals(labels, scores, "binary-class", resamples=0)
    with pytest.raises(ScoreError, match=r"subjects: .*one subject per image"):
        intervals(labels, scores, "binary-class", ["a"])
    with pytest.raises(ScoreError, match="found 1 positive and 3 negative, expected at least 2"):
        delong([1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ScoreError, match="found 1 names, expected 2"):
        details(labels, scores, "binary-class", ("a",))
    with pytest.raises(ScoreError, match="never occurs"):
        delong([1, 1, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ScoreError, match="NaN or infinity"):
        intervals(labels, scores * np.nan, "binary-class")


@pytest.fixture
def runs(tmp_path):
    opened = store.open(write_small_store(tmp_path / "breastmnist_28.h5", (5, 5, 60), size=28))
    labels = opened.test.labels
    rng = np.random.default_rng(0)
    paths = []
    for run, know in (("good", 0.5), ("poor", 0.1)):
        positive = np.clip(rng.random(60) * 0.5 + know * labels[:, 0], 0, 1)
        scores = np.stack([1 - positive, positive], axis=1)
        found = evaluate(labels, scores, "binary-class")
        paths.append(write_predictions(tmp_path, "breastmnist", 28, "test", scores, found, run))
    return paths


def test_the_commands_print_intervals_and_differences(runs, tmp_path):
    def call(*arguments):
        return invoke(*arguments, "--stores", tmp_path).output

    said = call("evaluate", runs[0], "--intervals")
    assert "2000 bootstrap resamples of images" in said
    assert "(DeLong)" in said
    lines = said.splitlines()
    assert lines[2].startswith("  balanced accuracy 1.000 [1.000, 1.000]")
    assert "  calibration error 0." in lines[2]
    assert [line.split()[:3] for line in lines[3:]] == [["0", "30", "AUC"], ["1", "30", "AUC"]]
    (facts,) = json.loads(call("evaluate", runs[0], "--intervals", "--json"))
    assert facts["intervals"]["auc"]["value"] == facts["auc"]
    assert np.sum(facts["details"]["confusion"]) == 60
    assert "(DeLong, p = " in call("compare", *runs)
    compared = json.loads(call("compare", *runs, "--json"))
    assert compared["auc"]["low"] > 0
    assert compared["delong"]["p"] < 0.05


def test_files_of_other_images_are_not_compared(runs, tmp_path):
    store_path = write_small_store(tmp_path / "pneumoniamnist_28.h5", (5, 5, 60), flag="pneumoniamnist", size=28)
    labels = store.open(store_path).test.labels
    scores = np.random.default_rng(0).random(60)
    found = evaluate(labels, scores, "binary-class")
    other = write_predictions(tmp_path, "pneumoniamnist", 28, "test", scores, found, "x")
    with pytest.raises(ScoreError, match="scores other images than"):
        invoke("compare", runs[0], other, "--stores", tmp_path)
    assert Path(other).is_file()


def small_test(tmp_path, flag, labels, *, partial=False):
    """A store with these test labels, and a result file of it."""
    arrays = {}
    for name, n in zip(store.SPLITS, (20, 10, len(labels)), strict=True):
        y = (np.arange(n)[:, None] % 2).astype(np.uint8) if name != "test" else np.array(labels, np.uint8)[:, None]
        arrays[name] = (np.zeros((n, 8, 8), np.uint8), y, np.zeros(n, store.record_dtype(1, 1)))
    store.write_store(tmp_path / f"{flag}_8.h5", small_info(flag, partial=partial), arrays)
    scores = np.random.default_rng(0).random((len(labels), 2))
    found = evaluate(labels, scores, "binary-class", allow_undefined=True)
    return write_predictions(tmp_path, flag, 8, "test", scores, found, "run")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_file_with_undefined_figures_is_scored_and_so_are_the_others(tmp_path, more):
    files = [
        small_test(tmp_path, "breastmnist", [1] + [0] * 15),
        small_test(tmp_path, "pneumoniamnist", [0] * 16, partial=True),
        small_test(tmp_path, "octmnist", [0, 1] * 8),
    ]
    assert "[AUC]nan_[ACC]0." in files[1].name
    done = invoke("evaluate", *files, "--stores", tmp_path, "--intervals", *more)
    if more:
        told = json.loads(done.stdout)
        assert [one["agrees"] for one in told] == [True] * 3
        assert [("delong" in one, one["auc"] is None) for one in told] == [(False, False), (False, True), (True, False)]
        return
    assert done.stdout.count("(DeLong)") == 1
    assert "AUC undefined ACC 0." in done.stdout
    assert "DeLong" not in invoke("compare", files[0], files[0], "--stores", tmp_path).stdout


def test_a_class_that_a_whole_store_lacks_is_refused_and_the_others_are_scored(tmp_path):
    files = [small_test(tmp_path, "breastmnist", [0] * 16), small_test(tmp_path, "octmnist", [0, 1] * 8)]
    done = invoke("evaluate", *files, "--stores", tmp_path, "--intervals", code=2)
    assert "never occurs" in done.stderr
    assert "(DeLong" in done.stdout
