"""Edits of a store through HDF5 itself, as any program can make them: every checksum of HDF5's own is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.random import Generator

from mmtk.store import SPLITS

Edit = Callable[[Any, Generator], str]
_NAMES = ("images", "labels", "records")
_WORDS = ("", "official", "clean", "2020", "2024", "pathmnist", "organamnist", "multi-class", "binary-class",
          "multi-label, binary-class", "CC BY 4.0", "grouped", "x" * 70_000, "é\u2028", "../x", "\x00")


def _some(rng: Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _key(rng: Generator, *, checksums: bool = True) -> str:
    key = f"{_some(rng, SPLITS)}/{_some(rng, _NAMES)}"
    return f"checksums/{key}" if checksums and rng.random() < 0.25 else key


def _put(file: Any, key: str, values: Any, **options: Any) -> None:
    del file[key]
    file.create_dataset(key, data=values, **options)


def fact(file: Any, rng: Generator) -> str:
    """Another value of one fact, or a fact more or less."""
    text = file.attrs["info"]
    facts = json.loads(text.decode() if isinstance(text, bytes) else text)
    name = _some(rng, sorted(facts))
    old, way = facts[name], int(rng.integers(8))
    if way == 0:
        facts.pop(name)
    elif way == 1:
        facts[f"{name}_more"] = old
    elif way == 2:
        facts[name] = _some(rng, (None, 1.5, [old], {"a": old}, str(old), -1, 2**70, True, []))
    elif isinstance(old, bool):
        facts[name] = not old
    elif isinstance(old, int):
        facts[name] = old + int(_some(rng, (-1, 1, 2, 1000)))
    elif isinstance(old, list):
        facts[name] = _some(rng, (old[::-1], old[1:], [*old, "more"], [f"{text}." for text in old], [*old, 1]))
    else:
        facts[name] = _some(rng, (*_WORDS, old + " ", old[:-1], old.upper()))
    packed = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    file.attrs["info"] = np.bytes_(packed) if len(packed) < 60_000 else packed[:60_000]
    return f"fact {name}: {str(old)[:40]!r} is {str(facts.get(name))[:40]!r}"


def attribute(file: Any, rng: Generator) -> str:
    """Another attribute, or one less or more."""
    name, way = _some(rng, sorted(file.attrs)), int(rng.integers(6))
    if way == 0:
        del file.attrs[name]
    elif way == 1:
        _some(rng, (file, file["train"], file["val/images"])).attrs["note"] = "more"
    else:
        file.attrs[name] = _some(
            rng, (0, 1, 2, 3, -1, 2.0, "mmtk-store", np.bytes_("uint8"), np.bytes_("int8"), [2, 2], np.bytes_("{}"),
                  h5py.Empty("f"), np.float32(np.nan), np.bytes_("[" * 3000), True),
        )
    return f"attribute {name}: way {way}"


def value(file: Any, rng: Generator) -> str:
    """Another value somewhere in a dataset, the mark that it is complete among them."""
    key = _key(rng) if rng.random() < 0.9 else "complete"
    dataset = file[key]
    if not dataset.size:
        return f"value {key}: none there"
    whole = dataset[()]
    flat = whole.reshape(-1).view(np.uint8)
    at = int(rng.integers(flat.size))
    flat[at] = (int(flat[at]) + int(rng.integers(1, 256))) % 256
    dataset[...] = whole
    return f"value {key}: byte {at}"


def values(file: Any, rng: Generator) -> str:
    """A dataset of nothing, of rows in another order, or with another's rows."""
    key, way = _key(rng), int(rng.integers(3))
    whole = file[key][()]
    if way == 0:
        file[key][...] = np.zeros_like(whole)
    elif way == 1:
        file[key][...] = whole[::-1]
    else:
        file[key][...] = np.roll(whole, 1, axis=0)
    return f"values {key}: way {way}"


def shape(file: Any, rng: Generator) -> str:
    """A dataset of other rows, type or shape."""
    key = _key(rng)
    whole = file[key][()]
    plain = whole if whole.dtype.names is None else whole["height"]
    way = int(rng.integers(8))
    changed = (
        whole[:-1], np.concatenate([whole, whole[:1]]), plain.astype("<i8"), plain.astype(">u2"),
        plain.astype("f4"), plain.reshape(-1), plain.astype(bool), plain[..., None],
    )[way]
    _put(file, key, changed)
    return f"shape {key}: {whole.dtype.kind}{whole.shape} is {changed.dtype}{changed.shape}"


def fields(file: Any, rng: Generator) -> str:
    """Records of other fields, or of other widths."""
    key = f"{_some(rng, SPLITS)}/records"
    whole = file[key][()]
    names, way = list(whole.dtype.names), int(rng.integers(4))
    if way == 0:
        changed = whole[names[::-1]].astype([(name, whole.dtype[name]) for name in names[::-1]])
    elif way == 1:
        changed = whole[names[:-1]].astype([(name, whole.dtype[name]) for name in names[:-1]])
    else:
        kinds = [(n, f"S{whole.dtype[n].itemsize + way}" if whole.dtype[n].kind == "S" else "<i4") for n in names]
        changed = whole.astype(kinds)
    _put(file, key, changed)
    return f"fields {key}: way {way}"


def missing(file: Any, rng: Generator) -> str:
    """A dataset or a group less."""
    key = _some(rng, (_key(rng), _some(rng, SPLITS), "checksums", "complete"))
    del file[key]
    return f"missing {key}"


