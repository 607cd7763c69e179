"""Reading finished runs: what they tell, and each way in which they can be wrong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmtk import store
from mmtk.errors import MmtkError
from mmtk.runs import best_run, find_runs, setups_of
from mmtk.scoring import write_predictions
from tests.commands import invoke
from tests.small_runs import write_small_run
from tests.small_stores import MULTILABEL, write_small_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with stores of two datasets and runs of them; tests copy what they change."""
    base = tmp_path_factory.mktemp("made")
    breast = write_small_store(base / "stores" / "breastmnist_8.h5")
    chest = write_small_store(base / "stores" / "chestmnist_8.h5", flag="chestmnist", task=MULTILABEL, classes=3)
    write_small_run(breast, base / "runs" / "deep" / "er" / "one", seed=1)
    write_small_run(breast, base / "runs" / "two", seed=0)
    write_small_run(chest, base / "runs" / "three", epochs=2, skill=0.5)
    write_small_run(chest, base / "runs" / "four", method="sklearn")
    return base


@pytest.fixture
def mine(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def edit(path: Path, **changes) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | changes))


def test_runs_are_found_at_any_depth_in_the_papers_order(made):
    runs, unfinished = find_runs(made / "runs", made / "stores")
    assert [(run.folder, run.dataset.flag, run.seed) for run in runs] == [
        ("three", "chestmnist", 0), ("four", "chestmnist", 0), ("two", "breastmnist", 0),
        ("deep/er/one", "breastmnist", 1),
    ]
    assert not unfinished
    assert [setup.title for setup in setups_of(runs)] == [
        "ResNet-18 (8), isbi21, epochs 100", "ResNet-18 (8), isbi21, epochs 2", "sklearn, 60 s",
    ]
    assert [setup.shortened for setup in setups_of(runs)] == ["", "2 of 100 epochs", ""]
    assert [len(run.log) for run in runs] == [2, 0, 100, 100]
    opened = store.open(made / "stores" / "breastmnist_8.h5")
    assert (runs[2].predictions.labels == opened.test.labels).all()
    assert runs[2].predictions.images.shape == opened.test.images.shape
    assert {run.marks for run in runs} == {("other test images",)}


@pytest.mark.parametrize("with_store", [True, False])
def test_runs_on_a_file_that_was_never_published_are_marked(tmp_path, with_store):
    opened = store.open(write_small_store(tmp_path / "a.h5"))
    arrays = {split.name: (split.images, split.labels, split.records) for split in opened.splits}
    info = replace(opened.info, pixels="imported", split="imported")
    path = store.write_store(tmp_path / "stores" / "breastmnist_8.h5", info, arrays)
    write_small_run(path, tmp_path / "runs" / "one")
    (run,), _ = find_runs(tmp_path / "runs", path.parent if with_store else None)
    assert run.marks == ("unpublished",)


def test_what_set_ups_of_one_title_differ_in_is_added_to_it(made, tmp_path):
    path = made / "stores" / "breastmnist_8.h5"
    write_small_run(path, tmp_path / "a", precision="float32", resolution=224)
    write_small_run(path, tmp_path / "b", precision="bfloat16", resolution=224)
    write_small_run(path, tmp_path / "c", precision="bfloat16", resolution=224, seed=1)
    runs, _ = find_runs(tmp_path)
    assert [(run.folder, run.setup.title) for run in runs] == [
        ("b", "ResNet-18 (224), isbi21, precision bfloat16"), ("c", "ResNet-18 (224), isbi21, precision bfloat16"),
        ("a", "ResNet-18 (224), isbi21, precision float32"),
    ]
    assert runs[0].setup == runs[1].setup


def test_the_best_run_is_chosen_by_validation_alone(made):
    runs, _ = find_runs(made / "runs")
    breast = [run for run in runs if run.dataset.flag == "breastmnist"]
    best = max(run.result.metrics["val"].auc for run in breast)
    assert best_run(breast).result.metrics["val"].auc == best
    assert best_run([breast[0], breast[0]]) is breast[0]


