"""Compressed stores: the same contents, unpacked chunk by chunk outside HDF5, wherever a store is read."""

from __future__ import annotations

import copy
import errno
import faulthandler
import gc
import os
import pickle
import shutil
import sys
import threading
import tracemalloc
import zlib
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from mmtk.loader import permutation, windowed
from mmtk.store import ChunkedImages, _chunks, _unpack
from tests.commands import LIMIT, invoke
from tests.small_stores import write_small_store

KINDS = tuple(store.COMPRESSIONS)
COUNTS = (733, 0, 9)


@pytest.fixture(
    scope="module", params=[{"size": 32}, {"size": 32, "channels": 3}, {"size": 10, "ndim": 3}],
    ids=["grey", "rgb", "volumes"],
)
def plain(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / f"breastmnist_{request.param['size']}.h5"
    opened = store.open(write_small_store(path, COUNTS, **request.param))
    images = opened.train.images.copy()
    images[:512] //= 64  # the first chunks can be compressed, the last is noise that cannot
    arrays = {s.name: (s.images, s.labels, s.records) for s in opened.splits}
    arrays["train"] = (images, *arrays["train"][1:])
    return store.open(store.write_store(path, opened.info, arrays))


@pytest.fixture(scope="module")
def packed_once(plain, tmp_path_factory):
    return store.open(store.compress(plain, tmp_path_factory.mktemp("once"), "gzip"))


@pytest.fixture(params=KINDS)
def packed(request, plain, tmp_path):
    if request.param == "zstd":
        pytest.importorskip("hdf5plugin")
        pytest.importorskip("numcodecs")
    return store.open(store.compress(plain, tmp_path / "out", request.param))


def test_a_copy_has_the_content_and_is_read_by_chunk(plain, packed):
    assert isinstance(packed.train.images, ChunkedImages)
    assert packed.path.stat().st_size < plain.path.stat().st_size
    assert packed.content_digest() == plain.content_digest()
    assert (packed.info, packed.counts) == (plain.info, plain.counts)
    assert store.verify(packed.path) == []
    for ours, theirs in zip(packed.splits, plain.splits, strict=True):
        assert np.array_equal(np.asarray(ours.images), theirs.images)
        assert (ours.images.shape, ours.images.ndim, ours.images.dtype) == (
            theirs.images.shape, theirs.images.ndim, theirs.images.dtype,
        )


def index_parts(length):
    """What may stand for an axis of an index, allowed or not."""
    numbers = st.integers(-length, length - 1)
    edges = st.one_of(st.none(), st.integers(-length - 2, length + 2))
    steps = st.one_of(st.none(), st.integers(-3, -1), st.integers(1, 3), st.just(length))
    lists = st.lists(numbers, max_size=3)
    return st.one_of(
        numbers, st.builds(slice, edges, edges, steps), st.just(slice(None)), lists,
        lists.map(lambda x: np.array(x, int)),
        st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=2), numbers.map(np.int16),
        numbers.map(np.array),
        st.sampled_from([True, False, length, -length - 1, 1.0, "a", np.array([1.5]), np.array([])]),
        st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).random(length) < 0.3),
        st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).random(length + 1) < 0.3),
    )


@st.composite
def keys(draw, shape):
    count = draw(st.integers(0, len(shape) + 1))
    parts = [draw(index_parts(shape[min(axis, len(shape) - 1)])) for axis in range(count)]
    if draw(st.integers(0, 9)) == 0:
        two = np.random.default_rng(draw(st.integers(0, 9))).random(shape[:2]) < 0.01
        parts[:2] = [two if draw(st.booleans()) else two[:-1]]
    for part in draw(st.lists(st.sampled_from([None, Ellipsis]), max_size=2)):
        parts.insert(draw(st.integers(0, len(parts))), part)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_index_picks_what_it_picks_of_an_array(plain, packed_once, data):
    ours, theirs = packed_once.train.images, plain.train.images
    key = data.draw(keys(theirs.shape))
    try:
        wanted = theirs[key]
    except IndexError:
        with pytest.raises(IndexError):
            ours[key]
        return
    picked = ours[key]
    assert type(picked) is (np.ndarray if isinstance(wanted, np.ndarray) else type(wanted))
    assert (picked.shape, picked.dtype) == (wanted.shape, wanted.dtype)
    assert np.array_equal(picked, wanted)


