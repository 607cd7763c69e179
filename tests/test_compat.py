"""Ways out of a store: Hugging Face and Croissant."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mmtk import compat, store
from tests.commands import invoke, run_mmtk
from tests.small_stores import MULTILABEL, write_small_store

pytest.importorskip("PIL")


@pytest.fixture
def root(tmp_path):
    write_small_store(tmp_path / "breastmnist_28.h5", (40, 9, 12), size=28, partial=True)
    path = {"flag": "pathmnist", "channels": 3, "size": 64, "classes": 9, "task": "multi-class"}
    write_small_store(tmp_path / "pathmnist_64.h5", (20, 6, 9), **path)
    chest = {"flag": "chestmnist", "size": 28, "classes": 14, "task": MULTILABEL}
    write_small_store(tmp_path / "chestmnist_28.h5", (30, 6, 20), **chest)
    return tmp_path


# ------------------------------------------------------------------------ hugging face


def test_hugging_face_gets_images_and_class_names(root, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    for name in ("breastmnist_28", "pathmnist_64", "chestmnist_28"):
        opened = store.open(root / f"{name}.h5")
        found = compat.to_huggingface(opened, tmp_path / "cache")
        assert set(found) == {"train", "validation", "test"}
        for split, rows in zip(opened.splits, found.values(), strict=True):
            assert len(rows) == len(split)
            for row in (0, len(split) - 1):
                assert np.array_equal(np.array(rows[row]["image"]), split.images[row])
                label = rows[row]["labels" if opened.info.labels > 1 else "label"]
                expected = split.labels[row]
                assert label == (expected.tolist() if opened.info.labels > 1 else expected[0])


def test_hugging_face_gets_arrays_as_they_are_now(root, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    opened = store.open(root / "breastmnist_28.h5")
    before = compat.to_huggingface(opened, tmp_path / "cache")["train"]["label"]
    opened.train.labels[3] = 1 - opened.train.labels[3]
    opened.train.images[4] = 7
    flipped = replace(opened, val=replace(opened.val, labels=1 - opened.val.labels))
    found = compat.to_huggingface(flipped, tmp_path / "cache")
    assert [row for row, (a, b) in enumerate(zip(before, found["train"]["label"], strict=True)) if a != b] == [3]
    assert np.array(found["train"][4]["image"]).tolist() == [[7] * 28] * 28
    assert found["validation"]["label"] == (1 - store.open(opened.path).val.labels[:, 0]).tolist()


def test_hugging_face_gets_licence_citation_and_marks(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    plain = store.open(write_small_store(tmp_path / "a.h5", synthetic=True, partial=True))
    arrays = {split.name: (split.images, split.labels, split.records) for split in plain.splits}
    for number in range(2):  # facts may be other ones though the cache has the rows
        info = replace(plain.info, licence=f"CC BY {number}.0", citation=f"Doe {number}", page="https://a.example")
        found = compat.to_huggingface(
            store.open(store.write_store(tmp_path / "b.h5", info, arrays)), tmp_path / "cache"
        )
        for rows in found.values():
            assert (rows.info.license, rows.info.citation) == (f"CC BY {number}.0", f"Doe {number}")
            assert rows.info.homepage == "https://a.example"
            assert rows.info.description == "breastmnist, 8 px. SYNTHETIC PARTIAL"


# --------------------------------------------------------------------------- croissant


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_a_store_is_described_as_croissant_that_its_own_library_takes(root):
    for name in ("breastmnist_28", "chestmnist_28"):
        done = invoke("info", root / f"{name}.h5", "--croissant")
        described = json.loads(done.output)
        assert described["distribution"][0]["encodingFormat"] == "application/x-hdf5"
        mlcroissant = pytest.importorskip("mlcroissant")
        (root / "croissant.json").write_text(done.output)
        read = mlcroissant.Dataset(root / "croissant.json")
        assert not read.metadata.ctx.issues.errors
        # of HDF5 nothing reads rows: those are in what export --to hub writes
        assert [sets.id for sets in read.metadata.record_sets] == ["classes"]
        names = [row["classes/name"] for row in read.records("classes")]
        assert names == list(store.open(root / f"{name}.h5").info.classes)
    refused = run_mmtk("info", "breastmnist", "--croissant", code=2).stderr
    assert "--croissant: " in refused


def test_a_store_of_another_dataset_is_described_too(tmp_path):
    path = write_small_store(tmp_path / "eleventh_28.h5", flag="eleventh", size=28)
    described = compat.to_croissant(store.open(path))
    assert (described["name"], described["url"]) == ("eleventh-28", "")
