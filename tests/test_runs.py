"""Runs as values: their configuration on disk, methods that are sent to another process, datasets of any flag."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError, MmtkError
from mmtk.runs import CONFIG, LOG, Method, RunConfig, StoreFacts, ensure_config, find_runs, read_result
from mmtk.training import Job, get_method, get_protocol, list_methods, plan_runs, trained
from tests.commands import invoke
from tests.small_runs import write_small_run
from tests.small_stores import MULTILABEL, write_small_store


@pytest.fixture
def small(tmp_path):
    return write_small_store(tmp_path / "stores" / "breastmnist_8.h5")


def network(path) -> RunConfig:
    settings = {"protocol": get_protocol("quick").facts(), "model": "resnet18", "resolution": 8, "epochs": 1}
    return RunConfig(settings, 3, StoreFacts.of(store.open(path)), "cpu", {"numpy": "2"})


def test_a_configuration_is_read_as_it_was_written(small, tmp_path):
    config = network(small)
    (tmp_path / CONFIG).write_text(config.to_json())
    again = RunConfig.read(tmp_path / CONFIG)
    assert again.to_json() == config.to_json()
    assert again.store == config.store
    assert (again.setup.title, again.setup.shortened) == ("ResNet-18 (8), quick", "1 of 6 epochs")
    assert json.loads(config.to_json())["version"] == 1


@pytest.mark.parametrize(
    ("log", "seconds"),
    [
        ('{"seconds": 1.25}\n{"seconds": 2}\n', 3.25), ("", None), (None, None), ("{}\n", None), ("[1]\n", None),
        ('{"seconds": 1.0}\n{"seco', None), ('{"seconds": NaN}\n', None), ('{"seconds": -3}\n', None),
        ('{"seconds": "long"}\n', None), ('{"seconds": 1e999}\n', None),
    ],
)
def test_a_network_took_the_seconds_that_its_log_tells(small, tmp_path, log, seconds):
    run = write_small_run(small, tmp_path / "run", epochs=2)
    before = read_result(run)
    assert before.seconds == 2.0
    (run / LOG).unlink()
    if log is not None:
        (run / LOG).write_text(log)
    assert read_result(run) == replace(before, seconds=seconds)


@pytest.mark.parametrize(
    ("share", "part"), [(1 / 60, "1/60"), (0.25, "1/4"), (0.1, "1/10"), (0.3, "0.3"), (1.0, "1"), (2.5, "2.5")]
)
def test_a_share_of_the_papers_time_is_told_as_a_fraction(small, share, part):
    config = RunConfig({"method": "sklearn", "share": share}, 0, network(small).store)
    assert config.setup.title == f"sklearn, {part} of the paper's time"


def test_a_configuration_of_a_later_version_is_refused(small, tmp_path):
    values = json.loads(network(small).to_json())
    (tmp_path / CONFIG).write_text(json.dumps({**values, "version": 2}))
    with pytest.raises(MmtkError, match=r"config\.json: found version 2, expected version 1; use"):
        RunConfig.read(tmp_path / CONFIG)
    with pytest.raises(MmtkError, match="found version 2, expected 1"):
        ensure_config(tmp_path, network(small))


@pytest.mark.parametrize("method", [None, "sklearn"])
def test_runs_from_before_the_version_go_on_and_are_shown(small, tmp_path, method):
    """Their files had no version, and a method's store neither task nor channels."""
    folder = write_small_run(small, tmp_path / "runs" / "one", method=method)
    config = RunConfig.read(folder / CONFIG)
    values = json.loads(config.to_json())
    del values["version"]
    if method:
        del values["store"]["task"], values["store"]["channels"]
    (folder / CONFIG).write_text(json.dumps(values))
    ensure_config(folder, config)
    assert json.loads((folder / CONFIG).read_text()) == values
    ((run,), _) = find_runs(tmp_path / "runs", small.parent)
    assert run.setup == config.setup


def test_the_first_setting_that_differs_is_named(small, tmp_path):
    ensure_config(tmp_path, network(small))
    other = network(small)
    changed = RunConfig({**other.settings, "protocol": get_protocol("v2").facts()}, 3, other.store, "cpu")
    with pytest.raises(MmtkError, match="found protocol name quick, expected v2"):
        ensure_config(tmp_path, changed)


# ------------------------------------------------------------------- values that pickle


def constant(job: Job, *, skill: float = 0.0):
    scores = {
        split.name: np.random.default_rng(job.seed).random((len(split), len(split.info.classes))) + skill
        for split in job.store.splits
    }
    return job.leave({"method": "constant"}, lambda: scores)


def in_child(method: Method, job: Job) -> dict[str, tuple[float, float]]:
    return method.run(job).metrics


def test_a_run_is_made_in_another_process_from_plain_values(small, tmp_path):
    method = Method("constant", "constant", f"{__name__}:constant", settings={"skill": 0.1})
    entries, _ = plan_runs(small.parent, tmp_path / "runs", methods=[method], seeds=[0, 1], sizes=[8])
    assert pickle.loads(pickle.dumps(entries)) == entries
    jobs = [Job(store.open(small), tmp_path / str(entry.seed), 1.0, seed=entry.seed) for entry in entries]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        children = list(pool.map(in_child, [entry.method for entry in entries], jobs))
    here = [in_child(entry.method, Job(store.open(small), tmp_path / "here" / str(entry.seed), 1.0, seed=entry.seed))
            for entry in entries]
    assert children == here


def test_every_method_pickles_and_names_a_function_that_is_there():
    for method in (*list_methods(), trained("resnet50", "quick", 2, resolution=56)):
        again = pickle.loads(pickle.dumps(method))
        assert (again, again.function, again.settings) == (method, method.function, method.settings)
    assert get_method("sklearn").timed
    assert not get_method("resnet18_quick").timed
    missing = Method("gone", "gone", "mmtk.nothing:run")
    with pytest.raises(ArgumentError, match=r"method gone: its function mmtk.nothing:run cannot be imported"):
        missing.run(None)


# ------------------------------------------------------------------- any store


@pytest.mark.parametrize(("task", "classes"), [("binary-class", 2), ("multi-class", 3), (MULTILABEL, 3)])
def test_a_store_of_any_flag_is_scored_and_shown(tmp_path, task, classes):
    """What is needed to know of it, the store tells: mmtk knows no dataset of its flag."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    stores = tmp_path / "stores"
    path = stores / "lung_clinic_28.h5"
    write_small_store(path, (30, 12, 20), flag="lung_clinic", size=28, task=task, classes=classes)
    runs = tmp_path / "runs"
    done = invoke("decathlon", "--stores", stores, "--out", runs, "--method", "sklearn", "--budget", 2)
    assert "\nlung_clinic " in done.stdout
    assert "mean over" not in done.stdout
    (result,) = runs.rglob("lung_clinic_test_*.csv")
    done = invoke("evaluate", result, "--stores", stores, "--intervals", "--json")
    assert json.loads(done.stdout)[0]["flag"] == "lung_clinic"
    page = tmp_path / "page.html"
    invoke("report", runs, "--out", page, "--stores", stores)
    assert "Confusion matrix of lung_clinic" in page.read_text()
    without = invoke("report", runs, "--out", tmp_path / "other.html", code=1)
    assert "the dataset lung_clinic is unknown; use --stores" in str(without.exception)
