"""The drop-in's evaluator beside medmnist's: figures to the last bit, result files to the byte."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from mmtk.compat import medmnist
from mmtk.compat.medmnist import evaluator
from mmtk.errors import ArgumentError, ScoreError
from mmtk.scoring import evaluate
from tests.medmnists import write_npz

TASKS = ("binary-class", "multi-class", "ordinal-regression", "multi-label, binary-class", "of its own")
FLAGS = {"binary-class": "breastmnist", "multi-label, binary-class": "chestmnist", "ordinal-regression": "retinamnist"}


def outcome(call, *arguments, **more):
    """What a call gives, or the kind of its error, and the kinds of its warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = call(*arguments, **more)
        except Exception as error:
            return type(error), []
    return repr(found), sorted(warning.category.__name__ for warning in told)


@some.composite
def predictions(draw):
    task = draw(some.sampled_from(TASKS))
    n, columns = draw(some.integers(1, 12)), draw(some.integers(1, 4))
    several = task.startswith("multi-label")
    shapes = [(n, columns)] if several else [(n,), (n, 1)]
    kind = draw(some.sampled_from([np.uint8, np.int64, np.float64]))
    top = 1 if several or task == "binary-class" else columns - 1 + draw(some.integers(0, 1))
    labels = draw(arrays.arrays(kind, draw(some.sampled_from(shapes)), elements=some.integers(0, top)))
    dtype = draw(some.sampled_from([np.float64, np.float32, np.float16]))
    steps = some.integers(0, draw(some.sampled_from([2, 20, 1 << 20])))  # ties, and few of them
    scores = draw(arrays.arrays(np.float64, draw(some.sampled_from([(n, columns), (n,)])), elements=steps.map(float)))
    return task, labels, (scores / max(1.0, scores.max())).astype(dtype)


@given(predictions(), some.sampled_from([None, 0.0, 0.3, 1.0]))
def test_figures_errors_and_warnings_are_medmnists(prediction, threshold):
    theirs = pytest.importorskip("medmnist")
    task, labels, scores = prediction
    assert outcome(medmnist.getAUC, labels, scores, task) == outcome(theirs.evaluator.getAUC, labels, scores, task)
    more = {} if threshold is None else {"threshold": threshold}
    ours, official = (outcome(at.getACC, labels, scores, task, **more) for at in (evaluator, theirs.evaluator))
    assert ours == official


def test_a_class_that_is_not_there_is_none_of_getaccs_business():
    labels, scores = np.array([0, 1, 2, 1, 0]), np.random.default_rng(0).dirichlet(np.ones(5), 5)
    assert evaluator.getACC(labels, scores, "multi-class") == np.mean(labels == scores.argmax(1))
    with pytest.warns(match="ROC AUC"):
        assert np.isnan(evaluator.getAUC(labels, scores, "multi-class"))
    with pytest.raises(ScoreError, match="3, 4"):
        evaluate(labels, scores, "multi-class")
    with pytest.raises(ArgumentError, match="task"):
        evaluate(labels, scores, "of its own")


def pairs(root, flag):
    theirs = pytest.importorskip("medmnist")
    return tuple(package.Evaluator(flag, "test", root=root) for package in (medmnist, theirs))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.bool_])
@pytest.mark.parametrize("task", TASKS[:4])
def test_result_files_are_medmnists_to_the_byte(task, dtype, tmp_path):
    flag = FLAGS.get(task, "octmnist")
    labels, classes = {"chestmnist": (14, 2), "breastmnist": (1, 2), "octmnist": (1, 4)}.get(flag, (1, 5))
    write_npz(tmp_path, flag, labels=labels, classes=classes, counts=(4, 4, 60))
    rng = np.random.default_rng(0)
    scores = rng.random((60, labels if labels > 1 else classes)) * 10.0 ** rng.integers(-9, 3, (60, 1))
    shapes = [scores, scores[:, 0]] if task == "binary-class" else [scores]
    for values in (array.astype(dtype) for array in shapes):
        folders = []
        for number, judge in enumerate(pairs(tmp_path, flag)):
            folders.append(tmp_path / f"{number}{values.ndim}")
            folders[-1].mkdir()
            metrics = judge.evaluate(values, str(folders[-1]), run=7)
            assert outcome(judge.evaluate, values)[0] == repr(metrics)
            assert tuple(metrics) == (metrics.AUC, metrics.ACC)
        ours, official = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
        assert ours == official
        assert len(ours) == 1


def test_a_nan_is_an_empty_cell_as_pandas_has_it():
    pandas = pytest.importorskip("pandas")
    for dtype in (np.float64, np.float32):
        table = np.array([[0.1, np.nan], [np.inf, -0.0], [1e-7, 1 / 3], [123456789, 1e22]], dtype)
        text = io.StringIO()
        pandas.DataFrame(table).to_csv(text, header=None)
        assert "".join(f"{line}\n" for line in evaluator._lines(np.arange(4), *table.T)) == text.getvalue()


def test_scores_may_be_a_tensor_of_a_graph():
    theirs = pytest.importorskip("medmnist")
    torch = pytest.importorskip("torch")
    scores = torch.tensor(np.random.default_rng(0).random((20, 3)), requires_grad=True)
    labels = np.arange(20) % 3
    for task, truth in (("binary-class", labels == 1), (TASKS[3], np.eye(3)[labels])):
        ours, official = (outcome(at.getACC, truth, scores, task)[0] for at in (evaluator, theirs.evaluator))
        assert ours == official
        assert isinstance(ours, str)


