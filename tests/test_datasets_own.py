"""A dataset that MedMNIST never had: JPEGs by class, the patient in the name, in every command and from Python."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import mmtk.datasets
import mmtk.phantom
from mmtk import proof, store
from mmtk.builder import build
from mmtk.cli import group
from mmtk.datasets.base import Counts, Dataset, Record, Scan, Source, Task
from mmtk.datasets.collecting import collect, matching
from mmtk.datasets.listing import Listing
from mmtk.datasets.splits import GroupedCut
from mmtk.datasets.steps import CenterCrop, Grey, Resize, as_released
from mmtk.errors import ArgumentError
from mmtk.phantom import PHANTOMS
from mmtk.registry import Registry

CLASSES = ("normal", "nodule")
COUNTS = Counts(8, 4, 4)
IMAGE = re.compile(r"(?:.*/)?(?P<source>(?P<kind>normal|nodule)/(?P<patient>[a-z0-9]+)_[0-9]+\.jpg)")


def scan(listing: Listing) -> Scan:
    matches = matching(listing, IMAGE)
    return collect(LUNG, listing, (Record(m["source"], m[0], (CLASSES.index(m["kind"]),), m["patient"])
                                   for m in matches))


LUNG = Dataset(
    flag="lungmnist", title="LungMNIST", modality="chest X-ray", task=Task.BINARY, classes=CLASSES, channels=1,
    counts={"2026": COUNTS}, source=Source("Lung", "CC0", "https://example.org", "<class>/<patient>_<n>.jpg", "Nobody",
                                           marks=("nodule",)),
    recipe=as_released(Grey(), CenterCrop(), Resize()), split=GroupedCut(COUNTS), scan=scan,
)


@pytest.fixture
def know(monkeypatch):
    """Register a dataset beside the ten until the test ends."""
    ten = mmtk.datasets.list_datasets()

    def register(dataset: Dataset = LUNG) -> None:
        known = Registry("dataset", mmtk.datasets.TEN)
        for each in (*ten, dataset):
            known.add(each, each.flag, *each.aliases)
        monkeypatch.setattr(mmtk.datasets, "_DATASETS", known)

    return register


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for number, kind in enumerate(CLASSES):
        folder = tmp_path / "sources" / "Lung" / kind
        folder.mkdir(parents=True)
        for image in range(8):
            cv2.imwrite(str(folder / f"p{number}{image // 2}_{image % 2}.jpg"), np.full((40, 48), 20 * image, np.uint8))
    return tmp_path / "sources"


def mmtk_command(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(group, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_it_is_built_in_its_first_edition_by_the_command(know, sources, tmp_path: Path) -> None:
    know()
    told = mmtk_command("build", "lungmnist", "--sources", sources, "--out", tmp_path, "--size", 28, "--size", 64)
    assert told.stdout.count("train 8 of 8, val 4 of 4, test 4 of 4\n") == 2
    for size in (28, 64):
        built = store.open(store.store_path(tmp_path, "lungmnist", size))
        assert (built.info.edition, built.info.partial, built.info.unchecked) == ("2026", False, ())
    options = ("--sources", sources, "--plan-only", "--edition")
    assert "train 8 of 8" in mmtk_command("build", "lungmnist", *options, "2026").stdout
    error = mmtk_command("build", "lungmnist", *options, "2024", code=1).exception
    assert str(error) == "edition: found 2024, expected 2026"


def test_the_default_editions_are_the_papers_to_build_and_the_latest_to_fetch(monkeypatch, tmp_path) -> None:
    asked = []
    monkeypatch.setattr(store, "fetch_npz", lambda flag, out, edition, **_: asked.append((flag, edition)))
    for dataset in mmtk.datasets.list_datasets():
        mmtk_command("fetch", dataset.flag, "--out", tmp_path)
        assert dataset.first_edition == ("2020" if dataset.flag in mmtk.datasets.TEN else "2021")
    mmtk_command("fetch", "organcmnist", "--out", tmp_path, "--edition", "2020")
    assert asked == [*((d.flag, "2024") for d in mmtk.datasets.list_datasets()), ("organcmnist", "2020")]


def test_it_is_listed_and_shown_without_words_on_official_files(know) -> None:
    know()
    *_, last = mmtk_command("list").stdout.splitlines()
    assert last.split()[0] == "lungmnist"
    assert last.split()[-4:] == ["8", "4", "4", "CC0"]
    shown = mmtk_command("info", "lungmnist").stdout
    assert "counts 2026  train 8, val 4, test 4" in shown
    assert not re.search(r" -$|MD5|Breast|unchecked", shown, re.MULTILINE)


@pytest.mark.parametrize(("declared", "said", "code"), [
    (Counts(8, 4, 4), "16 of 16, complete\n", 0),
    (Counts(7, 4, 4), "16 of 15, complete, 1 surplus\n", 0),
    (Counts(9, 4, 4), "16 of 17, incomplete\n", 1),
])
def test_what_its_source_has_is_held_against_what_it_declares(
    know, sources, tmp_path, monkeypatch, declared, said, code
) -> None:
    changed = replace(LUNG, counts={"2026": declared})
    monkeypatch.setitem(globals(), "LUNG", changed)
    know(changed)
    assert said in mmtk_command("sources", "lungmnist", "--sources", sources, code=code).stdout
    (report,) = json.loads(mmtk_command("sources", "lungmnist", "--sources", sources, "--json", code=code).stdout)
    assert report["missing"] == ["1 of the source's 17 images"] * code
    options = ("--sources", sources, "--out", tmp_path)
    refused = mmtk_command("build", "lungmnist", *options, code=code)
    assert ("1 of the source's 17 images is missing" in str(refused.exception)) == bool(code)
    mmtk_command("build", "lungmnist", *options, "--allow-partial")
    assert store.open(store.store_path(tmp_path, "lungmnist", 28)).info.partial == bool(code)


def test_phantoms_are_written_of_those_that_have_one(know, tmp_path: Path, monkeypatch) -> None:
    know()
    error = mmtk_command("phantom", "lungmnist", "--out", tmp_path, code=1).exception
    assert str(error).startswith("dataset lungmnist: has no phantom; expected one of pathmnist, ")
    written = []
    monkeypatch.setattr(mmtk.phantom, "write_phantom", lambda family, *_: written.append(family))
    mmtk_command("phantom", "--out", tmp_path)
    assert written == [*PHANTOMS]


def test_nothing_is_to_be_fetched_of_what_was_never_published(know, sources, tmp_path: Path) -> None:
    know()
    error = mmtk_command("fetch", "lungmnist", "--out", tmp_path, code=1).exception
    assert str(error) == "lungmnist: has no official files"
    mmtk_command("build", "lungmnist", "--sources", sources, "--out", tmp_path)
    mmtk_command("export", tmp_path / "lungmnist_28.h5", "--to", "npz", "--out", tmp_path)
    for options in ({}, {"npz": tmp_path}, {"sources": sources, "npz": tmp_path}):
        told = proof.prove("lungmnist", sizes=[28], **options)
        assert [cell.remark for cell in told.cells] == ["never published"]
        assert [need.kind for need in told.needs] == ([] if "sources" in options else ["raw"])
    assert [cell.flag for cell in proof.prove(sizes=[28]).cells] == [*mmtk.datasets.TEN]


def test_one_that_declares_no_counts_is_listed_looked_for_and_not_to_be_proved(know, sources, tmp_path, monkeypatch):
    own = replace(LUNG, counts={})
    monkeypatch.setitem(globals(), "LUNG", own)
    know(own)
    *_, last = mmtk_command("list").stdout.splitlines()
    assert last.split()[-4:] == ["-", "-", "-", "CC0"]
    assert "16 of 16, complete\n" in mmtk_command("sources", "lungmnist", "--sources", sources).stdout
    mmtk_command("build", "lungmnist", "--sources", sources, "--out", tmp_path)
    assert store.open(store.store_path(tmp_path, "lungmnist", 28)).info.edition == ""
    with pytest.raises(ArgumentError, match="prove lungmnist: was never published"):
        proof.prove("lungmnist", sources=sources, sizes=[28])
    assert mmtk_command("info", "lungmnist").stdout.startswith("flag         lungmnist\n")


def test_counts_that_differ_are_called_declared(know, sources, monkeypatch) -> None:
    changed = replace(LUNG, counts={"2026": Counts(6, 4, 6)})
    monkeypatch.setitem(globals(), "LUNG", changed)
    know(changed)
    (differs,) = proof.prove("lungmnist", sources=sources, sizes=[28]).differences
    assert differs.reason == "the split rule gives train 8, val 4, test 4, but train 6, val 4, test 6 are declared"


def test_it_is_built_unregistered_from_python(sources, tmp_path: Path, monkeypatch) -> None:
    alone = replace(LUNG, flag="alonemnist")
    monkeypatch.setitem(globals(), "LUNG", alone)
    with pytest.raises(ArgumentError, match="dataset alonemnist"):
        mmtk.datasets.get_dataset("alonemnist")
    (result,) = build(alone, sources=sources, out=tmp_path)
    assert (result.counts, result.partial) == (vars(COUNTS), False)
    opened = store.open(result.path)
    store.export_npz(opened, tmp_path)
    with np.load(tmp_path / "alonemnist.npz") as arrays:
        assert np.array_equal(arrays["train_images"], opened.train.images)
