"""Datasets and methods of others: in a file of Python, or in a package that is installed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mmtk.registry import Registry
from tests.commands import run_mmtk, run_python
from tests.small_stores import MULTILABEL, write_small_store

DATASET = '''
import re
from mmtk.datasets.base import Counts, Dataset, Record, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.splits import GroupedCut
from mmtk.datasets.steps import CenterCrop, Grey, Resize, as_released

IMAGE = re.compile(r"(?:.*/)?(?P<source>(?P<kind>normal|nodule)/(?P<patient>[a-z0-9]+)_[0-9]+[.]png)")
COUNTS = Counts(8, 4, 4)

def scan(listing):
    return collect(LUNG, listing, (
        Record(m["source"], m[0], (LUNG.classes.index(m["kind"]),), m["patient"]) for m in matching(listing, IMAGE)
    ))

LUNG = Dataset(
    flag="lungmnist", title="LungMNIST", modality="chest X-ray", task=Task.BINARY, classes=("normal", "nodule"),
    channels=1, counts={"2026": COUNTS}, recipe=as_released(Grey(), CenterCrop(), Resize()), split=GroupedCut(COUNTS),
    source=Source("Lung", "CC0", "https://example.org", "<class>/<patient>_<n>.png", "Nobody", marks=("nodule",)),
    scan=scan,
)
'''
METHODS = '''
import numpy as np
import mmtk

@mmtk.method("brightness", "Mean brightness")
class Brightness:
    def __init__(self, random_state=None, budget=None):
        assert (random_state, budget) == (0, 5)

    def fit(self, X, y, X_val=None, y_val=None):
        assert X.dtype == np.uint8 and X.ndim in (3, 4) and y.shape[0] == len(X) != len(X_val) == len(y_val)
        self.classes_ = np.unique(y)
        means = X.reshape(len(X), -1).mean(axis=1)
        self.centres = np.array([means[y == label].mean() for label in self.classes_])
        return self

    def predict_proba(self, X):
        near = -abs(X.reshape(len(X), -1).mean(axis=1)[:, None] - self.centres)
        grown = np.exp(near - near.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)

def helper():
    raise LookupError("no weights\\nin this folder")

@mmtk.method("crashing", "Crashes")
def crashing(job):
    return job.leave({"method": "crashing"}, lambda: helper())

@mmtk.method("greedy", "Takes all memory")
def greedy(job):
    raise MemoryError
'''


def write_images(folder: Path) -> Path:
    for number, kind in enumerate(("normal", "nodule")):
        (folder / "Lung" / kind).mkdir(parents=True)
        for image in range(8):
            picture = np.full((40, 48), 60 + 100 * number + image, np.uint8)
            cv2.imwrite(str(folder / "Lung" / kind / f"p{number}{image // 2}_{image % 2}.png"), picture)
    return folder


def write_plugin(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def publish(folder: Path, name: str, modules: dict[str, str], points: dict[str, list[str]]) -> Path:
    """Write a package as somebody would publish it."""
    tree = folder / f"tree-{name}"
    tree.mkdir()
    for module, text in modules.items():
        (tree / f"{module}.py").write_text(text)
    lines = [
        "[build-system]", 'requires = ["setuptools"]', 'build-backend = "setuptools.build_meta"', "[project]",
        f'name = "{name}"', 'version = "0.1"', "[tool.setuptools]", f"py-modules = {json.dumps(list(modules))}",
    ]
    for group, values in points.items():
        lines += [f'[project.entry-points."{group}"]', *values]
    (tree / "pyproject.toml").write_text("\n".join(lines) + "\n")
    return tree


def install(folder: Path, *trees: Path) -> Path:
    """Install packages into a folder, as pip does without a network."""
    site = folder / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--no-input"]
    run_python("-m", "pip", "install", "-q", *options, "--target", site, *trees, code=0, cwd=folder)
    return site


def with_path(*folders: Path) -> dict[str, object]:
    return {"PYTHONPATH": os.pathsep.join(map(str, (*folders, *filter(None, [os.environ.get("PYTHONPATH")]))))}


def list_build_and_score(
    base: Path, methods_in: str, *first: object, env: dict[str, object] | None = None
) -> dict[str, Any]:
    """List, build and score an eleventh dataset by commands, and give the facts of its run; two methods fail beside."""
    sources = write_images(base / "sources")
    stores, runs = base / "stores", base / "runs"

    def mmtk(*arguments: object, code: int = 0):
        return run_mmtk(*first, *arguments, code=code, cwd=base, env=env)

    *_, last = mmtk("list").stdout.splitlines()
    assert last.split()[0] == "lungmnist"
    mmtk("build", "lungmnist", "--sources", sources, "--out", stores)
    methods = [word for name in ("brightness", "crashing", "greedy") for word in ("--method", name)]
    told = mmtk("decathlon", "--stores", stores, "--out", runs, *methods, "--budget", 5, "--json", code=1)
    good, crashed, greedy = json.loads(told.stdout)["runs"]
    assert good["splits"]["test"]["auc"] == 1
    assert good["seconds"] >= 0
    assert crashed["error"].startswith("LookupError: no weights in this folder (")
    line = METHODS[: METHODS.index("raise LookupError")].count("\n") + 1
    assert crashed["error"].endswith(f"{methods_in} line {line})")
    assert "MemoryError" in greedy["error"]
    kept = (runs / crashed["out"] / "traceback.txt").read_text()
    assert kept.startswith("Traceback (most recent call last):")
    assert "in helper" in kept
    assert "Traceback" not in told.stderr
    return good


def test_a_file_brings_a_dataset_and_methods(tmp_path: Path) -> None:
    own = DATASET.replace('counts={"2026": COUNTS}', "counts={}")  # of no edition
    mine = write_plugin(tmp_path / "mine.py", own + "import mmtk\nmmtk.register(LUNG)\n")
    methods = write_plugin(tmp_path / "my_methods.py", METHODS)
    good = list_build_and_score(tmp_path, methods.name, "--plugin", mine, "--plugin", methods)
    stores, runs = tmp_path / "stores", tmp_path / "runs"
    (csv,) = (runs / good["out"]).glob("lungmnist_test_*.csv")
    again = ("--stores", stores, "--out", runs, "--method", "brightness", "--budget", 5)
    shown = run_mmtk("--plugin", methods, "decathlon", *again, code=0).stdout
    assert f"{good['seconds']:.1f} s of 5 s" in shown
    # after the build, a store is enough
    alone = {"PYTHONPATH": None, "MMTK_PLUGINS": None}
    assert "AUC 1.000" in run_mmtk("evaluate", csv, "--stores", stores, env=alone, code=0).stdout
    run_mmtk("report", runs, "--stores", stores, "--out", tmp_path / "page.html", env=alone, code=0)
    page = (tmp_path / "page.html").read_text()
    assert "on 1 dataset.</p>" in page
    assert (tmp_path / "page.other_scores.csv").read_text().splitlines()[1] == "\"Mean brightness, 5 s\",1.000,1.000"
    assert not (tmp_path / "page.table2.csv").exists()


def test_packages_bring_a_dataset_and_methods(tmp_path: Path) -> None:
    site = install(
        tmp_path,
        publish(tmp_path, "mmtk-lung", {"lung_of_ours": DATASET}, {"mmtk.datasets": ['lung = "lung_of_ours:LUNG"']}),
        publish(tmp_path, "mmtk-ours", {"methods_of_ours": METHODS}, {"mmtk.methods": ['ours = "methods_of_ours"']}),
    )
    list_build_and_score(tmp_path, "methods_of_ours.py", env=with_path(site))


METHOD = """import mmtk

