"""Stores that a stranger sends: edited facts, links, filters, chunks that lie, bombs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mmtk import store
from mmtk.errors import StoreError
from mmtk.store import StoreInfo
from tests.commands import invoke, peak_of
from tests.small_stores import write_small_store

_OTHER = {str: lambda value: value + "x", int: lambda value: value + 1, bool: lambda value: not value}
FACTS = [name for name in StoreInfo.__dataclass_fields__ if name not in ("channels", "size", "ndim")]  # shapes


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_small_store(tmp_path_factory.mktemp("whole") / "a.h5", (20, 6, 9), size=8)


def edited(path: Path, folder: Path, edit: Callable[[h5py.File], object]) -> Path:
    copy = folder / "edited.h5"
    shutil.copy(path, copy)
    with h5py.File(copy, "r+") as file:
        edit(file)
    return copy


def change_fact(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        facts = json.loads(file.attrs["info"])
        value = facts.get(name, "")
        if name == "task":
            facts[name] = "multi-class"
        elif name == "recipe":
            facts[name] = "[]" if value != "[]" else '[{"step":"center_crop"}]'
        else:
            facts[name] = [*value, "another"] if isinstance(value, list) else _OTHER[type(value)](value)
        file.attrs["info"] = np.bytes_(json.dumps(facts, sort_keys=True, separators=(",", ":")))
        file.attrs["version"] = 3 if name in ("page", "family") else 2

    return edit


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_that_was_edited_does_not_fit_the_digest(whole, tmp_path, name):
    path = edited(whole, tmp_path, change_fact(name))
    with pytest.raises(StoreError, match=r"corrupt: .*its digest"):
        store.open(path)
    with pytest.raises(StoreError, match=r"corrupt: .*its digest"):
        store.verify(path)


def _swap_labels(file: h5py.File) -> None:
    labels = file["train/labels"]
    labels[...] = 1 - labels[...]


@pytest.mark.parametrize("array", ["images", "labels", "records"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_values_edited_by_hdf5_differ_from_their_checksums(whole, tmp_path, split, array):
    def edit(file: h5py.File) -> None:
        values = file[f"{split}/{array}"][()]
        file[f"{split}/{array}"][...] = values[::-1]

    path = edited(whole, tmp_path, edit)
    before, after = (getattr(getattr(store.open(p), split), array) for p in (whole, path))
    same = np.array_equal(before, after)
    assert same == (array == "records")  # which are all alike in this store
    assert bool(store.verify(path)) != same
    assert (store.open(path).content_digest() == store.open(path).digest) == same


def test_checksums_made_to_fit_do_not_fit_the_digest(whole, tmp_path):
    def edit(file: h5py.File) -> None:
        import hashlib

        _swap_labels(file)
        digest = hashlib.sha256(file["train/labels"][()].tobytes()).digest()
        file["checksums/train/labels"][0] = np.frombuffer(digest, np.uint8)

    with pytest.raises(StoreError, match="match its digest"):
        store.open(edited(whole, tmp_path, edit))


def test_a_digest_pins_a_store(whole, tmp_path):
    digest = store.open(whole).digest
    assert digest == store.open(whole).content_digest()
    assert store.verify(whole, digest) == []
    other = write_small_store(tmp_path / "b.h5", (20, 6, 9), size=8, seed=3)
    for read in (store.open, store.verify):
        with pytest.raises(StoreError, match=f"expected {digest}"):
            read(other, digest)


def test_a_compressed_copy_has_the_same_digest(whole, tmp_path):
    assert store.open(store.compress(store.open(whole), tmp_path, "gzip")).digest == store.open(whole).digest


@pytest.mark.parametrize("command", [
    "export --to npz", "export --to png", "export --to h5", "train --protocol quick --model resnet18",
])
def test_no_command_takes_a_damaged_store(whole, tmp_path, command):
    path = tmp_path / "a.h5"
    shutil.copy(whole, path)
    with path.open("r+b") as file:
        file.seek(store.read_layout(path).image_offset("val", 2))
        file.write(b"\x07\x07\x07")
    name, *options = command.split()
    result = invoke(name, path, *options, "--out", tmp_path / "out", code=1)
    assert "a.h5: store is corrupt: val/images chunk 0 (rows 0 to 5): checksum differs" in str(result.exception)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_damaged_store_is_not_compressed_anew(whole, tmp_path):
    path = tmp_path / "a.h5"
    shutil.copy(whole, path)
    opened = store.open(path)
    opened.train.images[3] ^= 1  # as damage behind the mapping would
    with pytest.raises(StoreError, match="content does not match its digest"):
        store.compress(opened, tmp_path / "out", "gzip")
    assert list((tmp_path / "out").iterdir()) == []


def _relink(old: str, new: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[new]
        file[new] = file[old]

    return edit


def _packed(name: str, **options: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        values = file[name][()]
        del file[name]
        file.create_dataset(name, data=values, chunks=values.shape, **options)

    return edit


def _nbit(file: h5py.File) -> None:
    values = file["train/images"][()]
    del file["train/images"]
    kind = h5py.h5t.NATIVE_UINT8.copy()
    kind.set_precision(4)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(values.shape)
    plist.set_nbit() if hasattr(plist, "set_nbit") else plist.set_filter(h5py.h5z.FILTER_NBIT)
    h5py.h5d.create(file["train"].id, b"images", kind, h5py.h5s.create_simple(values.shape), plist)
    file["train/images"][...] = values


def _four_bits(file: h5py.File) -> None:
    values = file["train/labels"][()]
    del file["train/labels"]
    kind = h5py.h5t.NATIVE_UINT8.copy()
    kind.set_precision(4)
    space = h5py.h5s.create_simple(values.shape)
    h5py.h5d.create(file["train"].id, b"labels", kind, space).write(space, space, values)


def _giant_chunk(file: h5py.File) -> None:
    shape = file["train/images"].shape
    del file["train/images"]
    file.create_dataset(
        "train/images", shape, "u1", chunks=(10_000_000, *shape[1:]), maxshape=(None, *shape[1:]), compression="gzip"
    )
    file["train/images"].id.write_direct_chunk((0, 0, 0), b"x" * 100)


def _numbers_as_digest(file: h5py.File) -> None:
    del file["digest"]
    file["digest"] = [1, 2]


HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "val is train": (_relink("train", "val"), "is a link to another"),
    "the images of val are those of train": (_relink("train/images", "val/images"), "is a link to another"),
    "checksums of another split": (_relink("checksums/train", "checksums/val"), "is a link to another"),
    "a filter that changes values": (_nbit, "/train/images is not stored as plain"),
    "a type that changes values": (_four_bits, "/train/labels is not stored as plain uint8"),
    "labels in gzip": (_packed("train/labels", compression="gzip"), "/train/labels has a filter"),
    "records in gzip": (_packed("train/records", compression="gzip"), "/train/records has a filter"),
    "checksums in gzip": (_packed("checksums/train/images", compression="gzip"), "checksums/train/images has a filter"),
    "images scaled": (_packed("train/images", scaleoffset=4), "filter 6"),
    "a chunk of more rows than there are": (_giant_chunk, "only 20 rows"),
    "another group": (lambda f: f.create_group("more"), "members of / are"),
    "another dataset": (lambda f: f.create_dataset("train/more", data=[1]), "members of /train are"),
    "numbers as digest": (_numbers_as_digest, "expected 32 bytes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_format_does_not_name_is_refused(whole, tmp_path, kind):
    edit, message = HOSTILE[kind]
    with pytest.raises(StoreError, match=message):
        store.open(edited(whole, tmp_path, edit))


def _many_groups(file: h5py.File) -> None:
    for number in range(10_000):
        file.create_group(f"g{number}")


def _large_labels(file: h5py.File) -> None:
    del file["train/labels"]
    file.create_dataset("train/labels", (2 << 30, 1), "u1", chunks=(1 << 24, 1), compression="gzip", compression_opts=9)
    import zlib

    bomb = zlib.compress(bytes(1 << 24), 9)
    for row in range(0, 2 << 30, 1 << 24):
        file["train/labels"].id.write_direct_chunk((row, 0), bomb)


def _unpacking_images(file: h5py.File) -> None:
    import zlib

    shape = file["train/images"].shape
    del file["train/images"]
    file.create_dataset("train/images", shape, "u1", chunks=shape, compression="gzip")
    file["train/images"].id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1 << 30), 9))


@pytest.mark.parametrize("bomb", [_many_groups, _large_labels, _unpacking_images])
def test_a_bomb_costs_neither_memory_nor_time(whole, tmp_path, bomb):
    path = edited(whole, tmp_path, bomb)
    start = time.monotonic()
    peak, told = peak_of("numpy.asarray(store.open(path).train.images)", path, whole, first="store.open(sys.argv[2])")
    assert "edited.h5: " in told
    assert peak < 256
    assert time.monotonic() - start < 60  # ten thousand groups took hours


def test_a_store_of_the_first_format_says_what_to_do(whole, tmp_path):
    path = edited(whole, tmp_path, lambda file: file.attrs.modify("version", 1))
    with pytest.raises(StoreError, match="found version 1, expected 2, 3 or 4; build or import it"):
        store.open(path)
