"""Stores that are replaced, cut, deleted or damaged while they are read, and processes that are forked meanwhile."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from mmtk.loader import ArrayBatches, Augmentation, Batches, Data, SplitDataset, interleaved, join, permutation
from tests.commands import LIMIT, run_python
from tests.small_stores import MULTILABEL, write_small_store

torch = pytest.importorskip("torch")
loading = pytest.importorskip("torch.utils.data")


@pytest.fixture
def path(tmp_path):
    return write_small_store(tmp_path / "s.h5", (600, 5, 5), size=28)


# ---------------------------------------------------------------- the file goes its ways


@pytest.mark.parametrize("kind", [Batches, ArrayBatches])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_file_cut_short_is_noticed_before_the_next_batch(path, kind, shuffle):
    given = iter(kind(store.open(path).train, 50, shuffle=shuffle))
    next(given)
    os.truncate(path, 4096)
    with pytest.raises(StoreError, match=r"s\.h5: store was truncated after it was opened"):
        next(given)


def test_a_dataset_too_notices_it(path):
    dataset = SplitDataset(path, "train")
    os.truncate(path, 4096)
    with pytest.raises(StoreError, match="truncated after"):
        dataset[3]


def test_a_file_that_is_deleted_or_replaced_is_read_on(path):
    split = store.open(path).train
    expected = split.images.copy()
    batches = Batches(split, 64, shuffle=True)
    given = iter(batches)
    first, _ = next(given)
    write_small_store(path.with_name("other.h5"), (600, 5, 5), size=28, seed=1).replace(path)
    second, _ = next(given)
    path.unlink()
    rest = [images for images, _ in given]
    found = torch.cat([first, second, *rest])[:, 0].numpy()
    assert np.array_equal(found, expected[permutation(600, 0, 0)])


def test_a_read_only_file_in_a_read_only_folder_is_read(path):
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert sum(len(labels) for _, labels in Batches(store.open(path).train, shuffle=True)) == 600
    finally:
        path.parent.chmod(0o755)


def test_nothing_has_to_be_written_to_read(path, tmp_path):
    """As on a full disk: the process may make no file longer than nothing."""
    packed = store.compress(store.open(path), tmp_path / "packed", "gzip")
    code = (
        "import resource, torch.utils.data\nfrom mmtk import store\nfrom mmtk.loader import Batches, SplitDataset\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        f"for path in {[str(path), str(packed)]!r}:\n"
        "    print(sum(len(labels) for _, labels in Batches(store.open(path).train, 50, shuffle=True, threads=1)))\n"
        "    print(len(SplitDataset(path, 'train').__getitems__(range(600))))\n"
    )
    done = run_python("-B", "-c", code)
    assert done.stdout.split() == ["600"] * 4, done.stderr


# ----------------------------------------------------------------------------- processes


def seen_by(split, queue):
    split = split if isinstance(split, store.Split) else store.open(split).train
    queue.put([images.sum().item() for images, _ in ArrayBatches(split, 64, shuffle=True, seed=4)])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_split_opened_before_a_fork_and_one_opened_in_the_child_give_the_same_batches(path, tmp_path, compressed):
    opened = store.open(path)
    if compressed:
        opened = store.open(store.compress(opened, tmp_path / "packed", "gzip"))
    here = [images.sum().item() for images, _ in ArrayBatches(opened.train, 64, shuffle=True, seed=4)]
    for how, given in (("fork", opened.train), ("spawn", opened.path)):
        context = multiprocessing.get_context(how)
        queue = context.Queue()
        child = context.Process(target=seen_by, args=(given, queue))
        child.start()
        assert queue.get(timeout=LIMIT) == here
        child.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_workers_of_a_dataloader_give_the_same_order_however_they_are_started(path, how):
    dataset = SplitDataset(path, "train")
    sampler = permutation(600, 3, 1).tolist()
    alone = list(loading.DataLoader(dataset, 64, sampler=sampler, collate_fn=dataset.collate))
    workers = loading.DataLoader(
        dataset, 64, sampler=sampler, num_workers=2, multiprocessing_context=how, collate_fn=dataset.collate
    )
    for (images, labels), (others, targets) in zip(alone, workers, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, targets)


def kinds_of_batches(opened):
    """Each thing a split can be given to, told by its name."""
    split, half = opened.train, {"dtype": "float32", "shuffle": True, "seed": 4}
    yield "arrays", ArrayBatches(split, 64, threads=1, **half)
    yield "balanced", ArrayBatches(split, 64, sampling="balanced")
    yield "tensors", Batches(split, 64, **half)
    yield "bfloat16", Batches(split, 64, shuffle=True, dtype="bfloat16", threads=2)
    yield "views", Batches(split, 64)
    yield "augmented", Batches(split, 64, augment=Augmentation(vertical=0.5), dtype="bfloat16")
    yield "resident", Batches(split, 64, resident=True, **half)
    yield "joined", Batches(join([split, opened.val], labels="task"), 64, **half)


def sums(batches):
    return [(float(images.sum()), float(targets.sum())) for images, targets in batches]


def sum_all(named, queue):
    queue.put({name: sums(batches) for name, batches in named})


@pytest.mark.parametrize("compressed", [False, True])
def test_batches_and_data_pickle_small_and_go_on_where_they_were(path, tmp_path, compressed):
    opened = store.open(path)
    if compressed:
        opened = store.open(store.compress(opened, tmp_path / "packed", "gzip"))
    named = dict(kinds_of_batches(opened))
    for batches in named.values():
        next(iter(batches))  # so that they are in their second epoch next
    packed = {name: pickle.dumps(batches) for name, batches in named.items()}
    assert max(len(data) for name, data in packed.items() if name != "balanced") < 20_000
    copies = copy.deepcopy(named)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=sum_all, args=(list(named.items()), queue))
    child.start()
    elsewhere = queue.get(timeout=LIMIT)
    child.join()
    for name, batches in named.items():
        again = pickle.loads(packed[name])
        assert again.state_dict() == batches.state_dict()
        assert type(again) is type(batches)
        here = sums(batches)
        assert sums(again) == sums(copies[name]) == elsewhere[name] == here, name
        data = pickle.loads(pickle.dumps(batches.data))
        assert (data.name, data.key, len(data)) == (batches.data.name, batches.data.key, len(batches.data))
        assert np.array_equal(data.targets, batches.data.targets)


def test_ordinal_data_stays_ordinal_and_other_data_pickles_as_its_arrays(tmp_path):
    path = write_small_store(tmp_path / "r.h5", (30, 5, 5), task="ordinal-regression", classes=4)
    batches = ArrayBatches(store.open(path).train, 8, ordinal=True)
    for (_, ours), (_, theirs) in zip(pickle.loads(pickle.dumps(batches)), batches, strict=True):
        assert ours.shape == (len(theirs), 3)
        assert np.array_equal(ours, theirs)
    own = Data("own", "key", np.arange(48, dtype=np.uint8).reshape(3, 4, 4), np.arange(3), ())
    again = pickle.loads(pickle.dumps(own))
    assert np.array_equal(again.mapped, own.mapped)
    assert len(list(ArrayBatches(again, 2))) == 2


def test_own_collate_gives_what_the_default_gives(path):
    for transform in (None, torch.Tensor.float):
        dataset = SplitDataset(path, "train", transform=transform)
        pairs = zip(
            loading.DataLoader(dataset, 64, collate_fn=dataset.collate), loading.DataLoader(dataset, 64), strict=True
        )
        for (images, labels), (others, targets) in pairs:
            assert torch.equal(images, others)
            assert torch.equal(labels, targets)
            assert images.dtype == others.dtype


def test_items_are_a_sequence(path):
    items = SplitDataset(path, "train").__getitems__([5, 6, 7])
    assert len(items) == len(items[1:]) + 1 == 3
    assert torch.equal(items[-1][0], next(iter(items[2:]))[0])
    with pytest.raises(IndexError, match=r"s\.h5 train: index 600 is out of range; expected -600 to 599"):
        SplitDataset(path, "train")[600]


def test_an_error_in_a_thread_is_raised_in_its_place_and_leaving_early_does_not_hang(path, tmp_path):
    packed = store.compress(store.open(path), tmp_path / "packed", "gzip")
    split = store.open(packed).train
    given = iter(Batches(split, 8, shuffle=True, threads=3))
    next(given)
    del given
    os.truncate(packed, packed.stat().st_size // 2)
    with pytest.raises(StoreError, match="truncated"):
        list(Batches(store_of(split), 8, shuffle=True, threads=3))


def store_of(split):
    """The same split with nothing kept of it."""
    split.images._state.cache.clear()
    return split


def test_training_room_iterates_without_anonymous_memory(tmp_path):
    """In small what benchmarks/loader_memory.py shows at full size; Linux alone tells."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("this system has no smaps_rollup")
    path = write_small_store(tmp_path / "s.h5", (1500, 2, 2), channels=3, size=224)
    code = (
        "import torch\nfrom pathlib import Path\nfrom mmtk import store\nfrom mmtk.loader import Batches\n"
        "torch.set_num_threads(1)\n"
        "def anonymous():\n"
        "    text = Path('/proc/self/smaps_rollup').read_text()\n"
        "    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith('Anonymous:'))\n"
        "torch.zeros(1); before = anonymous()\n"
        f"batches = Batches(store.open({str(path)!r}).train, 32, shuffle=True)\n"
        "for _ in range(2):\n    for images, labels in batches: images.sum()\n"
        "print(anonymous() - before)\n"
    )
    done = run_python("-c", code, code=0)
    assert int(done.stdout) < 50_000  # of 226 MB of pixels