@mmtk.method("NAME", "Mine")
def mine(job):
    return None
"""


LOAD_EACH = """
import sys
from mmtk import plugins
from mmtk.errors import ArgumentError
for path in sys.argv[1:]:
    try:
        plugins.announce([path])
    except ArgumentError as error:
        print(error)
"""


def test_what_cannot_be_loaded_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    texts = {
        "no_module": ("import nosuch_at_all\n", "failed to load: ModuleNotFoundError: No module named 'nosuch_at_all' "
                      "(no_module.py line 1); fix it"),
        "no_python": ("def half(:\n", "SyntaxError: invalid syntax (no_python.py line 1)"),
        "leaves": ("import sys\n\nsys.exit('enough')\n", "SystemExit: enough (leaves.py line 3)"),
        "takes_a_flag": (DATASET.replace('"lungmnist"', '"breastmnist"') + "import mmtk\nmmtk.register(LUNG)\n",
                         "dataset breastmnist: the name breastmnist is already taken (takes_a_flag.py line"),
        "takes_an_alias": (DATASET.replace('"lungmnist"', '"organmnist_axial"') + "import mmtk\nmmtk.register(LUNG)\n",
                           "organmnist_axial is already taken (takes_an_alias.py line"),
        "takes_a_method": (METHOD.replace("NAME", "sklearn"),
                           "method sklearn: the name sklearn is already taken (takes_a_method.py line 3)"),
        "takes_a_network": (METHOD.replace("NAME", "resnet18_isbi21"),
                            "method resnet18_isbi21: the name"),
        "no_estimator": ("import mmtk\n\n@mmtk.method('mine', 'Mine')\nclass Mine:\n    fit = print\n",
                         "Mine has no predict_proba"),
        "no_dataset": ("import mmtk\nmmtk.register('lung')\n", "mmtk.datasets.base.Dataset"),
        "bad_name": (METHOD.replace("NAME", "my method"),
                     "'my method'"),
        "json": ("", "has the name of another module"),
        "my-plugin": ("", "rename it"),
    }
    paths = {name: write_plugin(tmp_path / f"{name}.py", text) for name, (text, _) in texts.items()}
    done = run_python("-c", LOAD_EACH, *paths.values(), code=0)
    for (name, path), line in zip(paths.items(), done.stdout.splitlines(), strict=True):
        assert line.startswith(f"plugin {path}: "), name
        assert texts[name][1] in line
    path = paths["takes_a_flag"]
    for first, env in ((("--plugin", path), {}), ((), {"MMTK_PLUGINS": path})):
        done = run_mmtk(*first, "list", code=2, env=env)
        assert done.stderr.startswith(f"mmtk: error: plugin {path}: ")
        assert texts["takes_a_flag"][1] in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    for path, problem in ((tmp_path / "missing.py", "does not exist"), (tmp_path, "a folder")):
        done = run_mmtk("--plugin", path, "list", code=2)
        assert done.stderr.startswith(f"mmtk: error: plugin {path}: ")
        assert problem in done.stderr


def test_a_broken_package_stops_no_command_that_does_without_it(tmp_path: Path) -> None:
    taken = DATASET.replace('"lungmnist"', '"breastmnist"')
    site = install(tmp_path, publish(tmp_path, "mmtk-broken", {"taken_by_ours": taken, "broken_of_ours": "1 / 0"}, {
        "mmtk.datasets": ['a = "broken_of_ours"', 'b = "taken_by_ours:LUNG"', 'c = "taken_by_ours:COUNTS"'],
    }))
    done = run_mmtk("list", code=0, env=with_path(site))
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]][-1] == "synapsemnist3d"
    first, second, third = done.stderr.splitlines()
    for warning, words in (
        (first, ("plugin a of mmtk-broken", "ZeroDivisionError: division by zero (broken_of_ours.py line 1)")),
        (second, ("plugin b of mmtk-broken", "breastmnist is already taken")),
        (third, ("plugin c of mmtk-broken", "expected a value of mmtk.datasets")),
    ):
        assert warning.startswith("mmtk: warning: ")
        assert all(word in warning for word in words), warning
    assert run_mmtk("doctor", code=0, env=with_path(site)).stderr == ""


def test_a_plugin_costs_no_torch(tmp_path: Path) -> None:
    plugin = write_plugin(tmp_path / "my_methods.py", METHODS)
    code = (
        f"import sys, mmtk.plugins\nmmtk.plugins.announce([{str(plugin)!r}])\n"
        "assert 'my_methods' in sys.modules\nprint({'torch', 'matplotlib', 'sklearn'} & {*sys.modules})"
    )
    assert run_python("-c", code, code=0).stdout == "set()\n"


def test_a_name_of_the_package_itself_cannot_be_taken_whatever_comes_first() -> None:
    order = []
    known: Registry[str] = Registry(
        "thing", load=lambda: (order.append("own"), known.add("ours", "name", "alias")),
        extend=lambda: (order.append("plugins"), known.add("theirs", "other")),
    )
    for taken in ("name", "alias"):
        with pytest.raises(ValueError, match="already taken"):
            known.add("theirs", taken)
    assert order == ["own"]
    assert known.names == ("name", "other")
    assert known.add("ours", "name", "alias") == "ours"
    assert order == ["own", "plugins"]


ESTIMATORS = """
import numpy as np
import mmtk

