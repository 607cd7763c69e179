"""The commands that mmtk ships: AutoKeras itself where it is installed, the others by stubs in their tools' place."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import mmtk
from mmtk import store
from mmtk.errors import MmtkError
from mmtk.training.methods import Job, get_method
from tests.commands import run_python
from tests.small_stores import write_small_store

SCRIPTS = Path(mmtk.__file__).parent / "training" / "scripts"
SPLITS = {"train": 40, "val": 16, "test": 12}
SEVEN = "multi-label, binary-class"

SKLEARN = """
import json, numpy as np

class AutoSklearnClassifier:
    def __init__(self, **settings):
        json.dump(settings, open("settings.json", "w"))
        self.cv_results_ = {"status": np.array(["Timeout", "STATUS"])}

    def fit(self, images, labels):
        json.dump([images.shape, labels.shape], open("shapes.json", "w"))
        self.columns = labels.shape[1] if labels.ndim == 2 else len(set(labels))

    def sprint_statistics(self):
        return "statistics"

    def predict_proba(self, images):
        return np.tile(np.arange(1.0, self.columns + 1), (len(images), 1))
"""

GLUON = """
import json

class TabularPredictor:
    def __init__(self, label, **settings):
        self.label, self.settings = label, settings

    def fit(self, train, tuning_data, **settings):
        self.classes = sorted(set(train[self.label]))
        told = {**self.settings, **settings, "val": sorted(set(tuning_data[self.label].tolist()))}
        with open("settings.jsonl", "a") as file:
            file.write(json.dumps(told) + "\\n")

    def predict_proba(self, images):
        import pandas
        assert self.label not in images
        return pandas.DataFrame({name: [float(name + 1)] * len(images) for name in reversed(self.classes)})
"""


def write_task(folder: Path, task: str, classes: int, *, absent: int = -1, budget: float = 600, shape=(28, 28)) -> Path:
    """A folder as mmtk writes it for a command; train and val hold no image of the class `absent`."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    known = np.array([number for number in range(classes) if number != absent])
    for split, count in SPLITS.items():
        images = noise.integers(0, 256, (count, *shape), np.uint8)
        labels = known[np.arange(count) % len(known)].astype(np.uint8)[:, None]
        images[labels[:, 0] == 0] //= 2  # so that there is something to learn
        if task == SEVEN:
            labels = noise.integers(0, 2, (count, classes), np.uint8)
        arrays = {"images": images} if split == "test" else {"images": images, "labels": labels}
        np.savez(folder / f"{split}.npz", **arrays)
    told = {"version": 1, "dataset": "own", "title": "Own", "task": task, "shape": shape, "images": SPLITS,
            "classes": [f"class {number}" for number in range(classes)], "budget": budget, "seed": 3, "device": "cpu"}
    (folder / "task.json").write_text(json.dumps(told))
    return folder


def write_stub(place: Path, name: str, text: str) -> dict[str, object]:
    """The environment in which a module is what `text` says."""
    path = place / f"{name.replace('.', '/')}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return {"PYTHONPATH": place}


def run_script(name: str, folder: Path, **options) -> subprocess.CompletedProcess[str]:
    return run_python(SCRIPTS / name, folder, cwd=folder, **options)


def read_scores(folder: Path) -> dict[str, np.ndarray]:
    assert not list(folder.glob("*.partial"))
    return {split: np.load(folder / f"scores_{split}.npy") for split in SPLITS}


def test_autosklearn_has_the_authors_settings_and_a_column_for_a_class_that_train_lacks(tmp_path):
    folder = write_task(tmp_path / "work", "multi-class", 4, absent=1)
    (folder / "autosklearn").mkdir()  # what a killed search left
    stub = write_stub(tmp_path / "stub", "autosklearn.classification", SKLEARN.replace("STATUS", "Success"))
    assert "statistics" in run_script("autosklearn.py", folder, env=stub, code=0).stdout
    told = json.loads((folder / "settings.json").read_text())
    seconds = told.pop("time_left_for_this_task")
    assert 400 < seconds <= 450
    assert told.pop("per_run_time_limit") == seconds // 10
    assert told == {"memory_limit": 9216, "n_jobs": 4, "seed": 3, "tmp_folder": str(folder / "autosklearn")}
    assert not (folder / "autosklearn").exists()
    assert json.loads((folder / "shapes.json").read_text()) == [[40, 784], [40]]
    for split, scores in read_scores(folder).items():
        assert scores.tolist() == [[1, 0, 2, 3]] * SPLITS[split]