# -------------------------------------------------------------------------------- joined


@pytest.fixture
def parts(tmp_path):
    grey = store.open(write_small_store(tmp_path / "a.h5", (20, 3, 3), classes=2)).train
    rgb = store.open(write_small_store(tmp_path / "b.h5", (31, 3, 3), classes=5, channels=3, seed=1)).train
    return grey, rgb


def test_joined_splits_give_each_image_once_with_offset_labels(parts):
    grey, rgb = parts
    data = join(parts)
    assert len(data) == 51
    pixels = np.concatenate([np.repeat(grey.images[..., None], 3, axis=3), rgb.images])
    labels = np.concatenate([grey.labels[:, 0].astype(int), rgb.labels[:, 0] + 2])
    order = permutation(51, 2, 0)
    for options in ({}, {"resident": True}, {"threads": 2}):
        batches = list(Batches(data, 8, shuffle=True, seed=2, **options))
        found = torch.cat([images for images, _ in batches]).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(found, pixels[order])
        assert torch.cat([targets for _, targets in batches]).tolist() == labels[order].tolist()
    exact, _ = next(iter(Batches(data, 51, dtype="float32")))
    assert np.allclose(exact.permute(0, 2, 3, 1).numpy(), pixels / 127.5 - 1, atol=1e-6)