@pytest.mark.parametrize("cache", [1, 1 << 20, 1 << 28])
def test_the_last_axis_can_be_reversed_before_all_else_in_pieces_too(plain, packed, cache, monkeypatch):
    monkeypatch.setattr("mmtk.store._chunks.CACHE_BYTES", cache)
    ours, theirs = packed.train.images, plain.train.images
    step = 1 if cache > 1 else 90  # a piece a row
    for key in (
        (Ellipsis, slice(None, None, -1)), (slice(None, None, step), Ellipsis, 0), (None, slice(9, 700, step), 3),
        (None, 0), (Ellipsis, 1, slice(None)), (Ellipsis, None),
    ):
        assert np.array_equal(ours[key], theirs[key])


@pytest.mark.parametrize(
    "key", [(slice(None), 99), (Ellipsis, 0, 0, 0, 0, 0), (slice(None), None, "a"), (Ellipsis, Ellipsis)]
)
def test_an_index_out_of_range_reads_nothing(packed_once, key, monkeypatch):
    monkeypatch.setattr(packed_once.train.images, "read", None)
    with pytest.raises(IndexError):
        packed_once.train.images[key]


def test_masks_iteration_and_what_is_out_of_range(plain, packed):
    ours, theirs = packed.train.images, plain.train.images
    mask = theirs.reshape(733, -1).mean(axis=1) > 100
    assert np.array_equal(ours[mask], theirs[mask])
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    with pytest.raises(IndexError):
        ours[733]
    with pytest.raises(ValueError, match="without copying"):
        np.asarray(ours, copy=False)


