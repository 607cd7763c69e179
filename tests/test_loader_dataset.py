"""SplitDataset: a plain map-style dataset that pickles, forks and spawns."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from mmtk.loader import ArrayBatches, Batches, SplitDataset, join
from tests.commands import run_python
from tests.peers import torchvision
from tests.small_stores import MULTILABEL, write_small_store

torch = pytest.importorskip("torch")
loading = pytest.importorskip("torch.utils.data")


@pytest.fixture(params=[{}, {"channels": 3}, {"ndim": 3}], ids=["grey", "rgb", "volume"])
def path(request, tmp_path):
    return write_small_store(tmp_path / "s.h5", (23, 5, 5), **request.param)


def halve(tensor):
    return tensor // 2


def test_items_are_the_stores_rows(path):
    split, dataset = store.open(path).train, SplitDataset(path, "train")
    info = split.info
    assert len(dataset) == 23
    for row in (0, 22, -1, np.int64(3), torch.tensor(4)):
        image, label = dataset[row]
        assert (image.shape, image.dtype) == ((info.channels, *(8,) * info.ndim), torch.uint8)
        assert np.array_equal(image.movedim(0, -1).numpy().reshape(split.images.shape[1:]), split.images[int(row)])
        assert (label.dtype, label.shape, int(label)) == (torch.int64, (), split.labels[int(row), 0])


def test_a_batch_of_items_equals_the_items(path):
    dataset = SplitDataset(path, "train", transform=halve, target_transform=int)
    rows = [5, 1, -1, 5]
    for (image, label), row in zip(dataset.__getitems__(rows), rows, strict=True):
        alone, same = dataset[row]
        assert torch.equal(image, alone)
        assert type(label) is int
        assert label == same
    assert torch.equal(dataset[0][0], SplitDataset(path, "train")[0][0] // 2)
    assert dataset.__getitems__([]) == []


def test_multi_label_rows_are_float32(tmp_path):
    path = write_small_store(tmp_path / "s.h5", task=MULTILABEL, classes=4)
    label = SplitDataset(path, "val")[2][1]
    assert label.dtype == torch.float32
    assert label.tolist() == store.open(path).val.labels[2].tolist()


def test_writing_into_an_item_changes_nothing_else(path):
    dataset = SplitDataset(path, "train")
    image, label = dataset[3]
    before = image.clone()
    image.zero_()
    label.fill_(9)
    again, same = dataset[3]
    assert torch.equal(again, before)
    assert same < 9


@pytest.mark.parametrize("row", [23, -24])
def test_rows_out_of_range_are_index_errors_and_fractions_type_errors(path, row):
    dataset = SplitDataset(path, "train")
    with pytest.raises(IndexError):
        dataset[row]
    with pytest.raises(TypeError):
        dataset[1.5]
    assert len(list(dataset)) == 23


@pytest.mark.parametrize(
    "rows",
    [np.arange(20)[::2], np.arange(20)[::-1], np.arange(20).reshape(10, 2)[:, 0], np.arange(-5, 5),
     torch.tensor([3, 1]), np.array([1, 2], np.uint64), np.array([1, -2], np.int8),
     np.array([1, 2], ">i8"), range(3, 9, 2)],
    ids=str,
)
def test_rows_may_be_any_array_of_whole_numbers(path, rows):
    dataset = SplitDataset(path, "train")
    for (image, label), row in zip(dataset.__getitems__(rows), list(rows), strict=True):
        assert torch.equal(image, dataset[int(row)][0])
        assert torch.equal(label, dataset[int(row)][1])


@pytest.mark.parametrize(
    ("rows", "error"),
    [(np.array([2**64 - 1], np.uint64), IndexError), (np.array([0, -(2**63)]), IndexError), (np.array(3), TypeError),
     (np.zeros((2, 2), int), TypeError), ([True, False], TypeError), (["1"], TypeError), ([1.0], TypeError)],
    ids=str,
)
def test_rows_that_cannot_be_are_refused(path, rows, error):
    with pytest.raises(error, match="expected"):
        SplitDataset(path, "train").__getitems__(rows)


def test_it_pickles_as_its_path(path):
    dataset = SplitDataset(path, "train", transform=halve)
    data = pickle.dumps(dataset)
    assert len(data) < 2000
    copy = pickle.loads(data)
    assert len(copy) == 23
    assert torch.equal(copy[7][0], dataset[7][0])


def test_a_relative_path_holds_wherever_the_process_goes(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    dataset = pickle.loads(pickle.dumps(SplitDataset("s.h5", "train")))
    monkeypatch.chdir("/")
    assert dataset[0][0].dtype == torch.uint8


def test_another_store_under_the_same_name_is_refused(path):
    dataset = SplitDataset(path, "train")
    data = pickle.dumps(dataset)
    before, info = dataset[0][0], store.open(path).info
    kind = {"channels": info.channels, "ndim": info.ndim}
    write_small_store(path.with_name("other.h5"), (23, 5, 5), seed=1, **kind).replace(path)
    assert torch.equal(dataset[0][0], before)  # the opened one goes on
    with pytest.raises(StoreError, match="has been replaced by another store"):
        pickle.loads(data)[0]
    path.unlink()
    with pytest.raises(StoreError, match="no such file"):
        pickle.loads(data)[0]


@pytest.mark.parametrize("how", ["here", "fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_dataloader_takes_it_with_and_without_workers(path, how):
    workers = {} if how == "here" else {"num_workers": 2, "multiprocessing_context": how}
    split = store.open(path).train
    batches = list(loading.DataLoader(SplitDataset(path, "train"), batch_size=10, shuffle=False, **workers))
    images = torch.cat([images for images, _ in batches]).movedim(1, -1).numpy()
    assert np.array_equal(images.reshape(split.images.shape), split.images)
    assert torch.cat([labels for _, labels in batches]).tolist() == split.labels[:, 0].tolist()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_small_store(tmp_path_factory.mktemp("stores") / "s.h5", (90, 5, 5), channels=3)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
@settings(max_examples=6)
@given(
    rows=st.lists(st.integers(-90, 89), min_size=1, max_size=120), batch_size=st.integers(1, 50), own=st.booleans(),
    keep=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_a_dataloader_gets_the_rows_it_asks_for_and_batches_keep_their_pixels(
    large, workers, rows, batch_size, own, keep
):
    dataset, split = SplitDataset(large, "train"), store.open(large).train
    options = {"multiprocessing_context": "fork"} if workers else {}
    loader = loading.DataLoader(
        dataset, batch_size, sampler=rows, num_workers=workers, collate_fn=dataset.collate if own else None, **options
    )
    kept = []
    for number, (images, labels) in enumerate(loader):
        here = rows[number * batch_size : (number + 1) * batch_size]
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), split.images[here])
        assert labels.tolist() == split.labels[here, 0].tolist()
        if keep[number % len(keep)]:
            kept.append((images, here))
        else:
            images.fill_(3)
            labels.fill_(3)
    assert number == (len(rows) - 1) // batch_size
    for images, here in kept:
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), split.images[here])


def test_the_default_collate_function_takes_a_batch_as_it_is(path):
    dataset = SplitDataset(path, "train")
    items = dataset.__getitems__([5, 6, 7])
    images, labels = loading.default_collate(items)
    assert (images.data_ptr(), labels.data_ptr()) == (items.images.data_ptr(), items.labels.data_ptr())
    columns = loading.default_collate(list(items))  # one by one, as a dataset made of others gives them
    assert torch.equal(columns[0], images)
    assert torch.equal(columns[1], labels)


def test_datasets_made_of_it_work(path):
    dataset, halved = SplitDataset(path, "train"), SplitDataset(path, "train", transform=halve)
    images, labels = next(iter(loading.DataLoader(dataset, 23, collate_fn=dataset.collate)))
    found, targets = next(iter(loading.DataLoader(loading.Subset(dataset, [7, 3, 20]), 3)))
    assert torch.equal(found, images[[7, 3, 20]])
    assert torch.equal(targets, labels[[7, 3, 20]])
    for first, second in ((dataset, halved), (halved, dataset)):
        ways = [images // 2 if one is halved else images for one in (first, second)]
        found, targets = next(iter(loading.DataLoader(loading.ConcatDataset([first, second]), 46)))
        assert torch.equal(found, torch.cat(ways))
        assert torch.equal(targets, torch.cat([labels, labels]))
        (found, targets), (others, _) = next(iter(loading.DataLoader(loading.StackDataset(first, second), 23)))
        assert torch.equal(torch.stack([found, others]), torch.stack(ways))
        assert torch.equal(targets, labels)


@pytest.fixture
def transforms():
    torchvision()
    return pytest.importorskip("torchvision.transforms.v2")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("path", [{}, {"channels": 3}], ids=["grey", "rgb"], indirect=True)
def test_single_images_pass_through_transforms_of_torchvision(path, transforms, workers):
    split = store.open(path).train
    channels = split.info.channels
    chain = transforms.Compose([
        transforms.RandomHorizontalFlip(1.0), transforms.Resize((12, 10)),
        transforms.ToDtype(torch.float32, scale=True), transforms.Normalize([0.5] * channels, [0.5] * channels),
    ])
    options = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}
    dataset = SplitDataset(path, "train", transform=chain)
    for collate in (dataset.collate, None):
        batches = list(loading.DataLoader(dataset, 10, collate_fn=collate, **options))
        found, labels = (torch.cat(column) for column in zip(*batches, strict=True))
        pixels = torch.from_numpy(split.images.reshape(23, 8, 8, channels)).permute(0, 3, 1, 2)
        expected = torch.stack([chain(image) for image in pixels])
        assert found.shape == (23, channels, 12, 10)
        assert torch.equal(found, expected)
        assert labels.tolist() == split.labels[:, 0].tolist()


def test_slices_and_sums_are_torchs(path):
    dataset = SplitDataset(path, "train", transform=halve)
    assert isinstance(dataset, loading.Dataset)
    for some, rows in ((dataset[2:5], [2, 3, 4]), (dataset[::-10], [22, 12, 2])):
        assert isinstance(some, loading.Subset)
        (images, labels), = loading.DataLoader(some, 5)
        assert torch.equal(images, torch.stack([dataset[row][0] for row in rows]))
        assert labels.tolist() == dataset.targets[rows].tolist()
    both = dataset + SplitDataset(path, "val")
    assert isinstance(both, loading.ConcatDataset)
    assert len(both + dataset[:0]) == 28
    assert not len(dataset[5:5])


def test_labels_targets_and_classes_are_told_and_cannot_be_changed(path, tmp_path):
    split = store.open(path).train
    several = SplitDataset(write_small_store(tmp_path / "m.h5", task=MULTILABEL, classes=4), "train")
    for dataset in (SplitDataset(path, "train"), pickle.loads(pickle.dumps(SplitDataset(path, "train")))):
        assert np.array_equal(dataset.labels, split.labels)
        assert (dataset.labels.dtype, dataset.targets.dtype) == (np.uint8, np.int64)
        assert dataset.targets.tolist() == split.labels[:, 0].tolist() == [int(label) for _, label in dataset]
        assert dataset.classes == split.info.classes
        for name in ("labels", "targets"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(dataset, name)[0] = 1
            with pytest.raises(AttributeError):
                setattr(dataset, name, [1])
    assert (several.targets.dtype, several.targets.shape) == (np.float32, (20, 4))


def test_labels_that_were_changed_stay_changed_wherever_data_is_sent(path):
    batches = ArrayBatches(store.open(path).train, 23)
    with pytest.raises(ValueError, match="read-only"):
        batches.data.targets[0] = 1
    noisy = replace(batches.data, targets=1 - batches.data.targets)
    both = join([store.open(path).train, store.open(path).val])
    offset = replace(both, targets=both.targets + 5)
    for data in (noisy, offset):
        for again in (data, pickle.loads(pickle.dumps(data)), deepcopy(data), copy(data)):
            assert np.array_equal(again.targets, data.targets)
            for kind in (Batches, ArrayBatches):
                (images, labels), = pickle.loads(pickle.dumps(kind(again, 28)))
                assert labels.tolist() == data.targets.tolist()
                assert len(images) == len(data)
    with pytest.raises(ValueError, match="read-only"):
        both.targets[0] = 1
    split, targets = batches.data.parts[0], batches.data.targets.tolist()
    split.labels[:] = 1 - split.labels  # which batches made before do not see, here or elsewhere
    for again in (batches, pickle.loads(pickle.dumps(batches)), deepcopy(batches)):
        assert np.concatenate([labels for _, labels in again]).tolist() == targets
    loader = loading.DataLoader(Whole(noisy), None, num_workers=1, multiprocessing_context="spawn")
    assert next(iter(loader)).tolist() == noisy.targets.tolist()


class Whole(loading.Dataset):
    """The targets of data, as a worker has them."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return torch.tensor(self.data.targets)


