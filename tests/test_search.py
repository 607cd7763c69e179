"""The method without a network: what it fits in the time, and what it makes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError, MmtkError, ScoreError
from mmtk.scoring import evaluate, evaluate_file
from mmtk.training import _portfolio, search
from mmtk.training._ensemble import SelectionMetric, ensemble_weights
from mmtk.training._features import COMPONENTS, Features, pixels_of, width_of
from mmtk.training._folds import all_columns, folds_of, successive_halving
from mmtk.training.methods import Job, get_method
from tests.small_stores import MULTILABEL, store_of, write_small_store

TASKS = ("binary-class", "multi-class", MULTILABEL)


def by_search(opened, out, budget=2.0, seed=0):
    return get_method("sklearn").run(Job(opened, out, budget, seed=seed))


def write_learnable(path, task, counts=(400, 80, 80), **options):
    """A store whose labels show in the images."""
    classes = {"classes": 3, "flag": "pathmnist", "channels": 3} if task == "multi-class" else {"classes": 2}
    opened = store.open(write_small_store(path, counts, task=task, **{"size": 8, **classes, **options}))
    arrays = {}
    for split in opened.splits:
        images = split.images // 2
        shown = split.labels if task == MULTILABEL else split.labels == np.arange(len(opened.info.classes))
        for column in range(shown.shape[1]):
            images[shown[:, column].astype(bool), 2 * column : 2 * column + 2] += 100
        arrays[split.name] = (images, split.labels, split.records)
    return store.open(store.write_store(path, opened.info, arrays))


@pytest.fixture(params=TASKS)
def learnable(request, tmp_path):
    return write_learnable(tmp_path / "learnable.h5", request.param)


def lines_of(folder):
    *lines, end = map(json.loads, (folder / "search.jsonl").read_text().splitlines())
    return lines, end


def only(monkeypatch, names, rounds=1):
    """Leave some kinds, and so few settings that all are fitted in time."""
    every = search.estimator_kinds
    monkeypatch.setattr(search, "estimator_kinds", lambda several: tuple(
        kind for kind in every(several) if kind.name in names
    ))
    monkeypatch.setattr(search, "_ROUNDS", rounds)


# ------------------------------------------------------------------------------ the search


def test_it_learns_in_its_budget_and_tells_each_fit(learnable, tmp_path):
    result = by_search(learnable, tmp_path / "run", budget=4)
    assert result.metrics["test"].auc > 0.95
    assert result.images == {"train": 400, "val": 80, "test": 80}
    lines, end = lines_of(tmp_path / "run")
    assert lines[0]["candidate"] == "logistic C 0.1"
    assert {line["images"] for line in lines} == {400}
    spent = [line["spent"] for line in (*lines, end)]
    assert spent == sorted(spent)
    assert sum(member["weight"] for member in end["ensemble"]) == pytest.approx(1, abs=1e-3 * len(lines))
    assert {member["candidate"] for member in end["ensemble"]} <= {line["candidate"] for line in lines}
    assert by_search(learnable, tmp_path / "run", budget=4).reused
    labels, table = learnable.val.labels, scores_of(tmp_path / "run", "val")
    assert result.metrics["val"] == evaluate(labels, table, learnable.info.task)


def scores_of(folder, split):
    return np.loadtxt(next(folder.glob(f"*_{split}_*.csv")), delimiter=",")[:, 1:]


@pytest.mark.parametrize(("kind", "rounds"), [("lda", 2), ("extra_trees", 0)])
def test_the_same_seed_gives_the_same_where_everything_is_fitted(tmp_path, monkeypatch, kind, rounds):
    only(monkeypatch, (kind,), rounds)
    noise = store.open(write_small_store(tmp_path / "noise.h5", (120, 40, 40), classes=3, task="multi-class"))
    for name in "ab":
        by_search(noise, tmp_path / name, budget=300)
    names = sorted(path.name for path in (tmp_path / "a").glob("*.csv"))
    assert len(names) == 3
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    lines, end = lines_of(tmp_path / "a")
    assert len(lines) == (2 if kind == "lda" else 3) + rounds
    assert end["ensemble"] == lines_of(tmp_path / "b")[1]["ensemble"]
    named = tmp_path / "named" / f"{noise.info.flag}_8.h5"
    named.parent.mkdir()
    named.symlink_to(noise.path)
    for name in names:
        assert evaluate_file(tmp_path / "a" / name, named.parent).agrees


def test_another_seed_fits_the_same_candidates_to_other_folds(tmp_path, monkeypatch):
    only(monkeypatch, ("lda",), rounds=1)
    noise = store.open(write_small_store(tmp_path / "noise.h5", (120, 40, 40), classes=3, task="multi-class"))
    for seed in (0, 1):
        by_search(noise, tmp_path / str(seed), budget=300, seed=seed)
    lines, other = (lines_of(tmp_path / name)[0] for name in "01")
    assert [line["candidate"] for line in lines] == [line["candidate"] for line in other]
    assert [line["auc"] for line in lines] != [line["auc"] for line in other]


def test_the_ensemble_is_the_weighted_mean_of_its_members(tmp_path, monkeypatch):
    only(monkeypatch, ("logistic", "lda"), rounds=0)
    opened = write_learnable(tmp_path / "learnable.h5", "multi-class")
    by_search(opened, tmp_path / "run", budget=300)
    _, end = lines_of(tmp_path / "run")
    features = Features(opened, 0)
    rows, labels = np.arange(400), opened.train.labels[:, 0]
    expected = np.zeros((80, 3))
    for member in end["ensemble"]:
        candidates = _portfolio.portfolio(search.estimator_kinds(False))
        (candidate,) = [candidate for candidate in candidates if str(candidate) == member["candidate"]]
        for fitted_on in (rows, *(some for some, _ in folds_of(opened.train, 0))):
            fitted = candidate.estimator(0, False).fit(features.of(opened.train, fitted_on, 64), labels[fitted_on])
            expected += member["weight"] / 6 * fitted.predict_proba(features.of(opened.test, np.arange(80), 64))
    assert np.allclose(scores_of(tmp_path / "run", "test"), expected, atol=1e-3)


def test_a_short_budget_ends_the_search_early_with_what_there_is(learnable, tmp_path):
    result = by_search(learnable, tmp_path / "run", budget=0.001)
    lines, end = lines_of(tmp_path / "run")
    assert [member["candidate"] for member in end["ensemble"]] == [line["candidate"] for line in lines]
    assert len(lines) == 1
    assert result.metrics["test"].auc > 0.5


@pytest.fixture
def clock(monkeypatch):
    """A clock on which only fits take time, a second for each 100 images."""
    found = [0.0]
    monkeypatch.setattr(search.time, "perf_counter", lambda: found[0])

    class Slow:
        def __init__(self, seed):
            self.factor = 1.0

        def set_params(self, factor=1.0):
            self.factor = factor
            return self

        def fit(self, features, labels):
            self.classes_ = np.unique(labels)
            found[0] += self.factor * len(features) / 100

        def predict_proba(self, features):
            return np.random.default_rng(0).dirichlet(np.ones(len(self.classes_)), len(features))

    kinds = tuple(
        _portfolio.Kind(name, Slow, ({"factor": 1.0}, {"factor": 2.0}), {"factor": [1.0, 2.0]}, growth=1.0)
        for name in ("one", "two")
    )
    monkeypatch.setattr(search, "estimator_kinds", lambda several: kinds)
    return found


@pytest.mark.parametrize("budget", [30, 60, 70, 100, 125, 200])
def test_no_fit_is_begun_that_would_end_too_late(tmp_path, clock, budget):
    """A candidate of factor 1 takes 4 s, with five folds 20."""
    opened = write_learnable(tmp_path / "learnable.h5", "binary-class")
    by_search(opened, tmp_path / "run", budget=budget)
    lines, end = lines_of(tmp_path / "run")
    assert clock[0] == pytest.approx(end["spent"])
    assert clock[0] <= budget
    assert clock[0] > budget / 3
    whole = [line for line in lines if "auc" in line]
    assert len(whole) >= (1 if budget < 60 else 2)
    assert all(line["seconds"] in (20, 40) for line in whole)


@pytest.mark.parametrize("budget", [20, 100, 400])
def test_of_many_images_as_many_are_fitted_as_there_is_time_for(tmp_path, clock, monkeypatch, budget):
    """All 3000 take 30 s, those of the first fit 10."""
    monkeypatch.setattr(search, "SMALL", 2500)
    opened = write_learnable(tmp_path / "learnable.h5", "binary-class", counts=(3000, 80, 80), size=4)
    by_search(opened, tmp_path / "run", budget=budget)
    lines, end = lines_of(tmp_path / "run")
    images = [line["images"] for line in lines if "halving" not in line]
    assert images[0] == 1000
    assert max(images) == {20: 1000, 100: 3000, 400: 3000}[budget]
    assert clock[0] <= budget
    assert not any("auc" in line for line in lines)
    fitted = {member["images"] for member in end["ensemble"]}
    assert fitted == ({1000} if budget == 20 else fitted - {1000})


def test_settings_for_many_images_come_from_halving(learnable, tmp_path, monkeypatch):
    only(monkeypatch, ("logistic", "lda", "svc"))
    monkeypatch.setattr(search, "SMALL", 330)
    result = by_search(learnable, tmp_path / "run", budget=300)
    lines, _ = lines_of(tmp_path / "run")
    found = [line for line in lines if "halving" in line]
    assert [line["candidate"].split()[0] for line in found] == ["logistic", "svc", "lda"]
    after = [lines[lines.index(line) + 1] for line in found]
    assert [line["candidate"] for line in after] == [line["candidate"] for line in found]
    assert {line["images"] for line in after} == {400}
    assert "auc" not in after[0]
    assert result.metrics["test"].auc > 0.95


@pytest.mark.parametrize("lost", ["val", "train and val"])
def test_it_goes_by_the_loss_where_the_auc_is_undefined(learnable, tmp_path, monkeypatch, lost):
    only(monkeypatch, ("logistic", "neighbours"), rounds=0)
    arrays = {split.name: (split.images, split.labels, split.records) for split in learnable.splits}
    for name in lost.split(" and "):
        images, labels, records = arrays[name]
        kept = labels[:, 0] == 0 if learnable.info.task == MULTILABEL else labels[:, 0] != 1
        arrays[name] = images[kept], labels[kept], records[kept]
    opened = store.open(store.write_store(tmp_path / "lost.h5", replace(learnable.info, partial=True), arrays))
    result = by_search(opened, tmp_path / "run", budget=300)
    assert np.isnan(result.metrics["val"].auc)
    assert lost != "val" or result.metrics["test"].auc > 0.95
    lines, end = lines_of(tmp_path / "run")
    fitted = [line for line in lines if "error" not in line]
    assert all("val_loss" in line and "val_auc" not in line for line in fitted)
    assert ("auc" in end, "loss" in end) == ((True, False) if lost == "val" else (False, True))


SMALL_SETS = {
    "a class of one image": {"counts": (30, 8, 8), "classes": 3, "task": "multi-class", "rare": 1},
    "a class of two images": {"counts": (30, 8, 8), "classes": 3, "task": "multi-class", "rare": 2},
    "as many images as classes": {"counts": (3, 3, 3), "classes": 3, "task": "multi-class"},
    "two images": {"counts": (2, 2, 2)},
    "volumes": {"counts": (30, 10, 10), "ndim": 3, "flag": "organmnist3d"},
    "colour": {"counts": (30, 10, 10), "channels": 3, "flag": "pathmnist", "classes": 3, "task": "multi-class"},
    "large images": {"counts": (30, 10, 10), "size": 64},
    "few of many labels": {"counts": (12, 8, 8), "classes": 14, "task": MULTILABEL, "flag": "chestmnist"},
}


@pytest.mark.parametrize("kind", SMALL_SETS)
def test_small_and_odd_sets_are_fitted(tmp_path, kind):
    options = dict(SMALL_SETS[kind])
    rare = options.pop("rare", None)
    opened = store.open(write_small_store(tmp_path / "noise.h5", **options))
    if rare:
        arrays = {split.name: (split.images, split.labels.copy(), split.records) for split in opened.splits}
        labels = arrays["train"][1]
        labels[np.nonzero(labels == 2)[0][rare:]] = 0
        opened = store.open(store.write_store(tmp_path / "rare.h5", opened.info, arrays))
    result = by_search(opened, tmp_path / "run", budget=0.7)
    assert np.isfinite(result.metrics["test"].auc)
    lines, end = lines_of(tmp_path / "run")
    assert end["ensemble"]
    assert sum("error" in line for line in lines) < len(lines)


def test_where_nothing_can_be_fitted_it_says_why(tmp_path):
    opened = store.open(write_small_store(tmp_path / "noise.h5", (20, 6, 6), partial=True))
    arrays = {split.name: (split.images, split.labels * 0, split.records) for split in opened.splits}
    opened = store.open(store.write_store(tmp_path / "one.h5", opened.info, arrays))
    result = by_search(opened, tmp_path / "run", budget=0.5)  # neighbours and trees can be fitted to one class
    assert result.metrics["test"].acc == 1
    assert lines_of(tmp_path / "run")[0][0]["error"]


def test_a_budget_or_store_that_cannot_be_is_refused(tmp_path):
    learnable = write_learnable(tmp_path / "learnable.h5", "binary-class")
    with pytest.raises(ArgumentError, match="budget: found 0 s"):
        by_search(learnable, tmp_path / "run", budget=0)
    lost = store.open(write_small_store(tmp_path / "lost.h5", (20, 6, 2), classes=4, task="multi-class"))
    with pytest.raises(ScoreError, match=r"lost\.h5 test: labels"):
        by_search(lost, tmp_path / "run", budget=10)
    by_search(learnable, tmp_path / "run", budget=0.001)
    with pytest.raises(MmtkError, match="found seed 0, expected 1"):
        by_search(learnable, tmp_path / "run", budget=0.001, seed=1)


# ------------------------------------------------------------------------------ its parts


@pytest.mark.parametrize("task", TASKS)
def test_merits_are_those_of_the_evaluator(task):
    rng = np.random.default_rng(1)
    several, outputs = task == MULTILABEL, 2 if task == "binary-class" else 4
    labels = rng.integers(0, 2, (90, outputs)) if several else rng.integers(0, outputs, (90, 1))
    scores = np.round(rng.dirichlet(np.ones(outputs), (3, 90)), 1)  # ties among them
    judge = SelectionMetric(labels, outputs, several)
    expected = [evaluate(labels, table, task).auc for table in scores]
    assert judge.merits(scores) == pytest.approx(expected, abs=1e-12)
    assert judge.measure == "auc"


def test_a_loss_is_the_mean_of_the_true_classes_logarithms():
    scores = np.array([[[0.5, 0.5], [0.25, 0.75]], [[1.0, 0.0], [1.0, 0.0]]])
    judge = SelectionMetric(np.array([[1], [1]]), 2, multilabel=False)
    assert judge.measure == "loss"
    assert judge.merits(scores) == pytest.approx([np.log([0.5, 0.75]).mean(), np.log(1e-6)])
    several = SelectionMetric(np.array([[1, 0], [1, 0]]), 2, multilabel=True)
    assert several.merits(scores)[0] == pytest.approx(np.log([0.5, 0.5, 0.25, 0.25]).mean())


def test_an_ensemble_is_better_than_its_members_and_leaves_out_noise():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (400, 1))
    good = [np.where(labels[:, 0], 0.6, 0.4) + 0.25 * rng.normal(size=400) for _ in range(4)]
    table = np.clip([*good, *rng.random((4, 400))], 0, 1)
    scores = np.stack([1 - table, table], axis=2)
    judge = SelectionMetric(labels, 2, multilabel=False)
    weights = ensemble_weights(scores, judge, 0)
    assert weights.sum() == pytest.approx(1)
    assert weights[:4].sum() > 0.8
    assert judge.merits(np.average(scores, 0, weights)[None])[0] > judge.merits(scores).max()
    asked = []
    ensemble_weights(scores, judge, 0, lambda: asked.append(1))
    assert len(asked) == 1


def test_folds_keep_a_subject_together_and_a_class_in_each(tmp_path):
    images = np.zeros((60, 28, 28), np.uint8)
    labels = [0, 1] * 30
    subjects = [f"p{row // 6}" for row in range(50)] + [""] * 10
    split = store_of(tmp_path / "a", images, labels, subjects=subjects).train
    folds = folds_of(split, 0)
    assert len(folds) == 5
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(60))
    for rows, held in folds:
        assert not set(rows) & set(held)
        assert not {subjects[row] for row in rows if row < 50} & {subjects[row] for row in held if row < 50}
    alone = folds_of(store_of(tmp_path / "b", images, labels).train, 0)
    assert all(np.bincount(split.labels[held, 0]).tolist() == [6, 6] for _, held in alone)
    assert [held.tolist() for _, held in folds_of(split, 0)] == [held.tolist() for _, held in folds]
    assert [held.tolist() for _, held in folds_of(split, 1)] != [held.tolist() for _, held in folds]


def test_folds_of_few_images_are_fewer_or_none(tmp_path):
    made = [store_of(tmp_path / str(n), np.zeros((n, 28, 28), np.uint8), [0, 1, 1, 1][:n]).train for n in (1, 2, 4)]
    assert [len(folds_of(split, 0)) for split in made] == [0, 0, 3]


def test_pixels_are_averaged_to_about_28(tmp_path):
    opened = store.open(write_small_store(tmp_path / "a.h5", size=57, channels=3, flag="pathmnist"))
    rows = np.array([1, 4])
    found = pixels_of(opened.train, rows)
    assert found.shape == (2, width_of(opened.train)) == (2, 28 * 28 * 3)
    blocks = opened.train.images[rows][:, :56, :56].reshape(2, 28, 2, 28, 2, 3)
    assert np.allclose(found.reshape(2, 28, 28, 3), blocks.mean(axis=(2, 4)) / 255, atol=1e-6)
    volumes = store.open(write_small_store(tmp_path / "b.h5", (3, 2, 2), size=56, ndim=3, flag="organmnist3d"))
    assert pixels_of(volumes.train, np.arange(3)).shape == (3, 28**3)
    small = store.open(write_small_store(tmp_path / "c.h5", size=8))
    assert np.array_equal(pixels_of(small.val, np.arange(6)), small.val.images.reshape(6, -1) / np.float32(255))


def test_components_are_scaled_and_the_same_in_whatever_order_they_are_asked(tmp_path):
    opened = store.open(write_small_store(tmp_path / "a.h5", (300, 20, 20), size=12))
    features, again = Features(opened, 0), Features(opened, 0)
    whole = features.of(opened.train, np.arange(300), COMPONENTS)
    assert whole.shape == (300, COMPONENTS)
    assert whole.var(axis=0).mean() == pytest.approx(1, rel=0.01)
    rows = np.array([7, 3, 250])
    some = again.of(opened.train, rows, 16)
    assert np.allclose(some, whole[rows, :16], atol=1e-5)
    assert np.array_equal(again.of(opened.train, np.arange(300), COMPONENTS)[rows, :16], some)
    assert np.array_equal(features.of(opened.train, rows, None), pixels_of(opened.train, rows))


def test_a_class_that_was_never_seen_has_no_chance():
    scores = all_columns(np.array([[0.4, 0.6]]), np.array([0, 2]), 1, 3, False)
    assert scores == pytest.approx(np.array([[0.4, 0, 0.6]]))
    lists = [np.array([[0.4, 0.6]]), np.array([[1.0]])]
    assert all_columns(lists, [np.array([0, 1]), np.array([0])], 1, 2, True) == pytest.approx(np.array([[0.6, 0]]))


def test_settings_are_drawn_by_number():
    for kind in _portfolio.estimator_kinds(multilabel=False):
        one, same, other = (_portfolio.draw_candidate(kind, number) for number in (3, 3, 5))
        assert str(one) == str(same)
        assert json.dumps(dict(one.settings))
        if kind.name not in ("neighbours", "extra_trees", "random_forest"):  # of few settings, one can come again
            assert str(one) != str(other)


@pytest.mark.parametrize("name", ["boosting", "neighbours", "svc"])
def test_halving_finds_settings_that_can_be_fitted(name):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 270)
    features = (rng.normal(size=(270, 5)) + labels[:, None]).astype(np.float32)
    (kind,) = [kind for kind in _portfolio.estimator_kinds(multilabel=False) if kind.name == name]
    found = successive_halving(kind, features, labels, 3, 0)
    assert set(found.settings) <= set(kind.draws)
    assert found.estimator(0, multilabel=False).fit(features, labels).score(features, labels) > 0.5
