"""What a user changed stays changed wherever a dataset, a split or a store is copied or sent to."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmtk import store
from mmtk.compat import medmnist
from mmtk.errors import StoreError
from mmtk.store import _pages
from tests.commands import run_python
from tests.medmnists import counted, run_both, script, write_npz
from tests.small_stores import write_small_store

cloudpickle = pytest.importorskip("cloudpickle")
COPIES = {
    "deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
}
ARRAYS = ("images", "labels", "records")


@pytest.fixture(params=COPIES)
def again(request):
    return COPIES[request.param]


@pytest.fixture
def opened(tmp_path):
    return store.open(write_small_store(tmp_path / "breastmnist_28.h5", (400, 9, 12), size=28, partial=True))


def equal(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


@pytest.fixture(params=["pagemap", "no pagemap"])
def pages(request, monkeypatch):
    """Linux, and a system that tells nothing of its pages."""
    if request.param == "no pagemap":
        monkeypatch.setattr(_pages, "_MAP", "/nowhere")


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_was_written_into_goes_along(opened, again, name):
    array = getattr(opened.train, name)
    for row in (5, 399):
        array.view(np.uint8).reshape(400, -1)[row] ^= 1
    assert list(opened.train.changes()) == [name]
    assert not opened.val.changes()
    assert equal(again(opened.train), opened.train)
    whole = again(opened)
    assert all(equal(mine, theirs) for mine, theirs in zip(whole.splits, opened.splits, strict=True))
    assert equal(again(again(opened.train)), opened.train)


@pytest.mark.usefixtures("pages")
def test_what_was_only_read_is_left_out(opened):
    assert opened.train.images.sum() > 0
    assert not opened.train.changes()
    assert len(pickle.dumps(opened)) < 2000
    assert len(pickle.dumps(opened.train)) < 2000


def test_a_value_that_was_written_and_put_back_is_no_change(opened):
    value = int(opened.train.images[3, 4, 5])
    for written in (255 - value, value):
        opened.train.images[3, 4, 5] = written
    assert not opened.train.changes()


def test_what_was_replaced_goes_along(opened, again):
    few = replace(opened.train, **{name: getattr(opened.train, name)[::3] for name in ARRAYS})
    labels = replace(opened.train, labels=1 - opened.train.labels)
    renamed = replace(opened.train, info=replace(opened.info, title="another"))
    for split in (few, labels, renamed):
        found = again(again(split))
        assert equal(found, split)
        assert (found.info, found.name, found.store_digest) == (split.info, "train", opened.digest)
    for whole in (replace(opened, train=few), replace(opened, train=few, val=few, test=labels)):
        found = again(whole)
        assert all(equal(mine, theirs) for mine, theirs in zip(found.splits, whole.splits, strict=True))
        assert found.counts == whole.counts


def test_batches_of_what_was_changed_are_sent_with_it(opened):
    from mmtk.loader import ArrayBatches

    opened.val.images[4] = 9
    for split in (replace(opened.train, labels=1 - opened.train.labels), opened.val):
        batches = ArrayBatches(split, 50)
        again = pickle.loads(pickle.dumps(batches))
        for (images, labels), (images2, labels2) in zip(batches, again, strict=True):
            assert np.array_equal(images, images2)
            assert np.array_equal(labels, labels2)


def test_where_the_file_is_gone_the_arrays_go_along(opened, again):
    opened.path.unlink()
    assert equal(again(opened.train), opened.train)
    write_small_store(opened.path, (400, 9, 12), size=28, seed=5)
    assert equal(again(opened.train), opened.train)


def test_a_shallow_copy_shares_its_arrays(opened):
    split = copy.copy(opened.train)
    assert all(getattr(split, name) is getattr(opened.train, name) for name in ARRAYS)
    assert copy.copy(opened).val is opened.val


# ------------------------------------------------------------------------- datasets


@pytest.fixture(params=["store", "small npz", "cached npz"])
def data(request, tmp_path, monkeypatch):
    """A dataset out of a store in its root, of an ``.npz`` in memory, and of one whose store is in the cache."""
    from mmtk.compat.medmnist import _cache, _files

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "root"
    path = write_small_store(root / "breastmnist_28.h5", (546, 9, 12), size=28, partial=True)
    if request.param != "store":
        store.export_npz(store.open(path), root)
        path.unlink()
    if request.param == "cached npz":
        monkeypatch.setattr(_files, "_SMALL", 0)
        monkeypatch.setattr(_cache, "md5_of", lambda path: medmnist.INFO["breastmnist"]["MD5"])
    found = medmnist.BreastMNIST("train", root=root)
    assert (found._origin is None) == (request.param == "small npz")
    return found


def same(one, other):
    return np.array_equal(one.imgs, other.imgs) and np.array_equal(one.labels, other.labels)


def test_noisy_labels_and_parts_stay(data, again):
    noise = np.random.default_rng(0).random(data.labels.shape) < 0.4
    data.labels = np.where(noise, 1 - data.labels, data.labels)
    assert same(again(data), data)
    part = again(data)
    part.imgs, part.labels = part.imgs[:182], part.labels[:182]
    assert (len(again(part)), len(again(part).labels), len(data)) == (182, 182, 546)
    assert same(again(again(part)), part)


def test_what_was_written_in_place_stays(data, again):
    before = again(data)
    data.labels[7] = 1 - data.labels[7]
    data.imgs[9, 2:5, 2:5] = 255  # a trigger, as backdoor papers put it
    data.imgs[545] //= 2
    assert same(again(data), data)
    assert not np.array_equal(before.imgs, data.imgs)
    assert not np.array_equal(before.labels, data.labels)


def test_a_shallow_copy_of_a_dataset_shares_until_one_is_set_anew(data):
    other = copy.copy(data)
    assert other.imgs is data.imgs
    other.imgs = other.imgs[:5]
    assert len(data.imgs) == 546


def test_what_else_is_set_stays(data, again):
    data.mine, data.transform, data.info = {"weights": [1, 2]}, np.asarray, {**data.info, "task": "mine"}
    found = again(data)
    assert (found.mine, found.transform, found.info["task"]) == ({"weights": [1, 2]}, np.asarray, "mine")
    assert vars(found).keys() == vars(data).keys()


class Alone(medmnist.BreastMNIST):
    """A subclass that reads no file."""

    def __init__(self):
        self.imgs, self.labels = np.zeros((3, 4, 4), np.uint8), np.ones((3, 1), np.uint8)


def test_a_subclass_need_not_call_ours(again):
    assert same(again(Alone()), Alone())
    assert len(copy.copy(Alone())) == 3


def test_an_array_of_another_shape_or_type_is_another(data, opened, again):
    data.labels.shape = (-1,)
    data.imgs.dtype = np.int8
    found = again(data)
    assert same(found, data)
    assert (found.labels.shape, found.imgs.dtype) == ((546,), np.int8)
    opened.train.images.shape = (400, 784)
    assert again(opened).train.images.shape == (400, 784)


def test_what_was_taken_away_stays_away(data, again):
    del data.imgs
    assert not hasattr(again(data), "imgs")
    assert np.array_equal(again(again(data)).labels, data.labels)
    del data.labels
    assert vars(again(data)).keys() == vars(data).keys()


class Without(medmnist.BreastMNIST):
    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "imgs"}


class Whole(medmnist.BreastMNIST):
    def __getstate__(self):
        return {**super().__getstate__(), "more": 5}


class Counted(medmnist.BreastMNIST):
    def __setstate__(self, state):
        vars(self).update(state, count=len(state["imgs"]))


class Slots(medmnist.BreastMNIST):
    __slots__ = ("more",)


class Reduced(medmnist.BreastMNIST):
    def __reduce__(self):
        return type(self), (self.split, None, None, False, False, self.root), {"more": 5, "first": self.imgs}


class Called(medmnist.BreastMNIST):
    def __reduce__(self):
        return type(self), (self.split, None, None, False, False, self.root)


def test_subclasses_pickle_as_they_say(data, monkeypatch):
    copies = [*COPIES.values(), copy.copy]
    for again in copies:
        found = again(Without("train", root=data.root))
        assert not hasattr(found, "imgs")
        assert np.array_equal(found.labels, data.labels)
        for kind in (Whole, Counted, Slots, Reduced, Called):
            sent = kind("train", root=data.root)
            if kind is Slots:
                sent.more = 5
            found = again(sent)
            assert same(found, data)
            assert getattr(found, "more", 5) == 5
        assert again(Counted("train", root=data.root)).count == 546
        assert np.array_equal(again(Reduced("train", root=data.root)).first, data.imgs)


def test_two_names_of_an_array_stay_so(data, again):
    data.data = data.imgs
    found = again(data)
    assert found.data is found.imgs
    found.data[0] = 7
    assert (found.imgs[0] == 7).all()
    assert not (data.imgs[0] == 7).all()


def test_what_pickles_in_full_needs_no_file(data, again):
    data.imgs, data.labels = data.imgs[:5].copy(), data.labels[:5].copy()
    text = pickle.dumps(data)
    for path in Path(data.root).iterdir():
        path.unlink()
    assert same(pickle.loads(text), data)


def test_pixels_that_nobody_changed_are_left_out(data):
    size = len(pickle.dumps(data))
    assert size < 20_000 or data._origin is None
    data.imgs[0, 0, 0] += 1
    assert len(pickle.dumps(data)) > 400_000


def test_another_store_in_its_place_is_no_substitute(tmp_path):
    path = write_small_store(tmp_path / "breastmnist_28.h5", (40, 9, 12), size=28)
    text = pickle.dumps(medmnist.BreastMNIST("train", root=tmp_path))
    write_small_store(path, (40, 9, 12), size=28, seed=5)
    with pytest.raises(StoreError, match="another store"):
        pickle.loads(text)


def test_a_cache_that_was_emptied_is_filled_again(tmp_path, monkeypatch):
    from mmtk.compat.medmnist import _cache, _files

    monkeypatch.setattr(_files, "_SMALL", 0)
    monkeypatch.setattr(_cache, "md5_of", lambda path: medmnist.INFO["breastmnist"]["MD5"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_npz(tmp_path, counts=(546, 78, 156))
    data = medmnist.BreastMNIST("train", root=tmp_path)
    text = pickle.dumps(data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "on another machine"))
    data._origin.split.store_path.unlink()
    assert same(pickle.loads(text), data)


# ------------------------------------------------------- programs, on medmnist and ours

SENT = """
import sys
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset
from medmnist import BreastMNIST