class _Seen:
    def fit(self, X, y):
        self.shapes = X.shape, y.shape, sorted(set(y.ravel().tolist()))

@mmtk.method("columns", "One column")
class Columns(_Seen):
    def predict_proba(self, X):
        return np.linspace(0, 1, len(X))

@mmtk.method("fewer", "Fewer classes")
class Fewer(_Seen):
    classes_ = np.array([2, 0])

    def predict_proba(self, X):
        return np.tile([0.9, 0.1], (len(X), 1))

@mmtk.method("lists", "Lists")
class Lists(_Seen):
    classes_ = [np.array([0, 1]), np.array([1, 0]), np.array([0])]

    def predict_proba(self, X):
        two = np.tile([0.75, 0.25], (len(X), 1))
        return [two, two, np.ones((len(X), 1))]

@mmtk.method("four", "Four arguments")
class Four:
    def __init__(self, *, seed):
        self.seed = seed

    def fit(self, images, labels, more_images, more_labels):
        self.known = len(images), len(more_images), len(more_labels)

    def predict_proba(self, X):
        return np.tile([*self.known, self.seed], (len(X), 1)) / 100

@mmtk.method("short", "Short")
class Short(_Seen):
    def predict_proba(self, X):
        return np.ones((len(X) - 1, 2))

