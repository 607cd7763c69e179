"""MedMNIST's own ``.npz``: read any of them, write them as the authors' tools did in 2020, to the byte."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mmtk import __version__
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Dataset, Task, recipe_hash, recipe_to_json
from mmtk.errors import StoreError
from mmtk.store._format import StoreInfo
from mmtk.store._reader import Store
from mmtk.store._writer import empty_records, write_store

Array = np.ndarray[Any, Any]
_NAME = re.compile(r"(?P<flag>[a-z]+mnist(?:_(?:axial|coronal|sagittal))?)(?:_(?P<size>\d+))?$")
_ARRAYS = tuple(f"{split}_{kind}" for kind in ("images", "labels") for split in SPLITS)


def import_npz(path: str | Path, out: str | Path, flag: str | None = None) -> Path:
    """Turn a MedMNIST ``.npz`` into a store.

    Parameters
    ----------
    path : path
        A file with the six arrays ``{train,val,test}_{images,labels}`` in any order;
        labels ``(n,)``, ``(n, 1)`` or ``(n, l)``.
    out : path
        Folder of the store, made if need be.
    flag : str, optional
        The dataset; by default told by the file's name.

    Returns
    -------
    Path
        ``out/{flag}_{size}.h5``.

    Raises
    ------
    StoreError
        If the file is damaged, holds pickles, lacks an array, or its arrays do not fit each other or the dataset.
    """
    path, out = Path(path), Path(out)
    if flag is None:
        named = _NAME.match(path.stem)
        if named is None:
            raise StoreError(
                path, expected="a name like breastmnist.npz", found=path.name, remedy="give the dataset with --flag"
            )
        flag = named["flag"]
    dataset = get_dataset(flag)
    arrays = _load(path)
    size = _check(path, dataset, arrays)
    md5 = _md5(path)
    editions = [key for key, value in dataset.md5.items() if value == md5]
    info = StoreInfo(
        flag=dataset.flag,
        title=dataset.title,
        modality=dataset.modality,
        task=dataset.task.value,
        classes=dataset.classes,
        channels=dataset.channels,
        size=size,
        edition=_edition(dataset, arrays, editions),
        pixels="official" if editions else "imported",
        split="official" if editions else "imported",
        membership=f"the file with MD5 {md5}" + (", as published" if editions else ""),
        recipe=recipe_to_json(dataset.recipe),
        recipe_hash=recipe_hash(dataset.recipe),
        licence=dataset.source.licence,
        citation=dataset.source.citation,
        source=dataset.source.name,
        plan_hash=hashlib.sha256(f"npz {md5}".encode()).hexdigest(),
        synthetic=False,
        partial=False,
        mmtk_version=__version__,
    )
    final = out / f"{dataset.flag}_{size}.h5"
    out.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in SPLITS:
        images = arrays[f"{split}_images"]
        names = [f"{split}/{row}" for row in range(len(images))]
        splits[split] = (images, arrays[f"{split}_labels"], empty_records(names, size))
    return write_store(final, info, splits)


def _load(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise StoreError(path, expected="a MedMNIST .npz file", found="no such file")
    arrays: dict[str, Array] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in _ARRAYS if name not in archive]
            if missing:
                raise StoreError(path, expected=f"the arrays {', '.join(_ARRAYS)}", found=f"no {', '.join(missing)}")
            for name in _ARRAYS:
                arrays[name] = archive[name]
    except StoreError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
    ) as error:
        raise StoreError(
            path,
            expected="a MedMNIST .npz file of plain arrays",
            found=" ".join(str(error).split()),
            remedy="fetch it again",
        ) from None
    return arrays


def _check(path: Path, dataset: Dataset, arrays: dict[str, Array]) -> int:
    """Bring labels to ``(n, l)`` in place; return the images' edge length."""
    size = arrays["train_images"].shape[1] if arrays["train_images"].ndim > 1 else 0
    row = (size, size) if dataset.channels == 1 else (size, size, 3)
    for split in SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.shape[1:] != row or size < 1:
            found = f"{images.dtype} {images.shape}"
            raise StoreError(f"{path}: {split}_images", expected=f"uint8 (n, {', '.join(map(str, row))})", found=found)
        if labels.ndim == 1:
            labels = labels[:, None]
        wanted = (len(images), dataset.labels)
        if labels.dtype.kind not in "iub" or labels.shape != wanted:
            found = f"{labels.dtype} {labels.shape}"
            raise StoreError(f"{path}: {split}_labels", expected=f"integers of shape {wanted}", found=found)
        top = 1 if dataset.task is Task.MULTILABEL else len(dataset.classes) - 1
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= top:
            found = f"{labels.min()} to {labels.max()}"
            raise StoreError(f"{path}: {split}_labels", expected=f"values from 0 to {top}", found=found)
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    return int(size)