def test_without_a_store_labels_are_unknown_unless_the_file_tells_them(mine):
    runs, _ = find_runs(mine / "runs")
    assert all(run.predictions is None for run in runs)
    file = next((mine / "runs" / "two").glob("*_test_*.csv"))
    opened = store.open(mine / "stores" / "breastmnist_8.h5")
    rows = zip(opened.test.labels[:, 0], file.read_text().splitlines(), strict=True)
    lines = [f"{line.partition(',')[0]},{label},{line.partition(',')[2]}" for label, line in rows]
    file.write_text("\n".join(["id,true_0,score_0,score_1", *lines]))
    tested = next(run.predictions for run in find_runs(mine / "runs")[0] if run.folder == "two")
    assert (tested.labels == opened.test.labels).all()
    assert tested.images is None


def test_an_unfinished_run_is_named_and_left_out(mine):
    (mine / "runs" / "two" / "result.json").unlink()
    runs, unfinished = find_runs(mine / "runs")
    assert ([run.folder for run in runs], unfinished) == (["three", "four", "deep/er/one"], ["two"])


def no_runs(base):
    shutil.rmtree(base / "runs")
    (base / "runs").mkdir()


def another_store(base):
    shutil.copy(base / "stores" / "breastmnist_8.h5", base / "old.h5")
    (base / "stores" / "breastmnist_8.h5").unlink()
    write_small_store(base / "stores" / "breastmnist_8.h5", seed=5)


def other_predictions(base):
    opened = store.open(base / "stores" / "breastmnist_8.h5")
    file = next((base / "runs" / "two").glob("*_test_*.csv"))
    flipped = [line.split(",") for line in file.read_text().splitlines()]
    file.write_text("\n".join(",".join([row, other, one]) for row, one, other in flipped))
    assert len(flipped) == len(opened.test)


def of_another_dataset(base):
    folder = base / "runs" / "two"
    file = next(folder.glob("*_test_*.csv"))
    file.rename(folder / file.name.replace("breastmnist", "octmnist"))
    result = json.loads((folder / "result.json").read_text())
    result["splits"]["test"]["file"] = file.name.replace("breastmnist", "octmnist")
    (folder / "result.json").write_text(json.dumps(result))


def cut_short(base):
    file = next((base / "runs" / "two").glob("*_test_*.csv"))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def garbled_log(base):
    path = base / "runs" / "two" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch": 101')


