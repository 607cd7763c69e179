"""FLAML as a method."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import MmtkError
from mmtk.training import _flaml
from mmtk.training.methods import Job, get_method, list_methods
from tests.small_stores import MULTILABEL, write_lacking_store
from tests.test_search import TASKS, write_learnable


def by_flaml(opened, out, budget=2.0, seed=0):
    return get_method("flaml").run(Job(opened, out, budget, seed=seed))


@pytest.fixture
def installed():
    for name in _flaml.PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.mark.parametrize("task", TASKS)
def test_it_learns_and_says_nothing(installed, tmp_path, task, capfd):
    opened = write_learnable(tmp_path / "learnable.h5", task)
    result = by_flaml(opened, tmp_path / "run", budget=4)
    assert result.metrics["test"].auc > 0.9
    assert result.images == {"train": 400, "val": 80, "test": 80}
    assert capfd.readouterr() == ("", "")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["method"] == "flaml"


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("task", ["multi-class", MULTILABEL])
def test_a_class_that_is_missing_in_val_is_no_trouble(installed, tmp_path, monkeypatch, task, many):
    if many:
        monkeypatch.setattr(_flaml, "_SMALL", 10)
    kind = {"classes": 3, "flag": "pathmnist", "channels": 3} if task == "multi-class" else {}
    opened = store.open(write_lacking_store(tmp_path / "lacking.h5", ["val"], (60, 12, 12), task=task, **kind))
    result = by_flaml(opened, tmp_path / "run")
    assert np.isnan(result.metrics["val"].auc)
    assert np.isfinite(result.metrics["test"].auc)


def test_val_decides_where_there_are_many_images(installed, tmp_path, monkeypatch):
    from flaml import AutoML

    given = []
    fit = AutoML.fit
    monkeypatch.setattr(AutoML, "fit", lambda self, *args, **options: given.append(options) or fit(
        self, *args, **options
    ))
    opened = write_learnable(tmp_path / "learnable.h5", "binary-class", (100, 30, 30))
    by_flaml(opened, tmp_path / "few")
    monkeypatch.setattr(_flaml, "_SMALL", 50)
    by_flaml(opened, tmp_path / "many", seed=3)
    assert [options["eval_method"] for options in given] == ["cv", "holdout"]
    assert [options["seed"] for options in given] == [0, 3]
    assert len(given[1]["X_val"]) == 30
    assert "X_val" not in given[0]
    assert all(options["time_budget"] < 2 for options in given)


def test_rare_classes_and_labels_of_one_value_are_fitted(installed, tmp_path):
    opened = write_learnable(tmp_path / "learnable.h5", MULTILABEL, (60, 20, 20))
    arrays = {split.name: (split.images, split.labels.copy(), split.records) for split in opened.splits}
    arrays["train"][1][:, 1] = 0
    one = store.open(store.write_store(tmp_path / "one.h5", replace(opened.info, partial=True), arrays))
    assert by_flaml(one, tmp_path / "a").metrics["test"].auc > 0.6
    opened = write_learnable(tmp_path / "learnable.h5", "multi-class", (60, 20, 20))
    arrays = {split.name: (split.images, split.labels.copy(), split.records) for split in opened.splits}
    labels = arrays["train"][1]
    labels[np.nonzero(labels == 2)[0][1:]] = 0
    rare = store.open(store.write_store(tmp_path / "rare.h5", opened.info, arrays))
    assert by_flaml(rare, tmp_path / "b").metrics["test"].auc > 0.6


def test_the_extra_brings_every_package_it_needs():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", one)[0].removesuffix("-cpu") for one in project["optional-dependencies"]["flaml"]}
    assert names == set(_flaml.PACKAGES)


def test_without_the_extra_it_is_listed_and_refused_in_one_line(tmp_path, monkeypatch):
    assert "flaml" in {method.name for method in list_methods()}
    found = importlib.util.find_spec
    monkeypatch.setattr(_flaml, "find_spec", lambda name: None if name == "lightgbm" else found(name))
    opened = write_learnable(tmp_path / "learnable.h5", "binary-class", (20, 8, 8))
    monkeypatch.setattr(_flaml, "_predictions", lambda job: pytest.fail("it was run"))
    if found("flaml"):
        line = r"method flaml: needs the package lightgbm, .*; pip install 'mmtk\[flaml\]'$"
    else:
        line = r"method flaml: needs the package flaml, .*; pip install 'mmtk\[flaml\]'$"
    with pytest.raises(MmtkError, match=line):
        by_flaml(opened, tmp_path / "run")