def more(file: Any, rng: Generator) -> str:
    """A dataset, or groups down to some depth, more."""
    where = _some(rng, ("", "train/", "checksums/", "checksums/val/", "a/b/c/d/e/"))
    if rng.random() < 0.5:
        file.create_group(f"{where}more")
    else:
        file.create_dataset(f"{where}more", data=_some(rng, (np.arange(5), np.bytes_("x"), "text", np.zeros((0, 3)))))
    return f"more {where}more"


def link(file: Any, rng: Generator) -> str:
    """A second name for a dataset or group, in the place of another or as one more."""
    way = int(rng.integers(6))
    if way == 0:
        one, other = _key(rng), _key(rng)
        target = file[other]
        del file[one]
        file[one] = target
        return f"link {one} to {other}: hard"
    if way == 1:
        one, other = (str(name) for name in rng.permutation(SPLITS)[:2])
        target = file[other]
        del file[one]
        file[one] = target
        return f"link {one} to {other}: hard"
    if way == 2:
        file["train/round"] = file["/"]
        return "link train/round to /: hard"
    key = _key(rng)
    if way == 3:
        file.move(key, "moved")
        file[key] = h5py.SoftLink("/moved")
    elif way == 4:
        del file[key]
        file[key] = h5py.ExternalLink("/etc/hostname", "/x")
    else:
        file["alias"] = file[key]
    return f"link {key}: way {way}"


def splits_swapped(file: Any, rng: Generator) -> str:
    """Two splits change their names, and their checksums with them."""
    one, other = (str(name) for name in rng.permutation(SPLITS)[:2])
    for base in ("", "checksums/"):
        file.move(f"{base}{one}", "aside")
        file.move(f"{base}{other}", f"{base}{one}")
        file.move("aside", f"{base}{other}")
    return f"splits swapped: {one} and {other}, checksums too"


def packed(file: Any, rng: Generator) -> str:
    """A dataset under filters that keep its values, and under some that do not."""
    key = _key(rng)
    whole = file[key][()]
    if not whole.size:
        return f"packed {key}: nothing there"
    number = whole.dtype.kind in "ui"
    options: list[dict[str, Any]] = [
        {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True, "compression": "gzip"}, {"fletcher32": True},
    ]
    if number:
        options += [{"scaleoffset": 0}, {"scaleoffset": 2}, {"scaleoffset": 7}]
    chosen = _some(rng, options)
    _put(file, key, whole, chunks=tuple(max(1, int(n) // int(rng.integers(1, 4))) for n in whole.shape), **chosen)
    return f"packed {key}: {chosen}"


def bits_dropped(file: Any, rng: Generator) -> str:
    """A dataset of bytes of which the N-bit filter keeps a few bits."""
    key = f"{_some(rng, SPLITS)}/{_some(rng, _NAMES[:2])}"
    whole, bits = file[key][()], int(rng.integers(1, 9))
    if not whole.size:
        return f"bits dropped {key}: nothing there"
    kind = h5py.h5t.NATIVE_UINT8.copy()
    kind.set_precision(bits)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(whole.shape)
    plist.set_filter(h5py.h5z.FILTER_NBIT)
    del file[key]
    made = h5py.h5d.create(file.id, key.encode(), kind, h5py.h5s.create_simple(whole.shape), plist)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, whole)
    return f"bits dropped {key}: {bits} left"


def chunked(file: Any, rng: Generator) -> str:
    """A dataset in other chunks."""
    key = _key(rng)
    whole = file[key][()]
    if not whole.size:
        return f"chunked {key}: nothing there"
    chunks = tuple(int(rng.integers(1, n + 1)) for n in whole.shape)
    _put(file, key, whole, chunks=chunks)
    return f"chunked {key}: {chunks} of {whole.shape}"


def in_part(file: Any, rng: Generator) -> str:
    """A dataset of which a part was never written, which HDF5 then makes up."""
    key = _key(rng)
    whole = file[key][()]
    if not whole.size:
        return f"in part {key}: nothing there"
    del file[key]
    rows = max(1, len(whole) // 3)
    dataset = file.create_dataset(key, whole.shape, whole.dtype, chunks=(rows, *whole.shape[1:]))
    dataset[:rows] = whole[:rows]
    return f"in part {key}: {rows} of {len(whole)} rows"


def elsewhere(file: Any, rng: Generator) -> str:
    """A dataset whose bytes lie outside, or that is a view of another."""
    key = f"{_some(rng, SPLITS)}/{_some(rng, _NAMES[:2])}"
    whole = file[key][()]
    del file[key]
    if rng.random() < 0.5:
        file.create_dataset(key, whole.shape, whole.dtype, external=[("outside.bin", 0, h5py.h5f.UNLIMITED)])
    else:
        layout = h5py.VirtualLayout(whole.shape, whole.dtype)
        file.create_virtual_dataset(key, layout)
    return f"elsewhere {key}"


EDITS: tuple[Edit, ...] = (
    fact, fact, fact, fact, attribute, value, value, values, shape, fields, missing, more, link, link, splits_swapped,
    packed, packed, bits_dropped, chunked, in_part, elsewhere,
)


def edited(path: Path, rng: Generator, number: int) -> str:
    """Edit a store in place; the edits take turns."""
    with h5py.File(path, "r+") as file:
        return EDITS[number % len(EDITS)](file, rng)