WRONG = {
    "no folder": (lambda base: shutil.rmtree(base / "runs"), "runs: the folder of runs does not exist"),
    "no stores": (lambda base: shutil.rmtree(base / "stores"), "stores: the folder of stores does not exist"),
    "no runs": (no_runs, "runs: contains no finished run; make some with mmtk decathlon or mmtk train"),
    "half a result": (
        lambda base: (base / "runs/two/result.json").write_text('{"best_epoch": 1,'),
        "two/result.json: is not valid JSON",
    ),
    "no splits": (
        lambda base: (base / "runs/two/result.json").write_text('{"best_epoch": 1}'),
        "two/result.json: the field epochs is missing; remove",
    ),
    "a list": (
        lambda base: (base / "runs/two/result.json").write_text("[]"),
        "two/result.json: found JSON of type list, expected an object",
    ),
    "no config": (
        lambda base: (base / "runs/two/config.json").unlink(),
        "two/config.json: the run has no configuration",
    ),
    "no model": (
        lambda base: (base / "runs/two/config.json").write_text(
            '{"seed": 0, "store": {"flag": "breastmnist", "size": 8}}'
        ),
        "two/config.json: the field model is missing; remove",
    ),
    "unknown dataset": (
        lambda base: edit(base / "runs/two/config.json", store={"flag": "nosuch", "size": 8}),
        "two/config.json: the dataset nosuch is unknown; use --stores",
    ),
    "no predictions": (
        lambda base: next((base / "runs/two").glob("*_test_*.csv")).unlink(), "cannot be read: no such",
    ),
    "cut short": (cut_short, "found 8 rows, expected 9, as in result.json"),
    "other predictions": (other_predictions, "does not match result.json"),
    "another dataset": (of_another_dataset, "found predictions of octmnist 8 test, expected breastmnist 8 test"),
    "another store": (another_store, "the run was made from other images than"),
    "text for a number": (
        lambda base: edit(base / "runs/two/config.json", epochs="100"),
        "two/config.json: epochs: found text, expected a whole number; remove",
    ),
    "versions as list": (
        lambda base: edit(base / "runs/two/config.json", made_with=["mmtk"]), "made_with: found a list",
    ),
    "protocol as number": (lambda base: edit(base / "runs/two/config.json", protocol=5), "expected text or a table"),
    "store as text": (lambda base: edit(base / "runs/two/config.json", store="breast"), "store: found text"),
    "model as list": (lambda base: edit(base / "runs/two/config.json", model=["a"]), "model: found a list"),
    "deep": (
        lambda base: (base / "runs/two/config.json").write_text('{"a": ' * 100_000),
        "two/config.json: is not valid JSON: values are nested too deeply",
    ),
    "Latin-1": (
        lambda base: (base / "runs/two/config.json").write_bytes(b'{"a": "\xfc"}'),
        "two/config.json: is not encoded as UTF-8; found a bad byte at offset 7",
    ),
    "a folder": (
        lambda base: [(base / "runs/two/config.json").unlink(), (base / "runs/two/config.json").mkdir()],
        "two/config.json: cannot be read: is a directory",
    ),
    "a result as folder": (
        lambda base: [(base / "runs/two/result.json").unlink(), (base / "runs/two/result.json").mkdir()],
        "two/result.json: cannot be read: is a directory",
    ),
    **{
        f"log {line[:12]!r}": (
            lambda base, line=line: (base / "runs/two/metrics.jsonl").write_bytes(line),
            f"two/metrics.jsonl{where}",
        ) for line, where in (
            (b"[]", " line 1: found a list, expected a table"), (b"null", " line 1: found null, expected a table"),
            (b"7", " line 1: found a whole number, expected a table"), (b"{}", " line 1: the field epoch is missing"),
            (b"[" * 9000, " line 1: is not valid JSON"),
            (b'{"epoch": 1, "train_loss": "1", "val_loss": 1, "val_auc": 1, "val_acc": 1}', " line 1: train_loss: "),
            (b'{"epoch": 1, "train_loss": NaN, "val_loss": 1, "val_auc": 1, "val_acc": 1}', " line 1: is not valid"),
            (b'{"epoch": 1, "train_loss": 1e999, "val_loss": 1, "val_auc": 1, "val_acc": 1}', " line 1: a loss is not"),
            (b'{"epoch": 1, "train_loss": 1, "val_loss": 1, "val_auc": 3, "val_acc": 1}', " line 1: val_auc: expected"),
            (b'{"epoch": 1, "train_loss": 1, "val_loss": 1, "val_auc": 1, "val_acc": null}', " line 1: val_acc: found"),
            (b"\xff\xfe", ": is not encoded as UTF-8"),
        )
    },
    "twice": (
        lambda base: shutil.copytree(base / "runs/two", base / "runs/zwei"),
        "zwei: is a duplicate of two",
    ),
    "garbled log": (garbled_log, "metrics.jsonl line 101: is not valid JSON"),
}


NOTHING_ELSE = ("no folder", "no stores", "no runs", "twice")  # what leaves no run that could be shown


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_and_the_other_runs_are_shown(name, mine):
    change, message = WRONG[name]
    change(mine)
    with pytest.raises(MmtkError) as raised:
        find_runs(mine / "runs", mine / "stores")
    assert message in str(raised.value)
    page = mine / "page.html"
    done = invoke("report", mine / "runs", "--out", page, "--stores", mine / "stores", code=1)
    if name in NOTHING_ELSE:
        assert isinstance(done.exception, MmtkError)
        assert not list(mine.glob("page*"))
        return
    assert done.stderr.count(f"mmtk: error: {raised.value}\n") == 1
    note = f"Skipped: {raised.value}.".replace(f"{mine / 'runs'}/", "")
    assert note in done.stdout.splitlines()
    text = page.read_text()
    assert str(mine / "runs") not in text
    assert text.count("Skipped: ") == done.stderr.count("mmtk: error: ") == (2 if name == "another store" else 1)


