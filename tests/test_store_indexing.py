"""Stores by name and splits by row: what a hand expects of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from tests.small_stores import MULTILABEL, write_small_store


@pytest.fixture(params=["mapped", "compressed"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> store.Store:
    plain = store.open(write_small_store(tmp_path / "a.h5", (20, 6, 9), channels=3, classes=4, task=MULTILABEL))
    return plain if request.param == "mapped" else store.open(store.compress(plain, tmp_path / "packed"))


def test_a_store_gives_its_splits_by_name_and_in_turn(opened: store.Store) -> None:
    assert opened["train"] is opened.train
    assert [split.name for split in opened] == ["train", "val", "test"]
    assert "test" in opened
    assert opened.val in opened
    assert "tset" not in opened
    assert 3 not in opened


@pytest.mark.parametrize("name", ["tset", "Train", 0, None])
def test_an_unknown_split_is_a_key_error_that_suggests_one(opened: store.Store, name: object) -> None:
    with pytest.raises(KeyError) as caught:
        opened[name]  # type: ignore[index]
    assert isinstance(caught.value, ArgumentError)
    said = str(caught.value)
    assert str(opened.path) in said
    assert {"tset": "did you mean test", "Train": "did you mean train"}.get(str(name), "train, val, test") in said


def test_a_row_is_an_image_and_its_labels(opened: store.Store) -> None:
    split = opened.train
    for row in (0, 7, -1, np.int64(3)):
        image, label = split[row]
        assert (image.shape, image.dtype, label.shape, label.dtype) == ((8, 8, 3), np.uint8, (4,), np.uint8)
        assert np.array_equal(image, split.images[row])
        assert np.array_equal(label, split.labels[row])


@pytest.mark.parametrize("rows", [
    slice(2, 5), slice(None, None, -3), slice(30, 40), [0, 3, -1], [], np.arange(20)[::4], np.arange(20) % 2 == 0,
])
def test_several_rows_are_arrays(opened: store.Store, rows: object) -> None:
    split = opened.train
    whole = np.arange(len(split))[np.asarray(rows, int) if isinstance(rows, list) else rows]
    images, labels = split[np.asarray(rows, int) if rows == [] else rows] if isinstance(rows, list) else split[rows]
    assert np.array_equal(images, np.asarray([split.images[row] for row in whole]).reshape(-1, 8, 8, 3))
    assert np.array_equal(labels, split.labels[whole])


@pytest.mark.parametrize("rows", [20, -21, (0, 1), "0", None, ..., True, 1.5, [25]])
def test_what_is_no_row_is_an_index_error(opened: store.Store, rows: object) -> None:
    with pytest.raises(IndexError):
        opened.train[rows]


def test_a_loop_over_a_split_ends(opened: store.Store) -> None:
    pairs = list(opened.val)
    assert len(pairs) == 6
    assert all(np.array_equal(image, opened.val.images[row]) for row, (image, _) in enumerate(pairs))
    assert [label.tolist() for _, label in pairs] == opened.val.labels.tolist()


def test_an_image_is_a_view_of_the_mapped_file(tmp_path: Path) -> None:
    split = store.open(write_small_store(tmp_path / "a.h5")).train
    assert np.shares_memory(split[4][0], split.images)
    assert np.shares_memory(split[2:4][0], split.images)


def test_a_split_without_labels_says_so(opened: store.Store) -> None:
    hidden = store.without_labels(opened).test
    with pytest.raises(StoreError, match="labels"):
        hidden[0]
    with pytest.raises(StoreError, match="labels"):
        next(iter(hidden))


def test_a_file_cut_short_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = write_small_store(tmp_path / "a.h5", (900, 20, 20), size=28)
    split = store.open(path).train
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(StoreError):
        split[0]
    with pytest.raises(StoreError):
        iter(split)
