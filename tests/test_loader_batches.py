"""Batches: right pixels in the right order, never written behind a keeper's back, resumable."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import sys
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.errors import ArgumentError, MmtkError
from mmtk.loader import ArrayBatches, Batches, SplitDataset, _ring, join, permutation
from mmtk.loader._cuda import copied_ahead, fits_on
from tests.commands import run_python
from tests.small_stores import MULTILABEL, write_small_store

torch = pytest.importorskip("torch")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch can use no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


@pytest.fixture(scope="module", params=[{}, {"channels": 3}, {"ndim": 3}], ids=["grey", "rgb", "volume"])
def split(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "store.h5"
    return store.open(write_small_store(path, (53, 5, 5), size=9, **request.param)).train


@pytest.fixture
def grey(tmp_path):
    """A split of its own, that a test may write into."""
    return store.open(write_small_store(tmp_path / "grey.h5", (23, 5, 5))).train


def pixels(images):
    """A batch as the store has it: (b, h, w) or (b, h, w, 3), or (b, d, h, w) of volumes."""
    array = images.movedim(1, -1).cpu().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def normalised(images):
    """What torchvision's ToTensor and Normalize give, in float32."""
    tensor = torch.from_numpy(np.array(images if images.shape[-1] == 3 else images[..., None])).movedim(-1, 1)
    return tensor.contiguous().float().div(255).sub(0.5).div(0.5)


# ------------------------------------------------------------------------------ order


