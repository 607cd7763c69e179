"""Training is deterministic, goes on after a kill as if nothing had happened, and says clearly what is wrong."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mmtk
from mmtk.errors import ArgumentError, MmtkError, ScoreError
from mmtk.loader import Augmentation
from mmtk.runs import jsonfiles
from mmtk.scoring import evaluate, read_predictions
from mmtk.training import Protocol, checkpoints, get_protocol
from tests.small_stores import MULTILABEL, write_lacking_store, write_small_store

torch = pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import _fit, build_model, fit  # noqa: E402

pytestmark = pytest.mark.usefixtures("thin_models")

SHORT = replace(get_protocol("isbi21"), batch_size=8, epochs=3)


@pytest.fixture
def store(tmp_path):
    return mmtk.open(write_small_store(tmp_path / "breastmnist_8.h5", (20, 6, 9)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A whole run of the same store, which no test may change."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train(mmtk.open(write_small_store(folder / "breastmnist_8.h5", (20, 6, 9))), folder / "run")
    return folder / "run"


def train(store, out, protocol=SHORT, **options):
    return fit(store, protocol, "resnet18", out, device="cpu", **options)


def outcome(out):
    """Everything a run leaves that must not depend on clock or interruptions."""
    log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "images_per_second")
    last = checkpoints.load(out / "last.pt")["model"]
    return {
        "best": (out / "best.pt").read_bytes(),
        "last": {name: value.numpy().tobytes() for name, value in last.items()},
        "result": (out / "result.json").read_text(),
        "predictions": {p.name: p.read_bytes() for p in out.glob("*.csv")},
        "log": [{k: v for k, v in line.items() if k not in timing} for line in log],
    }


def test_same_seed_same_bytes_and_the_callers_generator_is_left_alone(store, tmp_path, undisturbed):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(store, tmp_path / "same")
    assert torch.equal(torch.get_rng_state(), before)
    assert outcome(tmp_path / "same") == outcome(undisturbed)
    train(store, tmp_path / "other", seed=1)
    assert outcome(tmp_path / "other")["last"] != outcome(undisturbed)["last"]


class Killed(BaseException):
    pass


def _kill_in_epoch(monkeypatch):
    def progress(done, total):
        if done == 5:
            raise Killed
    return {"progress": progress}


def _kill_after_epoch(monkeypatch):
    def report(line):
        if line["epoch"] == 2:
            raise Killed
    return {"report": report}


def _kill_between_checkpoints(monkeypatch):
    save, calls = checkpoints.save, []

    def dying(path, state):
        calls.append(path.name)
        if calls.count("last.pt") == 2:
            raise Killed
        save(path, state)
    monkeypatch.setattr(checkpoints, "save", dying)
    return {}


def _kill_while_scoring(monkeypatch):
    write = jsonfiles.write_object

    def dying(path, values):
        if path.name == "result.json":
            raise Killed
        write(path, values)
    monkeypatch.setattr(jsonfiles, "write_object", dying)
    return {}


_KILLS = [_kill_in_epoch, _kill_after_epoch, _kill_between_checkpoints, _kill_while_scoring]


@pytest.mark.parametrize("kill", _KILLS, ids=lambda kill: kill.__name__)
def test_a_killed_run_goes_on_as_if_undisturbed(store, tmp_path, monkeypatch, undisturbed, kill):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        train(store, tmp_path / "killed", **kill(patch))
    assert not (tmp_path / "killed" / "result.json").exists()
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "train_l')  # a line cut short by the kill
    (tmp_path / "killed" / ".last.pt.0000abcd.mmtk").write_bytes(b"half a checkpoint")
    train(store, tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(undisturbed)
    assert [line["epoch"] for line in outcome(tmp_path / "killed")["log"]] == [1, 2, 3]
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == sorted(
        p.name for p in undisturbed.iterdir()
    )


@pytest.mark.usefixtures("resnets")
def test_what_a_run_leaves(store, tmp_path):
    out = tmp_path / "run"
    result = train(store, out)
    log = outcome(out)["log"]
    aucs = [line["val_auc"] for line in log]
    assert result.best_epoch == 1 + int(np.argmax(aucs))
    assert result.metrics["val"].auc == max(aucs)
    assert result.images == {"train": 20, "val": 6, "test": 9}
    config = json.loads((out / "config.json").read_text())
    assert config["protocol"]["name"] == "isbi21"
    assert config["store"]["content"] == store.content_digest()
    assert config["store"]["synthetic"] is False
    assert config["made_with"]["torch"] == torch.__version__
    assert config["made_with"]["threads"] == torch.get_num_threads()
    assert (config["precision"], config["resolution"], config["processes"]) == ("float32", 8, 1)
    weights = torch.load(out / "best.pt", weights_only=True)
    build_model("resnet18", 1, 2).load_state_dict(weights)
    files = sorted(out.glob("breastmnist_8_*.csv"))
    assert len(files) == 3
    for file in files:
        found = read_predictions(file)
        assert found.run == "resnet18_8_isbi21_seed0"
        labels = getattr(store, found.split).labels
        assert found.scores.shape == (len(labels), 2)
        np.testing.assert_allclose(found.scores.sum(axis=1), 1, atol=1e-5)
        assert evaluate(labels, found.scores, store.info.task) == result.metrics[found.split]


def test_a_finished_run_is_left_alone(store, tmp_path):
    first = train(store, tmp_path / "run")
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    again = train(store, tmp_path / "run")
    assert (first.reused, again.reused) == (False, True)
    assert replace(again, reused=False) == first
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == times


def test_two_trainings_in_one_folder_are_refused(store, tmp_path):
    def second(line):
        with pytest.raises(MmtkError, match="another process"):
            train(store, tmp_path / "run", epochs=1)

    train(store, tmp_path / "run", epochs=1, report=second)
    assert train(store, tmp_path / "run", epochs=1).reused


def test_a_run_of_another_configuration_is_refused_by_the_field_that_differs(store, tmp_path):
    out = tmp_path / "run"
    train(store, out, epochs=1)
    with pytest.raises(MmtkError, match=r"found seed 0, expected 1; choose another --out"):
        train(store, out, epochs=1, seed=1)
    with pytest.raises(MmtkError, match="found epochs 1, expected 2"):
        train(store, out, epochs=2)
    with pytest.raises(MmtkError, match=r"found protocol learning_rate 0\.001, expected 0\.1"):
        train(store, out, replace(SHORT, learning_rate=0.1), epochs=1)
    other = mmtk.open(write_small_store(tmp_path / "other.h5", (20, 6, 9), seed=1))
    with pytest.raises(MmtkError, match="found store content"):
        train(other, out, epochs=1)


@pytest.mark.parametrize("name", ["last.pt", "config.json"])
def test_a_damaged_run_is_one_line(store, tmp_path, name):
    with pytest.raises(Killed):
        train(store, tmp_path, **_kill_after_epoch(None))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MmtkError, match=f"{name}: .* remove the run's folder") as error:
        train(store, tmp_path)
    assert "\n" not in str(error.value)


class Code:
    """Objects whose pickle calls a function."""

    def __reduce__(self):
        return print, ("code has run",)


def _with(*path, value=None, drop=False):
    """Change what lies at a path of keys in a checkpoint."""
    def change(state):
        *way, last = path
        for key in way:
            state = state[key]
        if drop:
            del state[last]
        else:
            state[last] = value(state[last]) if callable(value) else value
    return change


_DATA = {
    "empty": b"", "text": b"no checkpoint",
    "an empty zip": b"PK\x05\x06" + bytes(18), "half a zip": b"PK\x03\x04" + bytes(500),
    "a plain pickle": pickle.dumps({"log": []}), "a deep pickle": b"PK\x03\x04" + b"(" * 100_000,
}
_WHOLE = {
    "a list": [1], "None": None, "a number": 3, "a tensor": torch.zeros(3), "a dict": {}, "code": {"log": Code()},
    "a model": {"model": {}},
}
_LAST = {
    **{f"no {name}": _with(name, drop=True) for name in ("model", "optimiser", "log")},
    **{f"{name} None": _with(name, value=None) for name in ("model", "optimiser", "log")},
    "log text": _with("log", value="two lines"), "log of text": _with("log", value=["a", "b"]),
    "log empty": _with("log", value=[]), "log too long": _with("log", value=lambda log: log * 4),
    "NaN epoch": _with("log", 1, "epoch", value=float("nan")), "epoch 1 again": _with("log", 1, "epoch", value=1),
    "epoch as text": _with("log", 1, "epoch", value="2"), "loss as text": _with("log", 0, "val_loss", value="0.5"),
    "loss infinite": _with("log", 0, "val_loss", value=float("inf")),
    "AUC of 7": _with("log", 0, "val_auc", value=7.0), "no AUC": _with("log", 0, "val_auc", drop=True),
    "a tensor in the log": _with("log", 0, "seconds", value=torch.zeros(1)),
    "a weight less": _with("model", "fc.bias", drop=True),
    "a weight more": _with("model", "more", value=torch.zeros(1)),
    "a weight as list": _with("model", "fc.bias", value=[0.0, 0.0]),
    "other shape": _with("model", "fc.bias", value=torch.zeros(3)),
    "other dtype": _with("model", "fc.bias", value=torch.zeros(2, dtype=torch.float64)),
    "whole numbers": _with("model", "fc.bias", value=torch.zeros(2, dtype=torch.int64)),
    "sparse": _with("model", "fc.bias", value=torch.zeros(2).to_sparse()),
    "NaN weight": _with("model", "fc.bias", value=torch.full((2,), torch.nan)),
    "a huge weight": _with("model", "fc.bias", value=torch.zeros(1).expand(1 << 40)),
    "no states": _with("optimiser", "state", value={}), "states as list": _with("optimiser", "state", value=[]),
    "a state less": _with("optimiser", "state", 3, drop=True),
    "a state of other shape": _with("optimiser", "state", 3, "momentum_buffer", value=torch.zeros(2)),
    "a state None": _with("optimiser", "state", 3, "momentum_buffer", value=None),
    "a state NaN": _with("optimiser", "state", 3, "momentum_buffer", value=lambda old: old * torch.nan),
    "another optimiser's state": _with("optimiser", "state", 3, value={"exp_avg": torch.zeros(2)}),
}


@pytest.fixture
def half(store, tmp_path):
    with pytest.raises(Killed):
        train(store, tmp_path / "run", **_kill_after_epoch(None))
    return tmp_path / "run"


def _refused(store, run, name):
    with pytest.raises(MmtkError, match=rf"/{name}[^/]*: .*; remove the run's folder$") as error:
        train(store, run)
    assert len(str(error.value)) < 400
    assert not (run / "result.json").exists()


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_what_is_no_checkpoint_is_one_line(store, half, name, capsys):
    if name == "best.pt":
        train(store, half)
        (half / "result.json").unlink()
    path, kept = half / name, (half / name).read_bytes()
    for content in _DATA.values():
        path.write_bytes(content)
        _refused(store, half, name)
    for size in (4, 40, len(kept) // 2, len(kept) - 30, len(kept) - 1):
        path.write_bytes(kept[:size])
        _refused(store, half, name)
    for state in _WHOLE.values():
        torch.save(state, path)
        _refused(store, half, name)
    path.unlink()
    path.mkdir()
    _refused(store, half, name)
    path.rmdir()
    if name == "best.pt":
        _refused(store, half, name)
    assert "code has run" not in capsys.readouterr().out


def test_a_checkpoint_that_declares_more_than_it_holds_is_one_line(store, half):
    state = checkpoints.load(half / "last.pt")
    state["model"]["fc.bias"] = torch.zeros(1027)
    torch.save(state, half / "last.pt")
    with zipfile.ZipFile(half / "last.pt") as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(half / "last.pt", "w") as file:
        for name, content in parts.items():  # BININT2 1027 is the storage's length, and the tensor's
            huge = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")
            file.writestr(name, content.replace(b"M\x03\x04", huge) if name.endswith("data.pkl") else content)
    _refused(store, half, "last.pt")


def test_what_is_wrong_in_a_checkpoint_is_one_line(store, half):
    kept = (half / "last.pt").read_bytes()
    for change in _LAST.values():
        (half / "last.pt").write_bytes(kept)
        state = checkpoints.load(half / "last.pt")
        change(state)
        checkpoints.save(half / "last.pt", state)
        _refused(store, half, "last.pt")
    (half / "last.pt").write_bytes(kept)
    assert train(store, half).epochs == 3


def test_what_a_protocol_sets_is_not_taken_from_a_checkpoint(store, half, undisturbed):
    state = checkpoints.load(half / "last.pt")
    state["optimiser"]["param_groups"] = [{"lr": "high", "params": "none"}]
    state |= {"best_auc": 7.0, "best_epoch": "last"}  # of an earlier version
    checkpoints.save(half / "last.pt", state)
    train(store, half)
    assert outcome(half) == outcome(undisturbed)


_JSON = {
    "empty": b"", "half": b'{"seed": 0,', "a list": b"[]", "null": b"null", "text": b'"run"', "a number": b"7",
    "deep": b"[" * 100_000, "NaN": b'{"seed": NaN}',
    "Latin-1": b'{"model": "\xfc"}', "UTF-16": '{"seed": 0}'.encode("utf-16"),
    "a huge number": b'{"seed": ' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_what_is_no_json_object_of_a_run_is_one_line(store, tmp_path, undisturbed, name):
    shutil.copytree(undisturbed, tmp_path / "run")
    path = tmp_path / "run" / name
    whole = json.loads(path.read_bytes())
    contents = list(_JSON.values())
    if name == "result.json":
        contents += [json.dumps(other).encode() for other in wrong_results(whole)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(MmtkError, match=rf"/{name}[^/]*: .*; remove the run's folder$") as error:
            train(store, tmp_path / "run")
        assert len(str(error.value)) < 400
    path.unlink()
    path.mkdir()
    with pytest.raises(MmtkError, match=rf"/{name}: cannot be read: is a directory"):
        train(store, tmp_path / "run")


def wrong_results(whole):
    """Results that are JSON objects, each with one thing wrong."""
    for name in whole:
        if name != "checksum":  # which who writes results otherwise need not know
            yield {key: value for key, value in whole.items() if key != name}
        yield whole | {name: None}
        yield whole | {name: "1"}
        yield whole | {name: []}
    test = whole["splits"]["test"]
    for name, wrong in (
        ("auc", (1.5, "0.5", [], True)), ("acc", (None, -0.1, "0.5")), ("images", (-1, 6.5, "9", None)),
        ("file", (None, 5, "a\0b", "a\ud800b")),
    ):
        for value in wrong:
            yield whole | {"splits": whole["splits"] | {"test": test | {name: value}}}
        yield whole | {"splits": whole["splits"] | {"test": {key: test[key] for key in test if key != name}}}
    yield whole | {"splits": {"test": test}}
    yield whole | {"splits": whole["splits"] | {"more": test}}
    yield whole | {"splits": whole["splits"] | {"val": [test]}}
    val = whole["splits"]["val"]  # which no predictions are held against
    yield whole | {"splits": whole["splits"] | {"val": val | {"auc": val["auc"] / 2 + 0.1}}}
    yield whole | {"epochs": whole["epochs"] + 1}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("name", ["last.pt", "config.json"])
def test_an_error_of_the_system_while_resuming_is_told_as_it_is(store, half, monkeypatch, number, name):
    way = "read_bytes" if name == "last.pt" else "read_text"
    read = getattr(Path, way)

    def failing(path, *arguments, **options):
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, way, failing)
    with pytest.raises(OSError, match=rf"{os.strerror(number)}.*{name}"):
        train(store, half)
    monkeypatch.undo()
    assert train(store, half).epochs == 3


# ------------------------------------------------------------------- a part of a dataset


def lacking(path, task, lost, *, classes=3, partial=True):
    return mmtk.open(write_lacking_store(path, lost, (20, 8, 8), task=task, classes=classes, partial=partial))


@pytest.mark.parametrize("task", ["binary-class", "multi-class", "ordinal-regression", MULTILABEL])
@pytest.mark.parametrize("lost", [("val",), ("train", "test"), ("train", "val", "test")])
def test_a_partial_store_that_lacks_a_class_is_trained_and_what_needs_it_is_undefined(tmp_path, task, lost):
    classes = 2 if task == "binary-class" else 3
    store = lacking(tmp_path / "s.h5", task, lost, classes=classes)
    result = train(store, tmp_path / "run", epochs=2)
    assert [name for name in ("train", "val", "test") if np.isnan(result.metrics[name].auc)] == list(lost)
    assert all(0 <= metrics.acc <= 1 for metrics in result.metrics.values())
    text = (tmp_path / "run" / "result.json").read_text()
    assert "NaN" not in text + (tmp_path / "run" / "metrics.jsonl").read_text()
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    best = (lambda e: -log[e - 1]["val_loss"]) if "val" in lost else (lambda e: log[e - 1]["val_auc"])
    assert result.best_epoch == max((1, 2), key=best)
    assert [line["val_auc"] is None for line in log] == ["val" in lost] * 2
    again = train(store, tmp_path / "run", epochs=2)
    assert again.reused
    assert repr(again.metrics) == repr(result.metrics)
    names = sorted(path.name for path in (tmp_path / "run").glob("*_[[]AUC[]]nan_*.csv"))
    assert len(names) == len(lost)
    assert all(np.isnan(read_predictions(tmp_path / "run" / name).metrics.auc) for name in names)


def test_a_run_whose_auc_is_undefined_goes_on_after_a_kill_by_its_loss(tmp_path):
    store = lacking(tmp_path / "s.h5", "multi-class", ("val",))
    train(store, tmp_path / "whole")
    with pytest.raises(Killed):
        train(store, tmp_path / "broken", **_kill_after_epoch(None))
    train(store, tmp_path / "broken")
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_a_whole_store_that_lacks_a_class_and_a_part_without_images_are_refused(tmp_path):
    store = lacking(tmp_path / "s.h5", "multi-class", ("val",), partial=False)
    with pytest.raises(ScoreError, match="val: labels: value 1 never occurs in 8 rows"):
        train(store, tmp_path / "run")
    for counts, name in (((0, 8, 8), "train"), ((8, 0, 8), "val"), ((8, 8, 0), "test")):
        empty = mmtk.open(write_small_store(tmp_path / f"{name}.h5", counts, partial=True))
        line = rf"{name}\.h5 {name}: contains no images; build the store from more source data"
        with pytest.raises(ScoreError, match=line):
            train(empty, tmp_path / "run")


@pytest.mark.parametrize(
    ("task", "classes", "channels"), [("multi-class", 4, 3), (MULTILABEL, 3, 1), ("ordinal-regression", 3, 3)]
)
def test_other_tasks(tmp_path, task, classes, channels):
    path = write_small_store(tmp_path / "s.h5", (20, 8, 8), task=task, classes=classes, channels=channels)
    result = train(mmtk.open(path), tmp_path / "run", epochs=1)
    file = next((tmp_path / "run").glob("*_test_*.csv"))
    scores = read_predictions(file).scores
    assert scores.shape == (8, classes)
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-5) == (task != MULTILABEL)
    assert 0 <= result.metrics["test"].auc <= 1


@pytest.mark.parametrize("counts", [(20, 0, 9), (20, 1, 9), (1, 6, 9), (20, 6, 1)])
def test_a_split_without_both_classes_is_refused_before_training(tmp_path, counts):
    small = mmtk.open(write_small_store(tmp_path / "s.h5", counts))
    with pytest.raises(ScoreError, match=rf"s\.h5 {('train', 'val', 'test')[[n > 1 for n in counts].index(False)]}"):
        train(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_is_said_with_its_place_and_the_last_good_epoch_kept(store, tmp_path, monkeypatch):
    def rate(self, step, steps_per_epoch, epochs):
        return 1e30 if step == 4 else self.learning_rate  # the second step of the second epoch

    monkeypatch.setattr(Protocol, "rate", rate)
    found = r"the loss became nan in epoch 2, batch 3 of 3; .*last\.pt holds epoch 1"
    with pytest.raises(MmtkError, match=found):
        train(store, tmp_path / "run")
    state = checkpoints.load(tmp_path / "run" / "last.pt")
    assert len(state["log"]) == 1
    assert all(value.isfinite().all() for value in state["model"].values())
    assert not (tmp_path / "run" / "result.json").exists()
    monkeypatch.undo()
    assert train(store, tmp_path / "run").epochs == 3


def test_a_last_step_that_ruins_the_weights_shows_in_validation(store, tmp_path, monkeypatch):
    monkeypatch.setattr(Protocol, "rate", lambda self, step, steps_per_epoch, epochs: 1e30 if step == 2 else 1e-3)
    with pytest.raises(MmtkError, match="the validation loss became nan after epoch 1"):
        train(store, tmp_path / "run")


def test_memory_that_runs_out_is_one_line(store, tmp_path, monkeypatch):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr(_fit, "plain_step", lambda *_: step)
    lower = "use a smaller batch_size in a protocol file or --precision bfloat16 or --resolution 8"
    with pytest.raises(MmtkError, match=f"out of memory with batches of 8 at 32 px in float32; {lower}$"):
        train(store, tmp_path / "run", resolution=32)
    large = mmtk.open(write_small_store(tmp_path / "breastmnist_40.h5", size=40))
    lower = "use a smaller batch_size in a protocol file or --precision bfloat16 or a store of smaller images"
    with pytest.raises(MmtkError, match=f"out of memory with batches of 8 at 40 px in float32; {lower}$"):
        train(large, tmp_path / "large")


TUNED = replace(
    get_protocol("tuned-v1"), batch_size=8, epochs=3, averaging=1.0, mirror=True,
    augmentation=Augmentation(0.5, 0.5, 10, 1, 0.1), ordinal_loss="cumulative",
)


@pytest.mark.usefixtures("resnets")
@pytest.mark.parametrize(("protocol", "precision"), [(SHORT, "float32"), (TUNED, "bfloat16")])
def test_a_killed_resnet_goes_on_with_all_that_a_protocol_can_have(tmp_path, protocol, precision):
    protocol = replace(protocol, epochs=2)
    path = write_small_store(tmp_path / "s.h5", (16, 8, 8), task="ordinal-regression", classes=3, channels=3)
    opened = mmtk.open(path)
    train(opened, tmp_path / "whole", protocol, precision=precision)

    def stop(line):
        raise Killed

    with pytest.raises(Killed):
        train(opened, tmp_path / "broken", protocol, precision=precision, report=stop)
    train(opened, tmp_path / "broken", protocol, precision=precision)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["precision"] == precision
    if protocol.averaging:
        last = checkpoints.load(tmp_path / "whole" / "last.pt")
        assert not torch.equal(last["average"]["conv1.weight"], last["model"]["conv1.weight"])
        with pytest.raises(MmtkError, match="found precision bfloat16, expected float32"):
            train(opened, tmp_path / "whole", protocol)


def test_mirrored_scores_are_the_same_for_mirrored_images(store, tmp_path):
    train(store, tmp_path / "run", replace(SHORT, epochs=1, mirror=True))
    mirrored = mmtk.open(store.path)
    for split in mirrored.splits:
        split.images[:] = split.images[:, :, ::-1].copy()  # the arrays are copy-on-write
    weights = checkpoints.load(tmp_path / "run" / "best.pt")
    model = build_model("resnet18", 1, 2).eval()
    model.load_state_dict(weights)
    scores = []
    for opened in (store, mirrored):
        images = torch.from_numpy(opened.test.images.copy())[:, None] / 127.5 - 1
        with torch.inference_mode():
            scores.append(model(images).softmax(1))
    found = read_predictions(next((tmp_path / "run").glob("*_test_*.csv"))).scores
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)
    np.testing.assert_allclose(found, (scores[0] + scores[1]) / 2, atol=1e-5)


@pytest.mark.parametrize(("size", "resolution", "stem"), [(8, 80, 7), (80, None, 7), (8, 28, 3)])
def test_resolutions_have_their_stem_and_stand_in_the_names(tmp_path, size, resolution, stem):
    opened = mmtk.open(write_small_store(tmp_path / "s.h5", (8, 4, 4), size=size))
    train(opened, tmp_path / "run", replace(SHORT, epochs=1), resolution=resolution)
    assert checkpoints.load(tmp_path / "run" / "best.pt")["conv1.weight"].shape[-1] == stem
    run = read_predictions(next((tmp_path / "run").glob("*_test_*.csv"))).run
    assert run == f"resnet18_{resolution or size}_isbi21_seed0"


def test_stored_images_are_not_made_smaller(store, tmp_path):
    with pytest.raises(ArgumentError, match=r"resolution: found 7 px, expected at least the 8 px of"):
        train(store, tmp_path / "run", resolution=7)


def test_another_task_or_other_weights_in_the_folder_are_refused(store, tmp_path):
    with pytest.raises(Killed):
        train(store, tmp_path / "run", **_kill_after_epoch(None))
    other = mmtk.open(write_small_store(tmp_path / "other.h5", (20, 6, 9), task=MULTILABEL))
    with pytest.raises(MmtkError, match="found store task binary-class, expected multi-label, binary-class"):
        train(other, tmp_path / "run")
    state = checkpoints.load(tmp_path / "run" / "last.pt")
    state["model"]["fc.weight"] = torch.zeros(3, 512)
    checkpoints.save(tmp_path / "run" / "last.pt", state)
    with pytest.raises(MmtkError, match=r"last\.pt: .*the weights do not match the model; remove the run's"):
        train(store, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: .*expected at least 1"), ({"seed": -1}, "seed"), ({"protocol": "isbi22"}, "isbi22"),
        ({"precision": "float16"}, "precision: found float16, expected float32 or bfloat16"),
    ],
)
def test_bad_arguments(store, tmp_path, options, message):
    with pytest.raises(ArgumentError, match=message):
        train(store, tmp_path / "run", **options)


@pytest.fixture
def volumes(tmp_path):
    return mmtk.open(write_small_store(tmp_path / "organmnist3d_8.h5", (8, 4, 5), flag="organmnist3d", ndim=3))


@pytest.mark.usefixtures("resnets")
def test_volumes_are_trained_under_v2_as_published(volumes, tmp_path):
    result = train(volumes, tmp_path / "run", "v2", epochs=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    told = {name: config["protocol"][name] for name in ("name", "batch_size", "as_rgb", "input")}
    assert told == {"name": "v2", "batch_size": 32, "as_rgb": False, "input": "from 0 to 1"}
    assert config["store"]["ndim"] == 3
    weights = checkpoints.load(tmp_path / "run" / "best.pt")
    assert weights["conv1.weight"].shape == (64, 1, 3, 3, 3)
    assert train(volumes, tmp_path / "run", "v2", epochs=1).reused
    model = build_model("resnet18", 1, 2, 8, 3).eval()
    model.load_state_dict(weights)
    with torch.inference_mode():
        given = torch.from_numpy(volumes.test.images[:][:, None]).float() / 255
        scores = model(given).softmax(1).numpy()
    found = read_predictions(result.path / result.files["test"], volumes.path.parent).scores
    assert np.allclose(found, scores, atol=1e-5)
    assert result.metrics["test"] == evaluate(volumes.test.labels, found, volumes.info.task)


def test_a_killed_run_of_volumes_goes_on_and_they_are_enlarged_augmented_and_mirrored(volumes, tmp_path):
    full = replace(SHORT, epochs=2, augmentation=Augmentation(vertical=0.5, padding=1), mirror=True)
    train(volumes, tmp_path / "whole", full, resolution=10)

    def stop(line):
        raise Killed

    with pytest.raises(Killed):
        train(volumes, tmp_path / "broken", full, resolution=10, report=stop)
    train(volumes, tmp_path / "broken", full, resolution=10)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    train(volumes, tmp_path / "half", replace(full, epochs=1), precision="bfloat16")
    turned = replace(full, augmentation=Augmentation(rotation=3))
    with pytest.raises(ArgumentError, match=r"rotation: .*volumes; found 3"):
        train(volumes, tmp_path / "turned", turned)
    assert not (tmp_path / "turned").exists()


def test_v2_gives_grey_images_three_channels_and_goes_on_at_the_right_rate(store, tmp_path):
    short = replace(get_protocol("v2"), batch_size=8, epochs=4)
    whole = train(store, tmp_path / "whole", short)
    weights = checkpoints.load(tmp_path / "whole" / "best.pt")
    assert weights["conv1.weight"].shape[1] == 3

    def stop(line):
        if line["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        train(store, tmp_path / "broken", short, report=stop)
    assert train(store, tmp_path / "broken", short).metrics == whole.metrics
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    other = train(store, tmp_path / "flat", replace(short, milestones=()))
    assert outcome(tmp_path / "flat")["last"].keys() == outcome(tmp_path / "whole")["last"].keys()
    assert outcome(tmp_path / "flat")["last"] != outcome(tmp_path / "whole")["last"]
    assert other.epochs == 4


@pytest.mark.usefixtures("resnets")
def test_a_network_learns_under_quick(tmp_path):
    """Bright against dark quarters: AUC near 1 after a few epochs."""
    path = write_small_store(tmp_path / "plain.h5", (64, 32, 32))
    plain = mmtk.open(path)
    for split in plain.splits:
        bright = split.labels[:, 0] == 1
        split.images[bright, :4, :4] //= 4  # the arrays are copy-on-write
    result = fit(plain, "quick", "resnet18", tmp_path / "run", device="cpu", epochs=5)
    losses = [line["train_loss"] for line in outcome(tmp_path / "run")["log"]]
    assert losses[-1] < losses[0]
    assert result.metrics["test"].auc > 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_is_deterministic_too_in_float32(store, tmp_path):
    for name in "ab":
        fit(store, SHORT, "resnet18", tmp_path / name, device="cuda", precision="float32")
    assert outcome(tmp_path / "a") == outcome(tmp_path / "b")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_cuda_graphs_take_the_steps_that_are_taken_without_them(tmp_path, monkeypatch, optimiser):
    opened = mmtk.open(write_small_store(tmp_path / "s.h5", (44, 8, 8)))
    protocol = replace(TUNED, optimiser=optimiser, nesterov=optimiser == "sgd", learning_rate=1e-3)
    fit(opened, protocol, "resnet18", tmp_path / "graph", device="cuda")
    monkeypatch.setattr(_fit.ReplayedStep, "__call__", lambda self, *batch: self._step(*batch))
    fit(opened, protocol, "resnet18", tmp_path / "plain", device="cuda")
    logs = [outcome(tmp_path / name)["log"] for name in ("graph", "plain")]
    assert [line["cuda_graph"] for line in logs[0]] == [True] * 3
    losses = [[line["train_loss"] for line in log] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_not_there_is_said(store, tmp_path):
    with pytest.raises(ArgumentError, match="torch finds no usable CUDA device"):
        fit(store, SHORT, "resnet18", tmp_path / "run", device="cuda")


def test_result_files_bear_the_flag_of_their_edition(tmp_path):
    """The Organ sets of 2020 had other flags; their results are scored against the same stores."""
    organs = mmtk.open(write_small_store(
        tmp_path / "organamnist_28.h5", (22, 11, 11), flag="organamnist", task="multi-class", classes=11, size=28,
    ))
    train(organs, tmp_path / "run", replace(SHORT, epochs=1))
    names = sorted(path.name.split("_[AUC]")[0] for path in (tmp_path / "run").glob("*.csv"))
    assert names == ["organmnist_axial_test", "organmnist_axial_train", "organmnist_axial_val"]
    for path in (tmp_path / "run").glob("*.csv"):
        assert read_predictions(path).flag == "organamnist"