def test_joined_splits_may_be_compressed_and_have_more_classes_than_a_byte_counts(parts, tmp_path):
    packed = store.open(store.compress(store.open(parts[1].store_path), tmp_path / "packed", "gzip")).train
    many = store.open(write_small_store(tmp_path / "m.h5", (300, 2, 2), classes=254, channels=3)).train
    found, labels = next(iter(Batches(join([many, packed, parts[0]]), 400)))
    expected = np.concatenate([many.images, parts[1].images, np.repeat(parts[0].images[..., None], 3, axis=3)])
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), expected)
    assert labels[300:331].tolist() == (parts[1].labels[:, 0].astype(int) + 254).tolist()
    assert labels[331:].tolist() == (parts[0].labels[:, 0].astype(int) + 259).tolist()


def test_labels_by_task_and_interleaving_by_weight(parts, tmp_path):
    chest = store.open(write_small_store(tmp_path / "c.h5", (40, 2, 2), task=MULTILABEL, classes=3)).train
    data = join([*parts, chest], labels="task")
    _, targets = next(iter(Batches(data, 91)))
    assert targets.shape == (91, 4)
    assert targets[:, 0].tolist() == [0] * 20 + [1] * 31 + [2] * 40
    assert (targets[:51, 2:] == -1).all()
    assert targets[51:, 1:].tolist() == chest.labels.tolist()
    drawn = Batches(data, 91, sampling=interleaved(data, [2, 1, 1]))
    tasks = torch.cat([targets[:, 0] for _ in range(30) for _, targets in drawn])
    shares = torch.bincount(tasks) / len(tasks)
    assert shares.tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.04)


def test_what_cannot_be_joined_is_refused(parts, tmp_path):
    large = store.open(write_small_store(tmp_path / "l.h5", size=16)).train
    empty = store.open(write_small_store(tmp_path / "e.h5", (3, 0, 0))).val
    chest = store.open(write_small_store(tmp_path / "c.h5", task=MULTILABEL, classes=3)).train
    for splits, says in (
        ([], "splits: is empty"),
        ([parts[0], large], "splits: sizes differ: 8, 16 px"),
        ([parts[0], empty], "has no images"),
        ([parts[0], chest], "has several labels per image; use labels='task'"),
    ):
        with pytest.raises(ArgumentError) as error:
            join(splits)
        assert says in str(error.value)
    data = join(parts)
    with pytest.raises(ArgumentError, match=r"labels: .*expected offset or task"):
        join(parts, labels="both")
    with pytest.raises(ArgumentError, match="weights: there must be one per part"):
        interleaved(data, [1, 2, 3])
    with pytest.raises(ArgumentError, match=r"sampling: .*not available for joined splits"):
        Batches(data, sampling="balanced")
    with pytest.raises(ArgumentError, match="ordinal: is not available for joined splits"):
        Batches(data, ordinal=True)


def test_a_state_of_other_data_is_refused(parts):
    grey, rgb = parts
    state = Batches(join([grey, rgb]), 4, shuffle=True).state_dict()
    with pytest.raises(ArgumentError, match="state: data"):
        Batches(join([rgb, grey]), 4, shuffle=True).load_state_dict(state)
    with pytest.raises(ArgumentError, match="state: data"):
        Batches(grey, 4, shuffle=True).load_state_dict(state)