def test_autosklearn_takes_labels_in_columns(tmp_path):
    folder = write_task(tmp_path / "work", SEVEN, 3)
    stub = write_stub(tmp_path / "stub", "autosklearn.classification", SKLEARN.replace("STATUS", "Success"))
    run_script("autosklearn.py", folder, env=stub, code=0)
    assert json.loads((folder / "shapes.json").read_text()) == [[40, 784], [40, 3]]
    assert read_scores(folder)["test"].tolist() == [[1, 2, 3]] * SPLITS["test"]


@pytest.mark.parametrize(
    ("status", "budget", "said"), [("Timeout", 600, "no fit succeeded"), ("Success", 30, "use at least 45 s")]
)
def test_autosklearn_leaves_no_scores_by_chance(tmp_path, status, budget, said):
    folder = write_task(tmp_path / "work", "binary-class", 2, budget=budget)
    stub = write_stub(tmp_path / "stub", "autosklearn.classification", SKLEARN.replace("STATUS", status))
    done = run_script("autosklearn.py", folder, env=stub, code=1)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(folder.glob("scores*"))


def test_autogluon_keeps_rare_classes_and_weighs_by_val(tmp_path):
    pytest.importorskip("pandas", reason="AutoGluon's tables are pandas's")
    folder = write_task(tmp_path / "work", "multi-class", 4, absent=1)
    run_script("autogluon.py", folder, env=write_stub(tmp_path / "stub", "autogluon.tabular", GLUON), code=0)
    told = json.loads((folder / "settings.jsonl").read_text())
    assert told["learner_kwargs"] == {"label_count_threshold": 1}
    assert told["presets"] == "medium_quality"
    assert told["problem_type"] == "multiclass"
    assert told["eval_metric"] == "log_loss"  # AUC has no mean where val lacks a class
    assert told["val"] == [0, 2, 3]
    assert 300 < told["time_limit"] <= 360
    assert read_scores(folder)["train"].tolist() == [[1, 0, 3, 4]] * SPLITS["train"]


def test_autogluon_has_a_predictor_for_each_label(tmp_path):
    pytest.importorskip("pandas", reason="AutoGluon's tables are pandas's")
    folder = write_task(tmp_path / "work", SEVEN, 3)
    done = run_script("autogluon.py", folder, env=write_stub(tmp_path / "stub", "autogluon.tabular", GLUON), code=0)
    told = [json.loads(line) for line in (folder / "settings.jsonl").read_text().splitlines()]
    assert len({one["path"] for one in told}) == 3
    assert [one["eval_metric"] for one in told] == ["roc_auc"] * 3
    assert told[0]["time_limit"] <= 120  # a third of what there is for all
    assert "class 2: label 3 of 3" in done.stdout
    assert read_scores(folder)["test"].tolist() == [[2, 2, 2]] * SPLITS["test"]


@pytest.mark.parametrize("name", ["autokeras", "autosklearn", "autogluon"])
def test_a_tool_that_is_not_installed_is_said_in_one_line(tmp_path, name):
    folder = write_task(tmp_path / "work", "binary-class", 2)
    stub = write_stub(tmp_path / "stub", name, "raise ImportError('no such tool')")
    done = run_script(f"{name}.py", folder, env=stub, code=1)
    assert done.stderr.startswith(f"{name}.py: ")
    assert len(done.stderr.splitlines()) == 1


def test_autokeras_refuses_volumes_in_one_line(tmp_path):
    folder = write_task(tmp_path / "work", "binary-class", 2, shape=(8, 8, 8))
    done = run_script("autokeras.py", folder, code=1)
    assert done.stderr == "autokeras.py: volumes are not supported by AutoKeras 3\n"


def test_autokeras_is_a_method_and_says_so_where_it_is_not_installed(tmp_path, monkeypatch):
    from mmtk.training import _autokeras

    assert get_method("autokeras").title == "AutoKeras"
    monkeypatch.setattr(_autokeras, "find_spec", lambda name: None)
    with pytest.raises(MmtkError, match=r"the package autokeras, .* pip install 'mmtk\[autokeras\]'"):
        _autokeras.autokeras(None)


def test_what_autokeras_costs_is_said_before_it_starts(tmp_path, monkeypatch, caplog):
    from mmtk.training import _autokeras

    monkeypatch.setattr(_autokeras, "find_spec", lambda name: name)
    monkeypatch.setattr(_autokeras.commands, "run", lambda *given, **more: None)
    job = Job(store.open(write_small_store(tmp_path / "x.h5")), tmp_path / "run", 60)
    _autokeras.autokeras(job)
    assert "20 trials of 20 epochs of 20 images, budget 60 s" in caplog.text
    assert "On two cores the first trial" in caplog.text
    assert "On a GPU" in caplog.text
    job.out.mkdir()
    (job.out / "result.json").touch()
    caplog.clear()
    _autokeras.autokeras(job)
    assert not caplog.text


