"""What other libraries and tools read of a store, and what mmtk reads of theirs."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pytest

import mmtk
from mmtk.scoring import read_outside
from tests.commands import invoke
from tests.small_stores import MULTILABEL, write_small_store


def test_datasets_of_hugging_face(small, tmp_path):
    pytest.importorskip("datasets", reason="datasets is not installed")
    from torch.utils.data import DataLoader

    from mmtk.compat import to_huggingface

    found = to_huggingface(small, cache_dir=tmp_path / "cache")
    assert {name: len(rows) for name, rows in found.items()} == {"train": 20, "validation": 6, "test": 9}
    assert found["train"].features["label"].names == ["0", "1"]
    chosen = found["train"].filter(lambda label: label == 1, input_columns="label")
    kept = small.train.images[small.train.labels[:, 0] == 1]
    np.testing.assert_array_equal([np.asarray(image) for image in chosen["image"]], kept)
    batch = next(iter(DataLoader(found["test"].with_format("torch"), 9)))
    np.testing.assert_array_equal(batch["image"][:, 0].numpy(), small.test.images)
    np.testing.assert_array_equal(batch["label"].numpy(), small.test.labels[:, 0])


def test_labels_of_many_collate_for_hugging_face(tmp_path):
    pytest.importorskip("datasets", reason="datasets is not installed")
    from torch.utils.data import DataLoader

    from mmtk.compat import to_huggingface

    opened = mmtk.open(write_small_store(tmp_path / "chestmnist_8.h5", flag="chestmnist", task=MULTILABEL, classes=14))
    rows = to_huggingface(opened, cache_dir=tmp_path / "cache")["train"].with_format("torch")
    batch = next(iter(DataLoader(rows.select_columns("labels"), 20)))
    np.testing.assert_array_equal(batch["labels"].numpy(), opened.train.labels)


def test_pandas_writes_scores_and_reads_facts(small, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")

    scores = np.random.default_rng(0).dirichlet(np.ones(2), len(small.test))
    path = tmp_path / "breastmnist_8_test.csv"
    pandas.DataFrame(scores, columns=["0", "1"]).sample(frac=1, random_state=0).to_csv(path)  # rows out of order
    np.testing.assert_allclose(read_outside(path, small, "test"), scores)

    facts = pandas.read_json(io.StringIO(invoke("list", "--json").output)).set_index("flag")
    assert facts.loc["pathmnist", "channels"] == 3
    assert facts.loc["breastmnist", "counts"]["2020"]["train"] == 546


def test_xarray_opens_a_split(coloured):
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    pytest.importorskip("h5netcdf", reason="h5netcdf is not installed; xarray reads HDF5 by it")

    with xarray.open_dataset(coloured.path, engine="h5netcdf", group="val", phony_dims="sort") as split:
        np.testing.assert_array_equal(split["images"].to_numpy(), coloured.val.images)
        np.testing.assert_array_equal(split["labels"].to_numpy(), coloured.val.labels)
        assert float(split["images"].mean()) == pytest.approx(coloured.val.images.mean())


def test_h5ls_lists_a_store(small):
    command = shutil.which("h5ls")
    if command is None:
        pytest.skip("h5ls is not installed (Debian: hdf5-tools)")
    listed = subprocess.run([command, "-r", small.path], capture_output=True, text=True, check=True, timeout=60)
    lines = dict(line.split(None, 1) for line in listed.stdout.splitlines())
    assert lines["/train/images"] == "Dataset {20, 8, 8}"
    assert lines["/test/labels"] == "Dataset {9, 1}"
    assert lines["/digest"] == "Dataset {32}"