class Poisoned(BreastMNIST):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return torch.from_numpy(np.array(image)).sum() + self.extra, label

def count(data):
    return sum(int(label.sum()) for _, label in data), sum(int(image) for image, _ in data)

if __name__ == "__main__":
    torch.set_num_threads(1)
    data = Poisoned("train")
    data.extra = 3
    data.labels[::3] = 1 - data.labels[::3]
    data.imgs[10:20, :4, :4] = 255
    part = Poisoned("train")
    part.extra = 0
    part.imgs, part.labels = part.imgs[:33], part.labels[:33]
    part.info = {**part.info, "n_samples": {"train": 33}}
    for one in (data, Subset(part, [1, 3, 12])):
        if sys.argv[1] == "joblib":
            from joblib import Parallel, delayed
            print(Parallel(n_jobs=2)(delayed(count)(one) for _ in range(2)))
        else:
            loader = DataLoader(one, 16, num_workers=1, multiprocessing_context=sys.argv[1])
            print([(int(x.sum()), int(y.sum())) for x, y in loader])
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "joblib"])
def test_workers_get_what_the_script_made_of_it(method, tmp_path):
    pytest.importorskip("torch")
    counted(tmp_path / ".medmnist")
    official, ours = run_both(script(tmp_path, SENT), method, home=tmp_path)
    assert official == ours
    assert len(ours.splitlines()) == 2


def test_a_page_table_that_cannot_be_read_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(_pages, "_MAP", str(tmp_path / "short"))
    Path(_pages._MAP).write_bytes(b"")
    assert _pages.may_be_written(np.zeros(10))
    assert not _pages.may_be_written(np.zeros(0))


def test_a_fork_knows_what_its_parent_wrote(opened):
    code = (
        "import os, sys\nfrom mmtk import store\nsplit = store.open(sys.argv[1]).train\nsplit.images[3] += 1\n"
        "if os.fork() == 0:\n    print(list(split.changes()), flush=True)\n    os._exit(0)\nos.wait()\n"
    )
    assert run_python("-c", code, opened.path, code=0).stdout.strip() == "['images']"