@given(n=st.integers(0, 400), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**64 - 1))
def test_a_permutation_has_each_row_once(n, seed, epoch):
    order = permutation(n, seed, epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


def test_the_permutation_is_fixed_for_all_machines_and_versions():
    assert permutation(10, 0, 0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    digest = hashlib.sha256(permutation(100_000, 7, 3).astype("<i8").tobytes()).hexdigest()
    assert digest == "bed16978ae5ebca6f03bfa9e4a9258e89618fef68f605a64267cebabffd70156"


def test_seeds_and_epochs_give_other_orders_in_which_every_row_takes_every_place():
    orders = [permutation(20, seed, epoch) for seed in range(30) for epoch in range(30)]
    assert len({order.tobytes() for order in orders}) == len(orders)
    places = np.array([np.bincount([order[place] for order in orders], minlength=20) for place in range(20)])
    assert places.min() > 15  # 45 expected in each of 400 cells
    assert places.max() < 85


@pytest.mark.parametrize("key", [(-1, 0, 0), (2**32, 0, 0), (5, -1, 0), (5, 2**64, 0), (5, 0, -1)])
def test_keys_out_of_range_are_refused(key):
    with pytest.raises(ArgumentError, match="expected 0 to"):
        permutation(*key)


# ---------------------------------------------------------------------------- content


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
@settings(max_examples=25)
@given(
    batch_size=st.integers(1, 70), shuffle=st.booleans(), drop_last=st.booleans(), seed=st.integers(0, 5),
    epochs=st.integers(1, 3), keep=st.lists(st.booleans(), min_size=1, max_size=7), write=st.booleans(),
)
def test_batches_are_right_however_they_are_kept_and_written_into(
    split, device, dtype, batch_size, shuffle, drop_last, seed, epochs, keep, write
):
    if drop_last and batch_size > len(split):
        drop_last = False
    if dtype == "uint8" and device == "cpu" and not shuffle:
        write = False  # a view, see below
    batches = Batches(
        split, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, device=device, dtype=dtype
    )
    kept = []
    for epoch in range(epochs):
        order = permutation(len(split), seed, epoch) if shuffle else np.arange(len(split))
        starts = range(0, len(split) - (batch_size - 1 if drop_last else 0), batch_size)
        assert len(batches) == len(starts)
        for number, (start, (images, labels)) in enumerate(zip(starts, batches, strict=True)):
            rows = order[start : start + batch_size]
            if dtype == "uint8":
                expected = torch.from_numpy(split.images[rows])
                found = torch.from_numpy(pixels(images))
            else:
                expected, found = normalised(split.images[rows]).to(getattr(torch, dtype)), images.cpu()
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)
            assert labels.tolist() == split.labels[rows, 0].tolist()
            if keep[number % len(keep)]:
                kept.append((images, images.clone(), labels, labels.clone()))
            elif write:
                images.fill_(3)
                labels.fill_(3)
    for images, copy, labels, same in kept:
        assert torch.equal(images, copy)
        assert torch.equal(labels, same)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_images_are_channels_last_and_labels_int64(split, dtype, shuffle, device):
    info = split.info
    images, labels = next(iter(Batches(split, 10, shuffle=shuffle, dtype=dtype, device=device)))
    assert images.shape == (10, info.channels, *(9,) * info.ndim)
    layout = torch.channels_last if info.ndim == 2 else torch.channels_last_3d
    assert images.is_contiguous(memory_format=layout)
    assert (images.dtype, labels.dtype) == (getattr(torch, dtype), torch.int64)
    assert images.device.type == labels.device.type == device


@pytest.mark.parametrize("device", DEVICES)
def test_normalising_gives_the_bits_of_to_tensor_and_normalize_for_every_level(tmp_path, device):
    path = write_small_store(tmp_path / "s.h5", (2, 2, 2), size=16)
    levels = store.open(path).train
    levels.images[:] = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype in ("float32", "bfloat16"):
        images, _ = next(iter(Batches(levels, dtype=dtype, device=device)))
        assert torch.equal(images.cpu(), normalised(levels.images).to(getattr(torch, dtype)))


def test_multi_label_rows_are_float32(tmp_path):
    split = store.open(write_small_store(tmp_path / "s.h5", task=MULTILABEL, classes=4)).train
    for shuffle in (False, True):
        _, labels = next(iter(Batches(split, 8, shuffle=shuffle)))
        rows = permutation(len(split), 0, 0)[:8] if shuffle else slice(8)
        assert labels.dtype == torch.float32
        assert labels.tolist() == split.labels[rows].tolist()


def test_a_batch_larger_than_the_split_is_one_short_batch(split):
    (images, _), = Batches(split, 1000)
    assert len(images) == len(split)
    assert np.array_equal(pixels(images), split.images)


# --------------------------------------------------------------------------- buffers


def test_stored_order_gives_views_of_the_split(grey):
    first = next(iter(Batches(grey, 4)))[0]
    assert first.data_ptr() == grey.images.ctypes.data


def test_writing_into_a_view_is_noticed_before_the_next_batch(grey):
    batches = Batches(grey, 4)
    for images, labels in batches:
        images.clone().zero_()
        labels.fill_(7)
    assert [y for _, labels in batches for y in labels.tolist()] == grey.labels[:, 0].tolist()
    given = iter(batches)
    next(given)[0].zero_()
    with pytest.raises(MmtkError, match=r"grey\.h5 train: .*modified in place.*clone\(\) a batch"):
        next(given)
    assert store.open(grey.store_path).train.images.any(axis=(1, 2)).all()


def test_a_loop_that_drops_its_batches_needs_few_buffers(split):
    for dtype in ("uint8", "float32", "bfloat16"):
        batches = Batches(split, 4, shuffle=True, dtype=dtype)
        assert len({images.data_ptr() for _ in range(5) for images, _ in batches}) == 2


def test_a_view_a_numpy_array_or_a_graph_keeps_a_batch(split):
    given = iter(Batches(split, 4, shuffle=True, dtype="float32"))
    weight = torch.ones((), requires_grad=True)
    keepers, copies = [], []
    for make in (lambda x: x[1:2, :, 3:], lambda x: x.numpy(), lambda x: x.detach().flatten(1)):
        images, _ = next(given)
        keepers.append(make(images))
        copies.append(torch.as_tensor(keepers[-1]).clone())
    images, _ = next(given)
    total, loss = float(images.sum()), (weight * images).sum()
    del images
    gc.collect()
    for _ in given:
        pass
    for keeper, copy in zip(keepers, copies, strict=True):
        assert torch.equal(torch.as_tensor(keeper), copy)
    loss.backward()
    assert float(weight.grad) == pytest.approx(total)


def test_batches_that_were_kept_and_let_go_are_freed(tmp_path):
    """The ring never holds more than a few buffers, however many batches a caller kept."""
    split = store.open(write_small_store(tmp_path / "s.h5", (64, 2, 2))).train
    batches = Batches(split, 1, shuffle=True)
    kept = list(batches)
    buffers = len(batches._gathered._buffers)
    assert buffers <= 4 < len(kept)


def test_inference_mode_around_any_part_changes_nothing(split):
    for dtype in ("uint8", "float32", "bfloat16"):
        plain = [(x.clone(), y) for x, y in Batches(split, 10, dtype=dtype)]
        with torch.inference_mode():
            inside = Batches(split, 10, dtype=dtype)
            first = [x.clone() for x, _ in inside]
        second = [(x.clone(), y) for x, y in inside]
        for (a, labels), b, (c, same) in zip(plain, first, second, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(a, c)
            assert torch.equal(labels, same)
            assert not same.is_inference()


def test_a_store_replaced_on_disk_goes_on_being_read(tmp_path):
    path = write_small_store(tmp_path / "s.h5", seed=0)
    batches = Batches(store.open(path).train, 7, shuffle=True)
    before = [pixels(images).copy() for images, _ in batches]
    os.replace(write_small_store(tmp_path / "other.h5", seed=1), path)
    batches.set_epoch(0)
    for images, (found, _) in zip(before, batches, strict=True):
        assert np.array_equal(images, pixels(found))
    fresh = next(iter(Batches(store.open(path).train, 7, shuffle=True)))[0]
    assert not np.array_equal(before[0], pixels(fresh))


# ------------------------------------------------------------------ epochs and resume


def labels_and_sums(batches):
    return [(images.long().sum().item(), labels.tolist()) for images, labels in batches]


def test_each_iteration_is_the_next_epoch_and_set_epoch_says_which(split):
    batches = Batches(split, 8, shuffle=True, seed=4)
    epochs = [labels_and_sums(batches) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    batches.set_epoch(1)
    assert labels_and_sums(batches) == epochs[1]
    assert labels_and_sums(batches) == epochs[2]
    batches.set_epoch(0)
    first, second = iter(batches), iter(batches)
    assert (labels_and_sums(second), labels_and_sums(first)) == (epochs[1], epochs[0])
    next(iter(batches))  # an epoch that is left behind counts
    assert batches.state_dict()["epoch"] == 2


@settings(max_examples=30)
@given(done=st.integers(0, 20), shuffle=st.booleans(), batch_size=st.integers(3, 20))
def test_a_state_resumes_where_it_was_taken(split, done, shuffle, batch_size):
    batches = Batches(split, batch_size, shuffle=shuffle, seed=2)
    given, rest, state = 0, [], batches.state_dict()
    for _ in range(3):
        for images, labels in batches:
            if given < done:
                given, state = given + 1, batches.state_dict()
            else:
                rest.append((images.long().sum().item(), labels.tolist()))
    other = Batches(split, batch_size, shuffle=shuffle, seed=2)
    other.load_state_dict(state)
    assert other.state_dict() == state
    resumed = [line for _ in range(4) for line in labels_and_sums(other)]
    assert resumed[: len(rest)] == rest


def test_a_state_is_json_of_what_the_order_depends_on(split):
    batches = Batches(split, 8, shuffle=True, seed=3)
    given = iter(batches)
    next(given)
    state = batches.state_dict()
    assert state == {
        "data": "breastmnist_9/train/0", "batch_size": 8, "n": 53, "shuffle": True, "seed": 3, "weights": "",
        "window": 0, "chunk": 1, "world_size": 1, "even": "", "epoch": 0, "position": 1,
    }
    assert json.loads(json.dumps(state)) == state
    assert len(list(given)) == 6
    batches.load_state_dict(batches.state_dict())
    next(iter(batches))
    assert batches.state_dict() == {**state, "epoch": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n": 54}, "state: n: belongs to other batches; found 54, expected 53"),
        ({"data": "x"}, "state: data: belongs to other batches; found x, expected breastmnist_9/train/0"),
        ({"batch_size": 9}, "state: batch_size: belongs to other batches; found 9, expected 8"),
        ({"shuffle": False}, "state: shuffle: belongs to other batches; found False, expected True"),
        ({"seed": 1}, "state: seed: belongs to other batches; found 1, expected 3"),
        ({"epoch": -1}, "state: epoch: found -1, expected an integer of at least 0"),
        ({"epoch": "1"}, "state: epoch: found '1', expected an integer of at least 0"),
        ({"position": 8}, "state: position: found 8, expected at most 7"),
        ({"position": None}, "state: position: found None, expected an integer of at least 0"),
        ({"chunk": 5}, "state: chunk: belongs to other batches; found 5, expected 1"),
        ({"more": 1}, "state: was not made by state_dict"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(split, change, says):
    batches = Batches(split, 8, shuffle=True, seed=3)
    state = batches.state_dict()
    with pytest.raises(ArgumentError) as error:
        batches.load_state_dict({**state, **change})
    assert says in str(error.value)
    for other, found in (({}, "nothing"), (None, "nothing"), ([1, 2], "list")):
        with pytest.raises(ArgumentError, match=f"state: was not made by state_dict; found {found}"):
            batches.load_state_dict(other)
    assert batches.state_dict() == state


# -------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 0}, "batch_size: found 0, expected an integer of at least 1"),
        ({"batch_size": -3}, "batch_size: found -3, expected an integer of at least 1"),
        ({"batch_size": 2.5}, "batch_size: found 2.5, expected an integer of at least 1"),
        ({"batch_size": 54, "drop_last": True}, "batch_size: drop_last leaves no batch of 53 images"),
        ({"seed": -1}, "seed: found -1, expected an integer of at least 0"),
        ({"seed": 2**64}, "seed: found"),
        ({"dtype": "float16"}, "dtype: found 'float16', expected uint8 or float32"),
        ({"device": "tpu9"}, "device: found 'tpu9', expected cpu, cuda or cuda:N"),
        ({"device": "meta"}, "device: found meta, expected cpu, cuda or cuda:N"),
        ({"device": None}, "device: found None, expected cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, "device: cuda:99 does not exist"),
    ],
)
def test_arguments_that_cannot_be_are_refused(split, arguments, says):
    with pytest.raises(ArgumentError) as error:
        Batches(split, **arguments)
    assert says in str(error.value)


@pytest.mark.parametrize("threads", [-1, 1.5, None])
def test_numbers_of_threads_that_cannot_be_are_refused(split, threads):
    with pytest.raises(ArgumentError, match=r"threads: .*expected an integer of at least 0"):
        ArrayBatches(split, threads=threads)
    with pytest.raises(ArgumentError, match=r"threads: .*expected an integer of at least 0"):
        Batches(split, threads=-1 if threads is None else threads)  # which chooses by itself


def test_an_empty_split_is_refused_by_name(tmp_path):
    path = write_small_store(tmp_path / "s.h5", (4, 0, 4))
    for use in (lambda: Batches(store.open(path).val), lambda: SplitDataset(path, "val")):
        with pytest.raises(ArgumentError, match=r"s\.h5 val: has no "):
            use()


def test_it_says_what_it_chose_and_why(split, tmp_path):
    packed = store.open(store.compress(store.open(split.store_path), tmp_path, "gzip")).train
    for batches, says in (
        (Batches(split), "views of the mapped file; on the CPU the page cache holds it already"),
        (Batches(split, shuffle=True), "rows gathered from mapped memory; on the CPU"),
        (Batches(split, dtype="float32", threads=2), "prefetch threads: 2"),
        (Batches(packed), "rows read, decompressed or joined on demand"),
        (Batches(packed), "prefetch threads: 1"),
        (Batches(split, resident=True), "kept on cpu as uint8, rows selected there; as requested"),
    ):
        assert batches.data.name in batches.explain()
        assert says in batches.explain()


def test_volumes_come_out_the_same_from_every_kind_of_store_and_batch(tmp_path):
    path = write_small_store(tmp_path / "s.h5", (23, 7, 5), ndim=3, size=3)  # three slices are no colours
    split = store.open(path).train
    packed = store.open(store.compress(store.open(path), tmp_path / "packed", "gzip")).train
    order = permutation(23, 4, 0)
    for source in (split, packed):
        for options in ({}, {"resident": True}, {"threads": 2}):
            found = torch.cat([x for x, _ in Batches(source, 5, shuffle=True, seed=4, **options)])
            assert found.shape == (23, 1, 3, 3, 3)
            assert np.array_equal(found[:, 0].numpy(), split.images[order])
        assert Batches(source).data.row_shape == (3, 3, 3, 1)
        arrays = np.concatenate([x for x, _ in ArrayBatches(source, 5, shuffle=True, seed=4, dtype="float32")])
        assert np.array_equal(arrays, split.images[order][..., None] / np.float32(127.5) - 1)
    both = join([split, store.open(path).val])
    joined, _ = next(iter(Batches(both, 30)))
    assert np.array_equal(joined[:, 0].numpy(), np.concatenate([split.images, store.open(path).val.images]))
    flat = store.open(write_small_store(tmp_path / "flat.h5", channels=3, size=3)).train
    with pytest.raises(ArgumentError, match="splits: images and volumes cannot be joined: breastmnist is 3D"):
        join([split, flat])


def test_a_split_is_kept_on_a_gpu_where_it_takes_half_of_the_free_memory_at_most(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8_000_000_000, 9_000_000_000))
    assert fits_on(4_000_000_000, "cuda") == (True, "its 4.00 GB are at most 50% of 8.00 GB of free memory")
    assert fits_on(4_000_000_001, "cuda") == (False, "its 4.00 GB are more than 50% of 8.00 GB of free memory")


def test_without_torch_the_room_imports_and_its_use_says_what_to_install(tmp_path):
    path = write_small_store(tmp_path / "s.h5")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mmtk import store\nfrom mmtk.errors import MmtkError\n"
        "from mmtk.loader import ArrayBatches, Batches, SplitDataset, permutation\n"
        f"path = {str(path)!r}; permutation(5, 0, 0)\n"
        "for dtype in ('uint8', 'float32'):\n"
        "    batches = ArrayBatches(store.open(path).train, 6, shuffle=True, dtype=dtype)\n"
        "    print(sum(len(labels) for _, labels in batches))\n"
        "for use in (lambda: Batches(store.open(path).train), lambda: SplitDataset(path, 'train')):\n"
        "    try: use()\n"
        "    except MmtkError as error: print(error)\n"
    )
    done = run_python("-c", code)
    *seen, first, second = done.stdout.splitlines()
    assert seen == ["20", "20"], done.stderr
    lines = [first, second]
    assert all("pip install 'mmtk[train]'" in line for line in lines)


# ------------------------------------------------------------------------------- cuda


class Stream:
    """A CUDA stream in small: what is sent to it happens no sooner than somebody waits for it."""

    def __init__(self, device=None):
        self.work, self.done, self.awaited = [], 0, []

    def record_event(self):
        return Event(self, len(self.work))

    def wait_event(self, event):
        self.awaited.append(event)

    def synchronize(self):
        Event(self, len(self.work)).synchronize()


class Event:
    def __init__(self, stream, place):
        self.stream, self.place = stream, place

    def synchronize(self):
        for work in self.stream.work[self.stream.done : self.place]:
            work()
        self.stream.done = max(self.stream.done, self.place)


class Cuda:
    """Of torch.cuda what `copied_ahead` takes; tensors of its device are copied when their stream comes to it."""

    def __init__(self):
        self.current, self.sides = Stream(), []

    def Stream(self, device):
        self.sides.append(Stream())
        return self.sides[-1]

    def current_stream(self, device):
        return self.current

    @contextlib.contextmanager
    def stream(self, stream):
        self.current, before = stream, self.current
        yield
        self.current = before


class OnHost:
    def __init__(self, cuda, tensor):
        self.cuda, self.tensor = cuda, tensor

    def to(self, device, non_blocking):
        assert non_blocking
        there, here = OnDevice(torch.full_like(self.tensor, 77)), weakref.ref(self.tensor)
        self.cuda.current.work.append(lambda: there.tensor.copy_(here()))  # CUDA too keeps no memory alive
        return there


class OnDevice:
    def __init__(self, tensor):
        self.tensor, self.streams = tensor, []

    def record_stream(self, stream):
        self.streams.append(stream)


@pytest.mark.parametrize("threads", [0, 2])
@settings(max_examples=15)
@given(batch_size=st.integers(1, 30), keep=st.integers(1, 4), stop=st.integers(0, 60))
def test_a_buffer_is_written_again_only_when_its_copy_to_the_device_is_done(split, threads, batch_size, keep, stop):
    cuda, order = Cuda(), permutation(len(split), 3, 0)
    loop = Batches(split, batch_size, shuffle=True, seed=3, threads=threads)
    main, finished, kept = cuda.current, [], []

    def finish(images, number):
        assert cuda.current is cuda.sides[0]
        finished.append(number)
        return images

    def host():
        for number, (images, labels) in enumerate(loop):
            batch = [(OnHost(cuda, images), OnDevice(labels))]
            del images
            yield number, batch.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmtk.loader._cuda.import_torch", lambda: SimpleNamespace(cuda=cuda))
        given = copied_ahead(host(), "cuda", finish)
        for number, (images, labels) in enumerate(given):
            rows = order[number * batch_size : (number + 1) * batch_size]
            assert np.array_equal(pixels(images.tensor), split.images[rows])
            assert labels.tensor.tolist() == split.labels[rows, 0].tolist()
            assert images.streams == labels.streams == [main]
            assert len(main.awaited) == number + 1
            assert main.awaited[-1].stream is cuda.sides[0]
            kept += [(images.tensor, rows)] if number % keep == 0 else []
            if number == stop:
                break
        given.close()
    for images, rows in kept:
        assert np.array_equal(pixels(images), split.images[rows])
    side = cuda.sides[0]
    assert side.done == len(side.work) == len(finished) == min(len(loop), stop + 3)
    assert finished == list(range(len(finished)))


@needs_cuda
def test_on_cuda_batches_are_ready_when_given_and_an_iteration_may_be_left(split):
    batches = Batches(split, 4, shuffle=True, dtype="float32", device="cuda")
    for _ in range(20):
        given = iter(batches)
        images, _ = next(given)
        kept = images.clone()
        del given
        assert torch.equal(images, kept)
    order = permutation(len(split), 0, 20)
    found = torch.cat([images for images, _ in batches]).cpu()
    assert torch.equal(found, normalised(split.images[order]))


# ------------------------------------------------------------------------------ buffers


@pytest.mark.parametrize("borrowed", [0, 1, 3])
def test_no_kept_batch_is_written_again_however_many_references_the_interpreter_borrows(split, borrowed, monkeypatch):
    count = sys.getrefcount
    monkeypatch.setattr(_ring, "sys", SimpleNamespace(getrefcount=lambda thing: count(thing) - borrowed))
    kept = [(images, images.copy()) for images, _ in ArrayBatches(split, 4)]
    assert all(np.array_equal(ours, before) for ours, before in kept)
    ring = _ring.Ring(lambda: np.empty(3))
    assert len({id(ring.take()) for _ in range(20)}) == 1  # what is let go is used again


def test_where_references_do_not_show_no_buffer_is_used_again(split, monkeypatch):
    monkeypatch.setattr(_ring, "sys", SimpleNamespace(getrefcount=lambda thing: 1))
    kept = [(images, images.copy()) for images, _ in ArrayBatches(split, 4)]
    assert all(np.array_equal(ours, before) for ours, before in kept)


def test_threads_never_get_one_buffer_together():
    ring, wrong = _ring.Ring(lambda: np.zeros(1), 4), []

    def work(number):
        for _ in range(3000):
            buffer = ring.take()
            buffer[0] = number
            if buffer[0] != number:
                wrong.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert wrong == []
