"""``mmtk train`` and ``mmtk demo``: their tables, when the paper's figures stand beside, one line for bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from mmtk.errors import ArgumentError, MmtkError
from mmtk.runs import published
from mmtk.scoring import Metrics
from mmtk.store import open as open_store
from tests.commands import invoke, run_mmtk
from tests.small_stores import write_small_store

pytest.importorskip("torch", reason="torch is not installed")

from mmtk.training import RunResult

pytestmark = pytest.mark.usefixtures("thin_models")


@pytest.fixture
def store(tmp_path):
    return write_small_store(tmp_path / "breastmnist_28.h5", (8, 6, 6), size=28)


def command(store, out, *more):
    return ("train", store, "--protocol", "isbi21", "--model", "resnet18", "--out", out, "--device", "cpu", *more)


def test_train_prints_epochs_and_a_table_and_leaves_a_finished_run_alone(store, tmp_path):
    found = invoke(*command(store, tmp_path / "run", "--epochs", 1))
    assert "epoch 1: loss 0." in found.stderr
    assert "validation loss" in found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "breastmnist: resnet18, isbi21, seed 0, epoch 1 of 1"
    assert [line.split()[:2] for line in lines[2:]] == [["train", "8"], ["val", "6"], ["test", "6"]]
    again = invoke(*command(store, tmp_path / "run", "--epochs", 1))
    assert "already finished" in again.stdout
    assert again.stdout.splitlines()[1:] == lines[1:]
    result = json.loads(invoke(*command(store, tmp_path / "run", "--epochs", 1, "--json")).stdout)
    assert result["splits"]["test"]["images"] == 6
    assert result["paper"] is None  # one epoch is not the paper's protocol


def test_a_protocol_file_another_resolution_and_curves(store, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('base = "tuned-v1"\nname = "own"\nbatch_size = 4\n')
    arguments = ["train", store, "--protocol", own, "--model", "resnet18", "--out", tmp_path / "run", "--device", "cpu"]
    arguments += ["--epochs", 1, "--resolution", 224, "--precision", "bfloat16", "--tensorboard", "--json"]
    found = json.loads(invoke(*arguments).stdout)
    assert (found["protocol"], found["resolution"], found["paper"]) == ("own", 224, None)
    assert len(list((tmp_path / "run").glob("breastmnist_*@resnet18_224_own_seed0.csv"))) == 3
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert events.Scalars("val_auc")[0].value == pytest.approx(line["val_auc"])
    assert events.Scalars("val_auc")[0].step == 1


def test_a_synthetic_store_is_said(tmp_path):
    path = write_small_store(tmp_path / "breastmnist_28.h5", (8, 6, 6), size=28, synthetic=True)
    found = invoke(*command(path, tmp_path / "run", "--epochs", 1))
    assert found.stdout.startswith("breastmnist SYNTHETIC:")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["store"]["synthetic"] is True
    assert json.loads((tmp_path / "run" / "result.json").read_text())["synthetic"] is True


@pytest.mark.parametrize(
    ("marks", "protocol", "resolution", "epochs", "expected"),
    [
        ({}, "isbi21", 28, 100, (0.897, 0.859)),
        ({}, "isbi21", 224, 100, (0.915, 0.878)),
        ({}, "isbi21", 64, 100, None),
        ({}, "isbi21", 28, 99, None),
        ({}, "quick", 28, 100, None),
        ({"synthetic": True}, "isbi21", 28, 100, None),
        ({"partial": True}, "isbi21", 28, 100, None),
        ({"pixels": "imported"}, "isbi21", 28, 100, None),
    ],
)
def test_the_papers_figures_stand_only_beside_a_run_like_the_papers(
    tmp_path, marks, protocol, resolution, epochs, expected
):
    info = replace(open_store(write_small_store(tmp_path / "s.h5", size=28)).info, **marks)
    result = RunResult(tmp_path, {"test": Metrics(0.5, 0.5)}, {"test": 9}, 1, epochs, reused=False)
    facts = {"protocol": protocol, "model": "resnet18", "resolution": resolution}
    assert published(info, facts, result) == expected


def test_images_are_given_at_their_size_or_enlarged(tmp_path):
    path = write_small_store(tmp_path / "s.h5", (8, 6, 6), size=8)
    with pytest.raises(ArgumentError, match="resolution: found 4 px, expected at least the 8 px"):
        invoke(*command(path, tmp_path / "run", "--resolution", 4))
    for resolution, more in ((8, ()), (12, ("--resolution", 12))):
        out = tmp_path / f"run{resolution}"
        invoke(*command(path, out, "--epochs", 1, *more))
        assert json.loads((out / "config.json").read_text())["resolution"] == resolution


def test_another_run_in_the_folder_exits_2_in_one_line(store, tmp_path):
    invoke(*command(store, tmp_path / "run", "--epochs", 1))
    with pytest.raises(MmtkError, match="found seed 0, expected 3"):
        invoke(*command(store, tmp_path / "run", "--epochs", 1, "--seed", 3))
    with pytest.raises(ArgumentError, match="protocol isbi22: unknown"):
        invoke(*command(store, tmp_path / "run"), "--protocol", "isbi22")
    done = run_mmtk(*command(tmp_path / "none.h5", tmp_path / "other"), code=2)
    assert done.stderr.startswith("mmtk: error: ")
    assert len(done.stderr.splitlines()) == 1


def test_demo_prints_its_commands_and_can_be_given_again(tmp_path, monkeypatch):
    from mmtk.cli import demo
    from mmtk.training import protocols

    monkeypatch.setattr(demo, "_SCALES", {"breastmnist": 0.001})
    short = replace(protocols.get_protocol("quick"), epochs=1)
    monkeypatch.setitem(protocols.PROTOCOLS._values, "quick", short)
    first = invoke("demo", "--out", tmp_path / "demo")
    commands = [line.split()[2] for line in first.stdout.splitlines() if line.startswith("$ mmtk ")]
    assert commands == ["phantom", "sources", "build", "verify", "show", "train", "evaluate"]
    assert (tmp_path / "demo" / "breastmnist.png").read_bytes()[:4] == b"\x89PNG"
    table = first.stdout[first.stdout.index("test images") :].splitlines()
    assert table[1].startswith("BreastMNIST SYNTHETIC")
    assert "SYNTHETIC" in table[2]
    again = invoke("demo", "--out", tmp_path / "demo")
    assert "already finished" in again.stdout
    assert again.stdout[again.stdout.index("test images") :].splitlines() == table


def test_volumes_are_trained_under_v2_evaluated_and_reported(tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    stores, out = tmp_path / "stores", tmp_path / "runs"
    path = write_small_store(
        stores / "organmnist3d_8.h5", (6, 4, 4), flag="organmnist3d", ndim=3, task="multi-class", classes=3
    )
    options = ("--protocol", "v2", "--model", "resnet18", "--epochs", 1, "--device", "cpu")
    shown = invoke("train", path, *options, "--out", out / "a")
    assert re.search(r"epoch 1: .* volumes/s$", shown.stderr, re.MULTILINE)
    assert "\nsplit  volumes " in shown.stdout
    told = json.loads(invoke("train", path, *options, "--out", out / "a", "--json").stdout)
    assert (told["flag"], told["protocol"], told["resolution"], told["paper"]) == ("organmnist3d", "v2", 8, None)
    (file,) = (out / "a").glob("organmnist3d_8_test_*.csv")
    evaluated = invoke("evaluate", file, "--stores", stores).stdout
    assert f"AUC {told['splits']['test']['auc']:.3f}" in evaluated
    assert "  4 volumes  " in evaluated
    invoke("report", out, "--stores", stores, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "ResNet-18 3D (8), v2" in page
    assert "8 px, middle slices" in page