def test_autokeras_is_given_a_column_a_class():
    spec = importlib.util.spec_from_file_location("autokeras_script", SCRIPTS / "autokeras.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    three, two = ({"task": "multi-class", "classes": list("abc")[:count]} for count in (3, 2))
    assert script.targets(three, np.array([[2], [0]], np.uint8)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert script.targets(two, np.array([[1], [0]], np.uint8)).tolist() == [[1], [0]]
    assert script.columns(two, np.array([[0.25], [1.0]])).tolist() == [[0.75, 0.25], [0, 1]]
    labels = {"task": SEVEN, "classes": ["a", "b"]}
    assert script.targets(labels, np.array([[1, 1]], np.uint8)).tolist() == [[1, 1]]
    assert script.columns(labels, np.array([[0.25, 0.5]])).tolist() == [[0.25, 0.5]]


# runs the script with fewer trials and epochs, and, where trials are not to be run, with scores made up for them
DRIVE = f"""
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("script", {str(SCRIPTS / "autokeras.py")!r})
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.prepare()
from autokeras.tuners import task_specific
del task_specific.IMAGE_CLASSIFIER[1]  # ResNet-50 at 224 px, too slow for a test

made = script.searching

def pretending(*given):
    class Pretending(made(*given)):
        def run_trial(self, trial, **data):
            if int(trial.trial_id) == dying:
                os.kill(os.getpid(), signal.SIGKILL)
            script.np.random.seed()  # a trial leaves the generator in any state
            return {{script.OBJECTIVE: int(trial.trial_id) * 7 % 10 / 10}}

        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            print(sorted(trial.hyperparameters.values.items()))
    return Pretending

"""


@pytest.fixture
def needs_autokeras():
    if find_spec("autokeras") is None:
        pytest.skip("autokeras is not installed; pip install 'mmtk[autokeras]'")


def test_autokeras_leaves_scores_of_the_best_and_names_what_would_be_downloaded(tmp_path, needs_autokeras):
    folder = write_task(tmp_path / "work", "binary-class", 2)
    program = DRIVE + """script.TRIALS, script.EPOCHS = 2, 1
folder = Path(sys.argv[1])
script.main(folder)
print("once more")
for path in folder.glob("scores*"):
    path.rename(folder / f"old_{path.name}")
script.main(folder)
"""
    lines, again = (part.splitlines() for part in run_python("-c", program, folder, code=0).stdout.split("once more"))
    assert lines[0] == "AutoKeras: up to 2 trials of 1 epochs of 40 images, budget 600 s."
    assert "GPU" in lines[2]
    assert "not measured" in lines[2]
    first, second = lines[4:6]
    assert first.startswith("trial 1: vanilla, val AUC ")
    assert second.startswith("trial 2: EfficientNet-B7 at 224 px pretrained, failed, ")
    assert second.endswith("its weights would have to be downloaded")
    assert lines[6:] == ["completed trials: 1"]
    scores = read_scores(folder)
    assert {split: array.shape for split, array in scores.items()} == {split: (n, 2) for split, n in SPLITS.items()}
    with np.load(folder / "val.npz") as val:
        auc = roc_auc_score(val["labels"].ravel(), scores["val"][:, 1])
    assert float(first.split("val AUC ")[1][:6]) == pytest.approx(auc, abs=0.02)  # Keras's is by 200 thresholds
    assert not list(folder.rglob("*.weights.h5"))
    assert [line.endswith("from an earlier search") for line in again[-3:]] == [True, False, False]
    assert ", failed, from an earlier search: " in again[-2]
    for split, array in scores.items():  # mmtk takes away what a command that crashed had left
        assert np.array_equal(array, np.load(folder / f"old_scores_{split}.npy"))


def test_autokeras_tries_the_same_trials_for_a_seed_and_goes_on_after_a_kill(tmp_path, needs_autokeras):
    whole, killed = (write_task(tmp_path / name, "binary-class", 2) for name in ("whole", "killed"))
    program = DRIVE + "script.searching, dying = pretending, 6\nscript.main(Path(sys.argv[1]))\n"
    first = run_python("-c", program, killed, code=-signal.SIGKILL).stdout.splitlines()[4:]
    assert len(first) == 2 * 6
    program = DRIVE + "script.searching, dying = pretending, None\nfor path in sys.argv[1:]: script.main(Path(path))\n"
    lines = run_python("-c", program, killed, whole, code=0).stdout.splitlines()
    ends = [number for number, line in enumerate(lines) if line == "completed trials: 20"]
    assert len(ends) == 2
    of_killed, of_whole = ([line for line in part if line[0] == "["] for part in (lines[: ends[0]], lines[ends[0] :]))
    assert len(set(of_whole)) == 20
    assert first[1::2] + of_killed == of_whole
    assert sum("from an earlier search" in line for line in lines) == 6