def test_scores_that_cannot_be_written_leave_no_file(tmp_path):
    write_npz(tmp_path)
    scores = np.random.default_rng(0).random((12, 2, 1))
    with pytest.raises((TypeError, ValueError)):
        medmnist.Evaluator("breastmnist", "test", root=tmp_path).evaluate(scores, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["breastmnist.npz"]


@pytest.mark.parametrize("size", [None, 28, 28.0, "28", 64, "64", 64.0, "x", True])
def test_a_size_names_the_file_that_it_names_in_medmnist(size, tmp_path):
    theirs = pytest.importorskip("medmnist")
    for number, name in enumerate(("breastmnist", "breastmnist_28", "breastmnist_64")):
        write_npz(tmp_path, name, counts=(number + 1, 1, 1))

    def told(package):
        judge = package.Evaluator("breastmnist", "train", size, tmp_path)
        return len(judge.labels), judge.size, judge.size_flag

    assert outcome(told, medmnist)[0] == outcome(told, theirs)[0]


def test_subclasses_need_not_take_a_root(tmp_path, monkeypatch):
    write_npz(tmp_path)

    class Own(medmnist.Evaluator):
        def __init__(self, flag, split, size=None):
            super().__init__(flag, split, size, tmp_path)

    path = tmp_path / "breastmnist_test@1.csv"
    path.write_text("".join(f"{row},{row / 12}\n" for row in range(12)))
    assert isinstance(Own.parse_and_evaluate(path, "2"), medmnist.evaluator.Metrics)


@pytest.mark.parametrize("flag", ["breastmnist", "octmnist", "retinamnist", "chestmnist"])
def test_dummy_predictions_are_drawn_as_medmnist_draws_them(flag, tmp_path):
    labels, classes = (14, 2) if flag == "chestmnist" else (1, {"breastmnist": 2, "octmnist": 4}.get(flag, 5))
    write_npz(tmp_path, flag, labels=labels, classes=classes)
    drawn = []
    for judge in pairs(tmp_path, flag):
        np.random.seed(5)  # noqa: NPY002 - which medmnist draws from
        drawn.append(judge.get_dummy_prediction())
    assert np.array_equal(*drawn)


NAMES = [
    "breastmnist_test_[AUC]0.500_[ACC]0.500@3.csv", "breastmnist_64_val_x@a.b.csv", "breastmnist_train@mine.csv",
    "breastmnist_testing_7.csv", "breastmnist_64.csv", "breastmnist.csv", "nosuch_test@1.csv",
    "breastmnist_28_val@1.csv",
]


@pytest.mark.parametrize("run", [None, "again"])
@pytest.mark.parametrize("name", NAMES)
def test_result_files_are_read_and_written_again_as_medmnist_does(name, run, tmp_path, monkeypatch, capsys):
    theirs = pytest.importorskip("medmnist")
    for flag in ("breastmnist", "breastmnist_64", "breastmnist_28"):
        write_npz(tmp_path, flag, counts=(30, 30, 30))
    told = []
    for number, package in enumerate((theirs, medmnist)):
        folder = tmp_path / str(number)
        folder.mkdir()
        rng = np.random.default_rng(0)
        lines = [f"{row},{rng.random()!r},{'' if row == 40 else rng.random()!r}\n" for row in rng.permutation(30)]
        (folder / name).write_text("".join(lines))
        # which has no argument for its root
        defaults = tuple(str(tmp_path) if value == package.info.DEFAULT_ROOT else value
                         for value in package.Evaluator.__init__.__defaults__)
        monkeypatch.setattr(package.Evaluator.__init__, "__defaults__", defaults)
        more = {"root": str(tmp_path)} if package is medmnist else {}
        said = outcome(package.Evaluator.parse_and_evaluate, str(folder / name), run, **more)
        told.append((said, capsys.readouterr().out, {path.name: path.read_bytes() for path in folder.iterdir()}))
    assert told[0] == told[1]


@pytest.mark.parametrize("text", ["0,1\n1,0\n2,1\n3,0\n", "0,True\n1,False\n2,True\n3,False\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the latter of a spreadsheet
def test_whole_numbers_and_truths_stay_such(text, encoding, tmp_path):
    write_npz(tmp_path, counts=(4, 4, 4))
    path = tmp_path / "breastmnist_test@1.csv"
    path.write_text(text, encoding)
    medmnist.Evaluator.parse_and_evaluate(path, "2", root=tmp_path)
    assert next(tmp_path.glob("*@2.csv")).read_text() == text


def test_what_is_wrong_has_medmnists_kind_of_error(tmp_path):
    theirs = pytest.importorskip("medmnist")
    write_npz(tmp_path)
    (tmp_path / "pathmnist.npz").write_bytes(b"PK")
    cases = [
        ("breastmnist", "all", None, tmp_path), ("breastmnist", "val", 64, tmp_path), ("nosuch", "val", None, tmp_path),
        ("breastmnist", "val", None, tmp_path / "no"), ("breastmnist", "val", None, None),
        ("pathmnist", "val", None, tmp_path),
    ]
    for flag, split, size, root in cases:
        kinds = [outcome(package.Evaluator, flag, split, size, root)[0] for package in (medmnist, theirs)]
        assert kinds[0] == kinds[1], (flag, split, size, root)
        assert isinstance(kinds[0], type)
    judges = pairs(tmp_path, "breastmnist")
    for scores in (np.zeros(3), np.zeros((12, 2, 2))):
        kinds = [outcome(judge.evaluate, scores)[0] for judge in judges]
        assert kinds[0] == kinds[1]
        assert isinstance(kinds[0], type)


def test_results_in_the_layout_of_2020_can_be_written(tmp_path):
    path = tmp_path / "results.csv"
    medmnist.evaluator.save_results(np.array([[0], [1]]), np.array([[0.1, 0.9], [np.nan, 1]]), path)
    assert Path(path).read_text("utf-8-sig") == "id,true_0,score_0,score_1\n0,0,0.1,0.9\n1,1,,1.0\n"
