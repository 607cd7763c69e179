"""``mmtk list``, ``info``, ``sources`` and ``phantom`` as a user meets them."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mmtk.datasets import TEN, get_dataset, list_datasets
from mmtk.datasets.sources import available, choose, inspect_source
from mmtk.errors import MmtkError, SourceError
from mmtk.phantom import write_phantom
from tests.commands import invoke


def test_list_shows_the_ten_and_then_the_others_with_their_counts() -> None:
    lines = invoke("list").stdout.splitlines()
    assert len(lines) == 19
    assert [line.split()[0] for line in lines[1:]] == [dataset.flag for dataset in list_datasets()]
    assert "89,996  10,004   7,180" in lines[1]
    assert " ".join(lines[13].split()) == "organmnist3d abdominal CT multi-class 11 972 161 610 CC BY 4.0"
    assert [one["flag"] for one in json.loads(invoke("list", "--json").stdout)] == [d.flag for d in list_datasets()]


def test_list_is_a_drawn_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from mmtk.cli.datasets import list_command

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    list_command.callback(as_json=False)
    assert "━" in capsys.readouterr().out


@pytest.mark.parametrize("dataset", list_datasets(), ids=lambda d: d.flag)
def test_info_shows_every_fact(dataset) -> None:
    shown = invoke("info", dataset.flag).stdout
    expected = [*dataset.classes, *dataset.md5.values(), *dataset.notes, *dataset.unchecked, *dataset.aliases]
    expected += [dataset.source.page, dataset.source.licence, dataset.source.citation]
    expected += [f"counts {edition}  train {counts.train:,}, " for edition, counts in dataset.counts.items()]
    expected += [f"{', '.join(map(str, dataset.sizes))} px", "grey volumes" if dataset.ndim == 3 else " channel"]
    assert [fact for fact in expected if fact not in shown] == []
    assert {line in shown for line in ("recipe 28 px", "layout  ", "unchecked  ")} == {dataset.has_raw_pipeline}
    assert json.loads(invoke("info", dataset.flag, "--json").stdout) == dataset.facts()


def test_info_takes_an_alias_even_beside_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("organmnist_axial").write_text("")
    assert "OrganMNIST_Axial" in invoke("info", "organmnist_axial").stdout


def test_info_of_a_store_shows_its_marks(tmp_path: Path) -> None:
    from mmtk import store

    facts = {f.name: "x" for f in fields(store.StoreInfo)}
    facts |= {"flag": "breastmnist", "task": "binary-class", "classes": ("a", "b"), "channels": 1, "size": 8, "ndim": 2,
              "recipe": '[{"step": "grey"}]', "synthetic": True, "partial": True,
              "unchecked": ("its crop",)}
    empty = (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 1), np.uint8), np.zeros(2, store.record_dtype(1, 1)))
    path = tmp_path / "breastmnist_8.h5"
    store.write_store(path, store.StoreInfo(**facts), dict.fromkeys(("train", "val", "test"), empty))
    shown = invoke("info", path).stdout
    assert f"{path} SYNTHETIC PARTIAL" in shown
    assert "unchecked    - its crop" in shown
    assert "train 2, val 2, test 2" in shown
    told = json.loads(invoke("info", path, "--json").stdout)
    assert (told["synthetic"], told["counts"]["val"], told["recipe"]) == (True, 2, [{"step": "grey"}])


@pytest.mark.parametrize("name", ["nosuch", "nosuch.h5"])
def test_info_of_nothing_is_an_error(name: str) -> None:
    assert isinstance(invoke("info", name, code=1).exception, MmtkError)  # main() makes it one line and exit 2


def test_phantom_then_sources_is_complete_until_a_file_is_lost(tmp_path: Path) -> None:
    assert "SYNTHETIC breastmnist" in invoke("phantom", "breastmnist", "--out", tmp_path, "--scale", "0.001").stdout
    shown = invoke("sources", "breastmnist", "--sources", tmp_path).stdout
    assert "BUSI SYNTHETIC" in shown
    assert "28 of 28, complete" in shown
    next(tmp_path.rglob("benign (5001).png")).unlink()
    told = json.loads(invoke("sources", "breastmnist", "--sources", tmp_path, "--json", code=1).stdout)
    assert [(one["complete"], one["images"], one["expected"], one["findings"]) for one in told] == [
        (False, 27, 28, {"missing": 1})
    ]
    shown = invoke("sources", "--sources", tmp_path, code=1).stdout
    assert "https://doi.org/10.7910/DVN/DBW86T" in shown  # Derma is not there: where to get it
    assert "problem" in shown


def test_sources_says_of_real_samples_what_is_missing(real_data) -> None:
    shown = invoke("sources", "breastmnist", "organmnist_axial", "--sources", real_data / "sources", code=1).stdout
    for part in ("46 of 780, incomplete", "missing   734: benign/benign (1).png", "CC BY 4.0", "0 volumes"):
        assert part in shown


def test_sources_of_no_folder_is_bad_usage(tmp_path: Path) -> None:
    assert "is not a folder" in invoke("sources", "--sources", tmp_path / "absent", code=2).output


def test_a_source_that_several_datasets_share_has_a_name_too():
    chosen = choose(("organmnist", "organcmnist", "breastmnist"))
    assert [dataset.flag for dataset in chosen] == ["organamnist", "organcmnist", "organsmnist", "breastmnist"]
    assert [dataset.flag for dataset in choose(())] == [*TEN], "those that are built from raw images"


def test_what_is_at_hand_can_be_asked_from_python(tmp_path: Path) -> None:
    write_phantom("breastmnist", tmp_path, scale=0.001)
    report = inspect_source(get_dataset("breastmnist"), tmp_path)
    assert (report.folder, report.complete, report.synthetic) == (tmp_path / "breastmnist", True, True)
    assert report.images == report.expected
    min(path for path in (tmp_path / "breastmnist").rglob("*.png") if "mask" not in path.name).unlink()
    report = inspect_source(get_dataset("breastmnist"), tmp_path)
    assert (report.expected - report.images, report.complete, report.count("missing")) == (1, False, 1)
    assert report.bytes < report.expected_bytes
    absent = inspect_source(get_dataset("retinamnist"), tmp_path)
    assert (absent.folder, absent.complete, absent.images) == (None, False, 0)
    assert absent.problem.startswith(f"{tmp_path}: does not contain DeepDRiD")
    with pytest.raises(SourceError, match="does not contain the sources of pathmnist, "):
        available(tmp_path)
    there, others = available(tmp_path, allow_partial=True)
    assert [dataset.flag for dataset in there] == ["breastmnist"]
    assert str(others["retinamnist"]) == absent.problem