def test_everything_that_takes_a_store_takes_a_compressed_one(plain, packed, tmp_path):
    folders = (tmp_path / "a", tmp_path / "b")
    for one, folder in zip((plain, packed), folders, strict=True):
        store.export_npz(one, folder)
        store.export_png(one, folder / "png")
        store.draw_montage(one, folder / "montage.png")
        store.compress(one, folder / "again", "gzip")
    files, others = (sorted(p.relative_to(top) for p in top.rglob("*") if p.is_file()) for top in folders)
    assert files == others
    kinds = {".npz", ".csv", ".png", ".h5"} | ({".gif"} if plain.info.ndim == 3 else set())
    assert {file.suffix for file in files} == kinds
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_forked_process_reads_on(plain, packed):
    expected = plain.train.images[::7].sum()
    assert packed.train.images[::7].sum() == expected
    child = os.fork()
    if not child:
        os._exit(0 if packed.train.images[::7].sum() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def in_a_child(work):
    """The exit status of a forked process that does some work, or "hangs"."""
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_threads_of_a_forked_process_do_not_meet_half_begun(plain, packed_once, monkeypatch):
    images, expected = store.open(packed_once.path).train.images, plain.train.images[::7]
    assert np.array_equal(images[::7], expected)
    images._state.cache.clear()  # so that the child has to read them itself
    both, executor = threading.Event(), _chunks.ThreadPoolExecutor

    def slow(*arguments, **options):  # a thread is stopped here while the other one starts
        both.wait(timeout=0.5)
        return executor(*arguments, **options)

    def work():
        monkeypatch.setattr(_chunks, "ThreadPoolExecutor", slow)
        same = []
        threads = [threading.Thread(target=lambda: same.append(np.array_equal(images[::7], expected)), daemon=True)
                   for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=LIMIT)
        return same == [True] * 3

    assert in_a_child(work) == 0


def test_a_fork_while_a_thread_begins_leaves_no_lock_held(plain, packed_once):
    images, expected = store.open(packed_once.path).train.images, plain.train.images[::7]
    with _chunks._state_lock, images._state.lock:
        assert in_a_child(lambda: np.array_equal(images[::7], expected)) == 0


def test_a_system_error_is_told_as_such_and_asked_again(plain, packed, monkeypatch):
    images, read, errors = packed.train.images, os.pread, [errno.EIO, errno.ENOMEM]

    def fails(*arguments):
        if errors:
            code = errors.pop()
            raise MemoryError if code == errno.ENOMEM else OSError(code, os.strerror(code))
        return read(arguments[0], min(arguments[1], 1000), arguments[2])  # a part of it, as systems may

    monkeypatch.setattr("os.pread", fails)
    with pytest.raises(MemoryError):
        images[0]
    with pytest.raises(StoreError, match=r"cannot be read: input/output error; check the disk$"):
        images[0]
    assert np.array_equal(images[0], plain.train.images[0])


def test_it_pickles_as_the_array_it_is_taken_for(plain, packed):
    for again in (pickle.loads(pickle.dumps(packed.train.images)), copy.deepcopy(packed.train.images)):
        assert isinstance(again, np.ndarray)
        assert np.array_equal(again, plain.train.images)


@pytest.mark.parametrize("rows", [1, 7, 733, 1000])
def test_plain_images_are_read_where_they_cannot_be_mapped(plain, rows, tmp_path):
    path, images = tmp_path / "plain.bin", plain.train.images
    path.write_bytes(b"12345" + images.tobytes())
    with path.open("rb") as file:
        read = _chunks.plain_chunks(path, os.dup(file.fileno()), 5, images.shape, rows)
        handle = os.dup(file.fileno())
        with pytest.raises(StoreError, match="truncated"):
            _chunks.plain_chunks(path, handle, 6, images.shape, rows)
        with pytest.raises(OSError, match="Bad file descriptor"):  # it was closed
            os.fstat(handle)
    assert np.array_equal(read[::-2, 3], images[::-2, 3])
    assert np.array_equal(np.asarray(read), images)
    os.truncate(path, 5 + images.nbytes - 1)
    assert np.array_equal(read[0], images[0])
    read._state.cache.clear()
    with pytest.raises(StoreError, match="truncated"):
        read[-1]


def read_chunks(images, epochs):
    """How many chunks are read from the file for `epochs`, orders of rows, in batches of 32."""
    count, read = [], images._read
    images._read = lambda number: (count.append(number), read(number))[1]
    out = np.empty((32, *images.shape[1:]), np.uint8)
    for order in epochs:
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            images.read(rows, out[: len(rows)])
    return len(count)


def test_a_windowed_epoch_reads_each_chunk_once_where_the_cache_is_small(tmp_path, monkeypatch):
    monkeypatch.setattr("mmtk.store._chunks.CACHE_BYTES", 4 << 20)
    path = write_small_store(tmp_path / "s.h5", (8000, 2, 2), size=32)
    packed = store.compress(store.open(path), tmp_path / "packed", "gzip")
    rows = store.open(packed).train.images.chunk_rows
    chunks = -(-8000 // rows)
    assert chunks > 8  # of half a MiB: they do not all fit
    windows = [windowed(8000, 0, epoch, rows, 3) for epoch in range(2)]
    assert read_chunks(store.open(packed).train.images, windows) <= 2 * chunks
    assert read_chunks(store.open(packed).train.images, [permutation(8000, 0, 0)]) > 10 * chunks


def test_chunks_are_unpacked_at_once_and_outside_the_lock_of_hdf5(packed, monkeypatch):
    images, unpack = packed.train.images, packed.train.images._unpack
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    images._state = _chunks._ProcessState()
    both = threading.Barrier(2)

    def meet(data, length):
        both.wait(timeout=LIMIT)
        return unpack(data, length)

    images._unpack = meet
    rows = np.array([0, images.chunk_rows])
    assert not images._chunks[1].plain
    found: list[np.ndarray] = []
    with h5py._hl.base.phil:
        reader = threading.Thread(target=lambda: found.append(images[rows]))
        reader.start()
        reader.join(timeout=LIMIT)
    assert len(found) == 1


def flipped(path, find):
    """Change the first byte of a chunk in the file."""
    with h5py.File(path) as file:
        places = []
        file["train/images"].id.chunk_iter(lambda info: places.append((info.byte_offset, info.size)))
    offset, size = places[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = find(data[offset : offset + size])
    path.write_bytes(data)


def test_a_damaged_chunk_is_named_and_the_rest_can_be_read(plain, packed, tmp_path):
    path = tmp_path / "damaged.h5"
    shutil.copy(packed.path, path)
    flipped(path, lambda chunk: bytes(len(chunk)))
    opened = store.open(path)
    rows = opened.train.images.chunk_rows
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"damaged\.h5: store is corrupt: chunk of rows 0 to {rows - 1}: "):
            opened.train.images[0]
    assert np.array_equal(opened.train.images[rows:], plain.train.images[rows:])


class Lies:
    """An HDF5 dataset whose index of chunks says something else."""

    def __init__(self, dataset, changes):
        self._dataset, self._changes = dataset, changes
        self.id, self.chunks, self.shape, self.name = self, dataset.chunks, dataset.shape, dataset.name
        if "chunks" in changes:
            self.chunks = changes["chunks"]

    def get_create_plist(self):
        return self._dataset.id.get_create_plist()

    def chunk_iter(self, note):
        infos = []
        self._dataset.id.chunk_iter(infos.append)
        for number, info in enumerate(infos):
            facts = {name: getattr(info, name) for name in ("chunk_offset", "filter_mask", "byte_offset", "size")}
            facts |= self._changes.get(number, {})
            facts |= {"byte_offset": infos[0].byte_offset} if "one place" in self._changes else {}
            if note(SimpleNamespace(**facts)):
                return


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({0: {"size": 1 << 40}}, f"a chunk of {1 << 40} bytes for"),
        ({1: {"size": 600_000}}, "truncated|overlap at byte|a chunk of 600000"),
        ({1: {"filter_mask": 1}}, "a chunk of"),
        ({"one place": True}, "overlap at byte"),
        ({0: {"byte_offset": 1 << 50}}, "truncated"),
        ({1: {"byte_offset": 3}, 0: {"byte_offset": 4}}, "overlap at byte 4"),
        ({0: {"chunk_offset": (1 << 40, 0, 0)}}, f"unexpected chunk at row {1 << 40}"),
        ({0: {"chunk_offset": (1, 0, 0)}}, "unexpected chunk at row 1"),
        ({0: {"chunk_offset": (0, 1, 0)}}, "unexpected chunk at row 0"),
        ({1: {"chunk_offset": (0, 0, 0)}}, "two chunks at row 0"),
        ({"chunks": (734, 32, 32)}, "chunks of 734 images in a split of 733"),
    ],
)
def test_chunks_that_lie_about_their_place_are_refused_before_they_are_read(tmp_path, changes, said, monkeypatch):
    images = np.random.default_rng(0).integers(0, 8, (733, 32, 32), np.uint8)
    path = tmp_path / "lies.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(400, 32, 32), compression="gzip")
    gc.collect()
    before = set(os.listdir("/dev/fd"))
    with h5py.File(path) as file:
        honest = _chunks.chunked(path, file, Lies(file["images"], {}))
        assert np.array_equal(honest[:], images)
        monkeypatch.setattr("os.pread", None)
        with pytest.raises(StoreError, match=said) as caught:
            _chunks.chunked(path, file, Lies(file["images"], changes))
        assert "\n" not in str(caught.value)
    del honest, caught
    gc.collect()
    assert set(os.listdir("/dev/fd")) <= before  # nothing is left open


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_unpacks_to_more_than_it_may_or_is_read_behind_its_end(kind):
    unpack = unpacker_of(kind)
    content = bytes(1 << 20)
    packed = pack(kind, content)
    assert bytes(unpack(packed, len(content))) == content
    for length in (1, 10, len(content) - 1):
        with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
            unpack(packed, length)
    for cut in (packed[:-1], packed[: len(packed) // 2], packed[:5], b""):
        with pytest.raises(Exception):  # noqa: B017, PT011
            unpack(cut, len(content))


@pytest.mark.parametrize("without", [True, False])
def test_gzip_never_needs_hdf5_nor_libdeflate(packed_once, plain, without, monkeypatch):
    if without:
        monkeypatch.setitem(sys.modules, "deflate", None)
    images = store.open(packed_once.path).train.images
    assert isinstance(images, ChunkedImages)
    assert np.array_equal(images[:], plain.train.images)
    unpack, packed = _unpack.unpacker(_unpack.DEFLATE), zlib.compress(bytes(1 << 24))
    assert bytes(unpack(packed, 1 << 24)) == bytes(1 << 24)
    tracemalloc.start()
    with pytest.raises(Exception):  # noqa: B017, PT011
        unpack(packed, 1000)
    wrong = bytearray(packed)
    wrong[-1] ^= 1  # the checksum at the end
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(Exception):  # noqa: B017, PT011
        unpack(bytes(wrong), 1 << 24)


def unpacker_of(kind):
    unpack = _unpack.unpacker(_unpack.COMPRESSIONS[kind])
    return unpack or pytest.skip(f"nothing unpacks {kind} here")


def pack(kind, content):
    """A chunk as HDF5 keeps it, by its filters."""
    options = {"compression": kind}
    if kind == "zstd":
        options = dict(pytest.importorskip("hdf5plugin").Zstd())
    with h5py.File("packed", "w", driver="core", backing_store=False) as file:
        data = np.frombuffer(content, np.uint8)
        return file.create_dataset("x", data=data, chunks=data.shape, **options).id.read_direct_chunk((0,))[1]


def test_a_file_cut_short_while_open_is_noticed(packed, tmp_path):
    path = tmp_path / "cut.h5"
    shutil.copy(packed.path, path)
    opened = store.open(path)
    os.truncate(path, 5000)
    with pytest.raises(StoreError, match="truncated"):
        np.asarray(opened.train.images)


def test_images_packed_otherwise_are_refused_with_the_reason(plain, tmp_path):
    path = tmp_path / "sum.h5"
    shutil.copy(plain.path, path)
    with h5py.File(path, "r+") as file:
        del file["train/images"]
        options = {"chunks": (4, *plain.train.images.shape[1:]), "fletcher32": True, "compression": "gzip"}
        file["train"].create_dataset("images", data=plain.train.images, **options)
    with pytest.raises(StoreError, match=r"cannot be decompressed \(gzip and filter 3"):
        store.open(path)


@pytest.mark.parametrize("kind", ["lzf", "blosc"])
def test_what_an_earlier_mmtk_wrote_is_refused_with_the_way_out(kind, plain, tmp_path):
    options = {"compression": "lzf"} if kind == "lzf" else dict(pytest.importorskip("hdf5plugin").Blosc(shuffle=0))
    path = tmp_path / "former.h5"
    shutil.copy(plain.path, path)
    with h5py.File(path, "r+") as file:
        del file["train/images"]
        chunks = (512, *plain.train.images.shape[1:])
        file["train"].create_dataset("images", data=plain.train.images, chunks=chunks, **options)
    reason = rf"decompressed \({kind},.*; build or import it again, or export it as gzip with the mmtk version that"
    with pytest.raises(StoreError, match=reason):
        store.open(path)
    invoke("export", plain.path, "--to", "h5", "--compression", kind, "--out", "x", code=2)


def test_bad_calls_are_refused(plain, tmp_path):
    with pytest.raises(ArgumentError, match="compression: found 'brotli', expected gzip or zstd"):
        store.compress(plain, tmp_path, "brotli")
    with pytest.raises(StoreError, match="would overwrite the store"):
        store.compress(plain, plain.path.parent, "gzip", force=True)
    first = store.compress(plain, tmp_path, "gzip")
    before = first.stat().st_mtime_ns
    assert store.compress(plain, tmp_path, "gzip").stat().st_mtime_ns == before
    first.write_bytes(b"mine")
    with pytest.raises(StoreError, match="--force"):
        store.compress(plain, tmp_path, "gzip")
    assert store.verify(store.compress(plain, tmp_path, "gzip", force=True)) == []


def test_the_command_writes_one(plain, tmp_path):
    done = invoke("export", plain.path, "--to", "h5", "--compression", "gzip", "--out", tmp_path)
    assert f"breastmnist_{plain.info.size}.h5: train 733, val 0, test 9" in done.output
