"""Compressed stores: the same contents, unpacked chunk by chunk outside HDF5, wherever a store is read."""

from __future__ import annotations

import os
import shutil
import threading

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk import store
from mmtk.cli import group
from mmtk.errors import ArgumentError, StoreError
from mmtk.loader import permutation, windowed
from mmtk.store import ChunkedImages
from tests.small_stores import write_small_store

KINDS = tuple(store.COMPRESSIONS)
COUNTS = (733, 0, 9)


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "rgb"])
def plain(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "breastmnist_32.h5"
    opened = store.open(write_small_store(path, COUNTS, channels=request.param, size=32))
    images = opened.train.images.copy()
    images[:512] //= 64  # the first chunks can be compressed, the last is noise that cannot
    arrays = {s.name: (s.images, s.labels, s.records) for s in opened.splits}
    arrays["train"] = (images, *arrays["train"][1:])
    return store.open(store.write_store(path, opened.info, arrays))


@pytest.fixture(params=KINDS)
def packed(request, plain, tmp_path):
    if request.param in ("zstd", "blosc"):
        pytest.importorskip("hdf5plugin")
        pytest.importorskip("numcodecs")
    if request.param == "lzf":
        pytest.importorskip("mmtk._native")
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


@settings(max_examples=30)
@given(rows=st.lists(st.integers(-733, 732), max_size=60), start=st.integers(-800, 800), step=st.integers(-300, 300))
def test_rows_are_picked_as_numpy_picks_them(plain, packed, rows, start, step):
    ours, theirs = packed.train.images, plain.train.images
    assert np.array_equal(ours[np.array(rows, int)], theirs[np.array(rows, int)])
    if step:
        assert np.array_equal(ours[start::step], theirs[start::step])
    assert np.array_equal(ours[start % 733], theirs[start % 733])
    assert np.array_equal(ours[rows, 3:5, ::2] if rows else ours[:, 3:5, ::2],
                          theirs[rows, 3:5, ::2] if rows else theirs[:, 3:5, ::2])


def test_masks_iteration_and_what_is_out_of_range(plain, packed):
    ours, theirs = packed.train.images, plain.train.images
    mask = theirs.reshape(733, -1).mean(axis=1) > 100
    assert np.array_equal(ours[mask], theirs[mask])
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    with pytest.raises(IndexError):
        ours[733]
    with pytest.raises(ValueError, match="unpacked"):
        np.asarray(ours, copy=False)


def test_everything_that_takes_a_store_takes_a_compressed_one(plain, packed, tmp_path):
    for one, folder in ((plain, tmp_path / "a"), (packed, tmp_path / "b")):
        store.export_npz(one, folder)
        store.export_png(one, folder / "png")
        store.draw_montage(one, folder / "montage.png")
        store.compress(one, folder / "again", "gzip")
    for file in sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_forked_process_reads_on(plain, packed):
    expected = plain.train.images[::7].sum()
    assert packed.train.images[::7].sum() == expected
    child = os.fork()
    if not child:
        os._exit(0 if packed.train.images[::7].sum() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


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
    images._begin()
    both = threading.Barrier(2)

    def meet(data, length):
        both.wait(timeout=30)
        return unpack(data, length)

    images._unpack = meet  # which the last chunk, of noise, is not given
    rows = np.array([0, images.chunk_rows])
    assert len(images._chunks) == 2 or not images._chunks[1].plain
    if images._chunks[1].plain:
        images._chunks[1] = images._chunks[0]
    found: list[np.ndarray] = []
    with h5py._hl.base.phil:
        reader = threading.Thread(target=lambda: found.append(images[rows]))
        reader.start()
        reader.join(timeout=60)
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
        with pytest.raises(StoreError, match=rf"damaged\.h5: expected a whole chunk of rows 0 to {rows - 1}, found"):
            opened.train.images[0]
    assert np.array_equal(opened.train.images[rows:], plain.train.images[rows:])


def test_a_file_cut_short_while_open_is_noticed(packed, tmp_path):
    path = tmp_path / "cut.h5"
    shutil.copy(packed.path, path)
    opened = store.open(path)
    os.truncate(path, 5000)
    with pytest.raises(StoreError, match="found a file cut short"):
        np.asarray(opened.train.images)


def test_images_packed_otherwise_are_refused_with_the_reason(plain, tmp_path):
    path = tmp_path / "sum.h5"
    shutil.copy(plain.path, path)
    with h5py.File(path, "r+") as file:
        del file["train/images"]
        options = {"chunks": (4, *plain.train.images.shape[1:]), "fletcher32": True, "compression": "gzip"}
        file["train"].create_dataset("images", data=plain.train.images, **options)
    with pytest.raises(StoreError, match=r"packed by one of gzip, lzf, zstd, blosc.* found gzip and filter 3"):
        store.open(path)


def test_bad_calls_are_refused(plain, tmp_path):
    with pytest.raises(ArgumentError, match="compression: expected gzip, lzf, zstd, blosc, found 'brotli'"):
        store.compress(plain, tmp_path, "brotli")
    with pytest.raises(StoreError, match="expected another folder than the store's own"):
        store.compress(plain, plain.path.parent, "gzip", force=True)
    first = store.compress(plain, tmp_path, "gzip")
    before = first.stat().st_mtime_ns
    assert store.compress(plain, tmp_path, "gzip").stat().st_mtime_ns == before
    first.write_bytes(b"mine")
    with pytest.raises(StoreError, match="--force"):
        store.compress(plain, tmp_path, "gzip")
    assert store.verify(store.compress(plain, tmp_path, "lzf", force=True)) == []


def test_the_command_writes_one(plain, tmp_path):
    options = ["--to", "h5", "--compression", "lzf", "--out", str(tmp_path)]
    done = CliRunner().invoke(group, ["export", str(plain.path), *options])
    assert done.exit_code == 0
    assert "breastmnist_32.h5: train 733, val 0, test 9" in done.output


native = pytest.importorskip("mmtk._native")


@given(st.binary(max_size=300), st.integers(0, 3000))
def test_bytes_that_are_no_lzf_are_refused(packed_bytes, length):
    said = "as many bytes"
    try:
        found = native.unpack_lzf(packed_bytes, length)
    except ValueError as error:
        said, found = str(error), bytes(length)
    assert (len(found), "as many bytes" in said) == (length, True)


@pytest.mark.parametrize("arguments", [(b"\0a",), (b"\0a", -1), ("text", 1), (b"\0a", None)])
def test_lzf_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises((TypeError, ValueError)):
        native.unpack_lzf(*arguments)
    assert native.unpack_lzf(b"\0a\x20\0", 4) == b"aaaa"