def _edition(dataset: Dataset, arrays: dict[str, Array], published: list[str]) -> str:
    if published:
        return published[0].split(":")[0]
    counts = tuple(len(arrays[f"{split}_labels"]) for split in SPLITS)
    for edition, known in dataset.counts.items():
        if counts == (known.train, known.val, known.test):
            return edition
    return "unknown"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# --------------------------------------------------------------------- export

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_END = struct.Struct("<4s4H2LH")
_MIDNIGHT_1980 = 0x21  # the date NumPy gives its members
_UNIX, _PK20, _DEFLATED, _LEVEL = 3, 20, 8, 6


def export_npz(store: Store, out: str | Path, force: bool = False) -> Path:
    """Write a store as MedMNIST's ``.npz``; an imported official file comes back with its published MD5.

    Its headers are those that NumPy's ``savez_compressed`` wrote in 2020: version 2.0 throughout, and a zip64 field
    with the true sizes in each local header. The deflate stream equals theirs where Python is built on classic zlib.

    Parameters
    ----------
    store : Store
    out : path
        Folder of the file, made if need be.
    force : bool
        Replace a file that is there.

    Returns
    -------
    Path
        ``out/{flag}.npz``, or ``out/{flag}_{size}.npz`` for sizes other than 28.

    Raises
    ------
    StoreError
        If the file is there already, or would pass the 4 GiB of a plain zip.
    """
    out = Path(out)
    final = out / f"{medmnist_name(store)}.npz"
    if final.exists() and not force:
        raise StoreError(final, expected="no such file yet", found="one", remedy="add --force to replace it")
    out.mkdir(parents=True, exist_ok=True)
    members = [(f"{s.name}_images", s.images) for s in store.splits] + [
        (f"{s.name}_labels", s.labels) for s in store.splits
    ]
    write_atomically(final, lambda file: _write_zip(file, members))
    return final


def medmnist_name(store: Store) -> str:
    """MedMNIST's name for a dataset and size: ``breastmnist``, ``breastmnist_64``."""
    return store.info.flag if store.info.size == 28 else f"{store.info.flag}_{store.info.size}"


def write_atomically(final: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `final`, which takes its name only when whole."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _npy(array: Array) -> Iterator[bytes]:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    yield head.getvalue()
    for row in range(0, len(array), 4096):
        yield np.ascontiguousarray(array[row : row + 4096]).tobytes()


def _write_zip(file: BinaryIO, members: list[tuple[str, Array]]) -> None:
    central: list[bytes] = []
    for name, array in members:
        coded = f"{name}.npy".encode()
        start = file.tell()
        file.write(bytes(_LOCAL.size + len(coded) + 20))
        deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
        crc = size = 0
        for block in _npy(array):
            crc, size = zlib.crc32(block, crc), size + len(block)
            file.write(deflate.compress(block))
        file.write(deflate.flush())
        end = file.tell()
        packed = end - start - _LOCAL.size - len(coded) - 20
        if max(size, end) >= 0xFFFFFFFF:
            raise StoreError(
                name, expected="an .npz below 4 GiB", found=f"{max(size, end)} bytes", remedy="export as png"
            )
        file.seek(start)
        zip64 = struct.pack("<2H2Q", 1, 16, size, packed)
        file.write(
            _LOCAL.pack(b"PK\3\4", _PK20, 0, _DEFLATED, 0, _MIDNIGHT_1980, crc, packed, size, len(coded), len(zip64))
        )
        file.write(coded + zip64)
        file.seek(end)
        central.append(
            _CENTRAL.pack(
                b"PK\1\2",
                _PK20,
                _UNIX,
                _PK20,
                0,
                0,
                _DEFLATED,
                0,
                _MIDNIGHT_1980,
                crc,
                packed,
                size,
                len(coded),
                0,
                0,
                0,
                0,
                0o600 << 16,
                start,
            )
            + coded
        )
    start = file.tell()
    file.write(b"".join(central))
    file.write(_END.pack(b"PK\5\6", 0, 0, len(central), len(central), file.tell() - start, start, 0))