LATE = """
import importlib.util, sys
from mmtk.errors import MmtkError
from mmtk.loader import MapDataset, SplitDataset

class Own(MapDataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return range(2)[index]

own = Own()
assert "torch" not in sys.modules
without, sys.modules["torch"] = sys.modules.get("torch"), None
try:
    own + own
except MmtkError as error:
    assert str(error) == "tensors: needs the package torch, which is not installed; pip install 'mmtk[train]'", error
else:
    raise AssertionError
del sys.modules["torch"]
assert importlib.util.find_spec("torch.utils.data")  # as some ask whether it is there
from torch.utils.data import ConcatDataset, DataLoader, Dataset
assert isinstance(own, Dataset) and issubclass(SplitDataset, Dataset) and not issubclass(str, Dataset)
assert isinstance(own + own, ConcatDataset) and next(iter(DataLoader(own, 2))).tolist() == [0, 1]
split = SplitDataset(sys.argv[1], "train")
assert isinstance(split, Dataset) and len(split + split) == 46
"""


def test_it_is_a_torch_dataset_also_where_torch_comes_later_and_imports_none(path):
    run_python("-c", LATE, path, code=0)


SLOW_TORCH = """
from typing import Generic, TypeVar
import slow

slow.reached.set()
assert slow.go.wait(60)

class Dataset(Generic[TypeVar("T")]):
    pass
"""
AMID = """
import sys, threading
import slow

other = threading.Thread(target=__import__, args=("torch.utils.data",))
other.start()
assert slow.reached.wait(60)
threading.Timer(0.2, slow.go.set).start()
from mmtk.loader import SplitDataset
assert slow.go.is_set()
assert issubclass(SplitDataset, sys.modules["torch.utils.data"].Dataset)
"""


def test_it_is_a_torch_dataset_also_where_another_thread_is_at_importing_torch(tmp_path):
    folder = tmp_path / "torch" / "utils" / "data"
    folder.mkdir(parents=True)
    for package, text in ((folder, SLOW_TORCH), (folder.parent, ""), (folder.parents[1], "")):
        (package / "__init__.py").write_text(text)
    (tmp_path / "slow.py").write_text("import threading\nreached, go = threading.Event(), threading.Event()\n")
    run_python("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{AMID}", code=0)


def test_a_store_gone_when_workers_start_is_one_clear_error(path):
    dataset = pickle.loads(pickle.dumps(SplitDataset(path, "train")))
    path.unlink()
    loader = loading.DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(StoreError, match="no such file"):
        next(iter(loader))


def test_unknown_splits_and_missing_stores_are_refused(path):
    with pytest.raises(ArgumentError, match="split: found 'dev', expected train or val or test"):
        SplitDataset(path, "dev")
    with pytest.raises(StoreError, match="no such file"):
        SplitDataset(path.with_name("none.h5"), "train")