@mmtk.method("words", "Words")
class Words(_Seen):
    def predict_proba(self, X):
        return np.full((len(X), 2), "yes")

@mmtk.method("nothing", "Nothing")
def nothing(job):
    return None
"""


@pytest.mark.parametrize(("method", "kind", "row"), [
    ("columns", {}, [1, 0]), ("fewer", {"task": "multi-class", "classes": 3}, [0.1, 0, 0.9]),
    ("lists", {"task": MULTILABEL, "classes": 3}, [0.25, 0.75, 0]),
    ("four", {"task": "multi-class", "classes": 4}, [0.12, 0.06, 0.06, 0.01]),
])
def test_what_an_estimator_gives_becomes_a_column_a_class(tmp_path: Path, method, kind, row) -> None:
    write_small_store(tmp_path / "mine_28.h5", (12, 6, 8), flag="mine", size=28, **kind)
    plugin = write_plugin(tmp_path / "estimators_of_mine.py", ESTIMATORS)
    arguments = ("decathlon", "--stores", tmp_path, "--out", tmp_path / "runs", "--method", method, "--seeds", 2)
    told = run_mmtk("--plugin", plugin, *arguments, "--json", code=0)
    run = json.loads(told.stdout)["runs"][1]
    (csv,) = (tmp_path / "runs" / "mine_28" / f"{method}_seed1").glob("mine_test_*.csv")
    assert np.loadtxt(csv, delimiter=",")[0, 1:].tolist() == row
    assert run["splits"]["test"]["images"] == 8


@pytest.mark.parametrize(("method", "words"), [
    ("short", ("short on train", "(12, 2)", "(11, 2)")), ("words", ("words", "<U3")),
    ("nothing", ("method nothing", "Job.leave", "NoneType")),
])
def test_what_is_no_score_is_the_outcome_of_its_run(tmp_path: Path, method, words) -> None:
    write_small_store(tmp_path / "mine_28.h5", (12, 6, 8), flag="mine", size=28)
    plugin = write_plugin(tmp_path / "estimators_of_mine.py", ESTIMATORS)
    arguments = ("decathlon", "--stores", tmp_path, "--out", tmp_path / "runs", "--method", method, "--json")
    told = run_mmtk("--plugin", plugin, *arguments, code=1)
    error = json.loads(told.stdout)["runs"][0]["error"]
    assert all(word in error for word in words), error


PARENT = """
import multiprocessing, subprocess, sys

def double(number):
    return 2 * number

def go():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
    print(subprocess.run([sys.executable, "-m", "mmtk", "list"], check=True, capture_output=True, text=True).stdout)
"""


def test_processes_that_are_started_import_it_too(tmp_path: Path) -> None:
    mine = write_plugin(tmp_path / "mine.py", DATASET + "import mmtk\nmmtk.register(LUNG)\n")
    parent = write_plugin(tmp_path / "parent_of_mine.py", PARENT)
    code = (
        f"import mmtk.plugins\nmmtk.plugins.announce([{str(mine)!r}, {str(parent)!r}])\n"
        "import parent_of_mine\nif __name__ == '__main__':\n    parent_of_mine.go()\n"
    )
    done = run_python("-c", code, cwd=Path("/"), code=0)
    assert done.stdout.startswith("[2, 4]\n")
    assert "\nlungmnist " in done.stdout