def test_if_no_run_can_be_shown_the_first_is_told(mine):
    for path in (mine / "runs").rglob("config.json"):
        path.write_text("[]")
    with pytest.raises(MmtkError, match=r"deep/er/one/config\.json: found JSON of type list, expected an object"):
        find_runs(mine / "runs", refused=[].append)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_a_run_that_cannot_be_read_is_left_out_and_a_failing_machine_ends_it_all(mine, monkeypatch, number):
    file = next((mine / "runs" / "two").glob("*_test_*.csv"))
    read, told = Path.read_bytes, []

    def failing(path):
        if path == file:
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    if number != errno.EACCES:  # of the machine: the run may be whole, and the page is not written without it
        with pytest.raises(MmtkError, match=re.escape(f"{file}: {os.strerror(number)}")):
            find_runs(mine / "runs", mine / "stores", told.append)
        return
    runs, _ = find_runs(mine / "runs", mine / "stores", told.append)
    assert [run.folder for run in runs] == ["three", "four", "deep/er/one"]
    assert [str(error) for error in told] == [f"{file}: {os.strerror(number)}"]


def test_figures_of_another_machine_are_the_same_figures(mine):
    path = mine / "runs" / "two" / "result.json"
    result = json.loads(path.read_text())
    for change, good in ((1e-9, True), (1e-5, False)):
        changed = json.loads(json.dumps(result))
        changed["splits"]["test"]["auc"] -= change
        path.write_text(json.dumps(changed))
        if good:
            find_runs(mine / "runs", mine / "stores")
        else:
            with pytest.raises(MmtkError, match=r"does not match result\.json"):
                find_runs(mine / "runs", mine / "stores")


@pytest.mark.parametrize("wrong", ["columns", "labels", "figures"])
def test_predictions_with_their_own_labels_are_checked_without_a_store(mine, wrong):
    file = next((mine / "runs" / "two").glob("*_test_*.csv"))
    labels = store.open(mine / "stores" / "breastmnist_8.h5").test.labels[:, 0].astype(int)
    scores = [line.split(",", 1)[1] for line in file.read_text().splitlines()]
    labels = {"columns": labels, "labels": labels + 1, "figures": 1 - labels}[wrong]
    more = ",score_2" if wrong == "columns" else ""
    lines = [f"{i},{t},{s}{',0' if more else ''}" for i, (t, s) in enumerate(zip(labels, scores, strict=True))]
    file.write_text("\n".join([f"id,true_0,score_0,score_1{more}", *lines]))
    says = {"columns": "scores per row, expected 2", "labels": "csv: labels: .* expected 0 to 1",
            "figures": r"does not match result\.json"}[wrong]
    with pytest.raises(MmtkError, match=says):
        find_runs(mine / "runs")


@pytest.mark.parametrize("seed", [1, 7])
def test_runs_of_a_dataset_are_of_one_store(mine, seed):
    write_small_run(write_small_store(mine / "breastmnist_8.h5", seed=9), mine / "runs" / "other", seed=seed)
    with pytest.raises(MmtkError, match=r"runs/other: was made from another .* store than"):
        find_runs(mine / "runs")


def test_a_figure_outside_its_range_is_refused(mine):
    path = mine / "runs" / "two" / "result.json"
    result = json.loads(path.read_text())
    result["splits"]["val"]["auc"] = 1.5
    path.write_text(json.dumps(result))
    with pytest.raises(MmtkError, match=r"result\.json: splits\[\.\.\.\]\.auc: .*number <= 1\.0"):
        find_runs(mine / "runs")


def test_a_file_name_in_a_result_leads_nowhere_else(mine):
    opened = store.open(mine / "stores" / "breastmnist_8.h5")
    path = mine / "runs" / "two" / "result.json"
    result = json.loads(path.read_text())
    name = result["splits"]["test"]["file"]
    outside = write_predictions(
        mine, "breastmnist", 8, "test", [[0.5, 0.5]] * len(opened.test), find_runs(mine / "runs")[0][2].test, "out"
    )
    result["splits"]["test"]["file"] = f"../../{outside.name}"
    path.write_text(json.dumps(result))
    with pytest.raises(MmtkError, match="cannot be read: no such file"):
        find_runs(mine / "runs")
    assert (mine / "runs" / "two" / name).is_file()
