"""MedMNIST's own ``.npz``: read any of them, write them as the authors' tools did, to the byte."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import stat
import tempfile
import tokenize
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmtk.datasets import edition_flag, find_dataset
from mmtk.datasets.base import SPLITS, Dataset, Task
from mmtk.datasets.marks import marks_of
from mmtk.datasets.official import LATEST, PAPER, sized_name
from mmtk.errors import MmtkError, StoreError, reason_of, system_remedy
from mmtk.files import write_atomically
from mmtk.store._chunks import Images
from mmtk.store._facts import FACTS, MOST_FACTS, facts_array
from mmtk.store._format import Array, StoreInfo, image_shape
from mmtk.store._reader import Store
from mmtk.store._writer import block_rows, blocks
from mmtk.store._zip import CONTAINERS, write_zip

Described = Dataset | StoreInfo  # what a file's arrays have to fit
_NAME = re.compile(r"(?P<flag>[a-z]+mnist(?:3d|_(?:axial|coronal|sagittal))?)(?:_(?P<size>\d+))?$")
_ARRAYS = CONTAINERS[PAPER].arrays
_KIND = "a MedMNIST .npz file"
_MOST_DEFLATED = 1032  # bytes that one of a deflate stream can stand for
_MOST_HEADER = 1 << 16  # bytes of a NumPy header
LARGEST_SIZE = 4096  # px: edge length of an image, beyond any raw one here
_LARGEST_CUBE = 256  # of a volume, which are as many bytes
_END = 22  # bytes of a zip's last record without the comment
_COMMENTS = {" ".join(marks_of(*holds)).encode() for holds in product((False, True), repeat=2)}
_ROOM = "free some or set TMPDIR to another folder"


@dataclass(frozen=True)
class OpenedNpz:
    """An opened MedMNIST file whose arrays fit each other and its dataset.

    Attributes
    ----------
    size : edge length of its images
    labels : of each split, ``(n, l)`` uint8
    marks : words of its comment, see `marks_of`
    """

    size: int
    labels: dict[str, Array]
    marks: tuple[str, ...]
    _archive: zipfile.ZipFile
    _path: Path

    @property
    def counts(self) -> tuple[int, ...]:
        """Rows of train, val and test."""
        return tuple(len(self.labels[split]) for split in SPLITS)

    def images(self, split: str) -> Iterator[Array]:
        """Images of a split in consecutive blocks of rows, one in memory at a time."""
        with _told(self._path):  # here, since what is written meanwhile has errors of its own
            yield from _blocks(self._archive, f"{split}_images")


@contextmanager
def opened_npz(path: Path, dataset: Described) -> Iterator[OpenedNpz]:
    """Open a MedMNIST ``.npz`` and see that it fits a dataset.

    Raises
    ------
    StoreError
        If it does not, or is damaged, also where that shows only while it is read.
    """
    with _opened(path) as archive:
        size = _check_shapes(archive, path, dataset)
        labels = {split: _read_labels(archive, split, path, dataset) for split in SPLITS}
        yield OpenedNpz(size, labels, _marks(archive), archive, path)


def read_facts(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Text of the member with facts, see `mmtk.store._facts`, and the file's marks; None where there is no such member.

    Raises
    ------
    StoreError
        If the file is damaged, or the member is anything but one array of ASCII bytes.
    """
    what = f"{path}: {FACTS}"
    with _opened(path, (FACTS,)) as archive:
        if f"{FACTS}.npy" not in archive.namelist():
            return None
        shape, dtype = _shape(archive, FACTS, path)
        if dtype != np.uint8 or len(shape) != 1 or shape[0] > MOST_FACTS:
            raise StoreError(what, expected=f"at most {MOST_FACTS} bytes", found=f"{dtype} {shape}")
        text = b"".join(block.tobytes() for block in _blocks(archive, FACTS))
        return text.decode("latin-1"), _marks(archive)


def flag_named(path: Path) -> str | None:
    """The flag that a file's name tells by MedMNIST's convention, None if it tells none."""
    named = _NAME.match(path.stem)
    return named["flag"] if named else None


def read_npz(path: str | Path, dataset: Described) -> dict[str, tuple[Array, Array]]:
    """Images and labels of each split of a MedMNIST ``.npz``.

    Images are unpacked into an unnamed temporary file and mapped from it, so that they take no memory of their own;
    the file is gone with its last array.

    Parameters
    ----------
    path : path
        A file as `import_npz` takes it.
    dataset : Dataset or StoreInfo
        What it has to fit.

    Returns
    -------
    dict of split to (images, labels)
        Images ``(n, h, w[, 3])`` uint8, of volumes ``(n, d, h, w)``, labels ``(n, l)`` uint8.

    Raises
    ------
    StoreError
        If the file is damaged or does not fit the dataset, or there is no room for temporary files.
    """
    with opened_npz(Path(path), dataset) as npz:
        row = image_shape(dataset.ndim, dataset.channels, npz.size)
        expect_room(sum(npz.counts) * math.prod(row), f"the images of {path}, unpacked")
        shapes = {split: (len(labels), *row) for split, labels in npz.labels.items()}
        return {split: (_unpack(npz.images(split), shape), npz.labels[split]) for split, shape in shapes.items()}


def expect_room(wanted: int, purpose: str) -> None:
    """See that temporary files of so many bytes have room, before the work that fills them.

    Raises
    ------
    StoreError
        If they have not.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StoreError(folder, expected=f"room for {wanted} bytes ({purpose})", found=f"{free} bytes", remedy=_ROOM)


def _unpack(rows: Iterator[Array], shape: tuple[int, ...]) -> Array:
    with tempfile.TemporaryFile() as file:
        for block in rows:
            try:
                file.write(np.ascontiguousarray(block).data)
                file.flush()
            except OSError as error:
                wanted, found = f"room for {math.prod(shape)} bytes", reason_of(error)
                raise StoreError(tempfile.gettempdir(), expected=wanted, found=found, remedy=_ROOM) from None
        return np.memmap(file, np.uint8, "r", shape=shape) if math.prod(shape) else np.zeros(shape, np.uint8)


def _marks(archive: zipfile.ZipFile) -> tuple[str, ...]:
    return tuple(archive.comment.decode("ascii", "replace").split())


@contextmanager
def _opened(path: Path, more: tuple[str, ...] = ()) -> Iterator[zipfile.ZipFile]:
    """Open an ``.npz`` whose arrays, and `more` that it may have, are there once and no larger than what is packed."""
    with _told(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError(path, expected=_KIND, found="no regular file")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_comment(path, file, archive.comment)
            names = Counter(archive.namelist())
            missing = [name for name in _ARRAYS if not names[f"{name}.npy"]]
            if missing:
                raise StoreError(path, expected=f"the arrays {', '.join(_ARRAYS)}", found=f"no {', '.join(missing)}")
            arrays = [name for name in (*_ARRAYS, *more) if names[f"{name}.npy"]]
            if twice := [name for name in arrays if names[f"{name}.npy"] > 1]:
                raise StoreError(path, expected="each array once", found=f"{twice[0]} {names[f'{twice[0]}.npy']} times")
            for member in map(archive.getinfo, (f"{name}.npy" for name in arrays)):
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise StoreError(path, expected="arrays stored or deflated", found="another compression")
                if member.file_size > _MOST_DEFLATED * member.compress_size + _MOST_HEADER:
                    found = f"{member.file_size} bytes of {member.filename} in {member.compress_size}"
                    raise StoreError(path, expected=_KIND, found=found, remedy="do not trust this file")
            yield archive


def _check_comment(path: Path, file: IO[bytes], comment: bytes) -> None:
    """Refuse an archive that does not end with a comment of ours, or none: it has no checksum and tells the marks."""
    file.seek(-len(comment) - _END, os.SEEK_END)
    end = file.read()
    whole = end.startswith(b"PK\5\6") and end[_END - 2 :] == len(comment).to_bytes(2, "little") + comment
    if not whole or comment not in _COMMENTS:
        expected, found = "a comment of marks at its end, or none", repr(comment[:80]) if whole else "more"
        raise StoreError(path, expected=expected, found=found, remedy="fetch or export it again")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line what zip, zlib and NumPy say of a damaged file in many ways, and the system of any."""
    try:
        yield
    except MmtkError:
        raise
    except FileNotFoundError:
        raise StoreError(path, expected=_KIND, found="no such file") from None
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            found, remedy = reason_of(error), system_remedy(error.errno)
        else:
            found, remedy = f"a damaged one ({error or type(error).__name__})", "fetch it again"
        raise StoreError(path, expected=_KIND, found=found, remedy=remedy) from None


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header: its shape, whether it lies in Fortran order, its type."""
    start = member.read(12)
    version, width = start[6:7], 2 if start[6:7] == b"\1" else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > _MOST_HEADER:  # which NumPy reads before it looks at its length
        raise ValueError(f"a header of {length} bytes")
    text = io.BytesIO(start + member.read(8 + width + length - 12))
    np.lib.format.read_magic(text)
    read = np.lib.format.read_array_header_1_0 if version == b"\1" else np.lib.format.read_array_header_2_0
    return read(text)


# NumPy parses headers as Python literals
_NO_HEADER = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the head of an array's file of any origin: its shape, whether it lies in Fortran order, its type.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of files as Python 2 wrote them, say
            return _header(file)
    except _NO_HEADER as error:
        raise ValueError(str(error)) from None


def _shape(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of plain numbers; its bytes are there in full."""
    with archive.open(f"{name}.npy") as member:
        try:
            shape, _, dtype = _header(member)
        except _NO_HEADER as error:
            raise StoreError(f"{path}: {name}", expected="a NumPy array", found=str(error)) from None
        start = member.tell()
    if dtype.hasobject:
        raise StoreError(f"{path}: {name}", expected="plain numbers", found="a pickle", remedy="do not trust this file")
    wanted, found = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{name}.npy").file_size - start
    if wanted != found:
        raise StoreError(f"{path}: {name}", expected=f"{wanted} bytes for the shape {shape}", found=f"{found}")
    return shape, dtype


def _blocks(archive: zipfile.ZipFile, name: str) -> Iterator[Array]:
    """Read an array of numbers in blocks of rows, without holding more than one."""
    with archive.open(f"{name}.npy") as member:
        shape, fortran, dtype = _header(member)
        if fortran:  # its rows are scattered
            yield np.frombuffer(member.read(), dtype).reshape(shape, order="F")
            return
        step = block_rows(shape, dtype)
        for row in range(0, shape[0], step):
            rows = min(step, shape[0] - row)
            data = member.read(rows * math.prod(shape[1:]) * dtype.itemsize)
            yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])


def _count_labels(archive: zipfile.ZipFile, split: str, path: Path, dataset: Described) -> int:
    """Rows of labels, whose shape and type are seen to be such."""
    shape, dtype = _shape(archive, f"{split}_labels", path)
    if dtype.kind not in "iub" or len(shape) not in (1, 2) or (*shape, 1)[1] != dataset.labels:
        expected = f"integers of shape (n, {dataset.labels})"
        raise StoreError(f"{path}: {split}_labels", expected=expected, found=f"{dtype} {shape}")
    return shape[0]


def _read_labels(archive: zipfile.ZipFile, split: str, path: Path, dataset: Described) -> Array:
    """Labels of a split as ``(n, l)`` uint8."""
    name = f"{split}_labels"
    shape, dtype = _shape(archive, name, path)
    labels = np.concatenate([*_blocks(archive, name), np.zeros((0, *shape[1:]), dtype)]).reshape(-1, dataset.labels)
    top = 1 if dataset.task == Task.MULTILABEL else len(dataset.classes) - 1
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= top:
        found = f"{labels.min()} to {labels.max()}"
        raise StoreError(f"{path}: {name}", expected=f"values from 0 to {top}", found=found)
    return labels.astype(np.uint8)


def _check_shapes(archive: zipfile.ZipFile, path: Path, dataset: Described) -> int:
    """Refuse images that do not fit the dataset, each other or their labels; return their edge length."""
    shapes = {split: _shape(archive, f"{split}_images", path) for split in SPLITS}
    size = (*shapes[SPLITS[0]][0], 0, 0)[1]
    largest = _LARGEST_CUBE if dataset.ndim == 3 else LARGEST_SIZE
    row = image_shape(dataset.ndim, dataset.channels, size)
    for split, (shape, dtype) in shapes.items():
        rows = _count_labels(archive, split, path, dataset)
        if dtype != np.uint8 or shape != (rows, *row) or not 1 <= size <= largest:
            expected = f"uint8 {(rows, *row)} as its labels and the dataset have it"
            raise StoreError(f"{path}: {split}_images", expected=expected, found=f"{dtype} {shape}")
    return size


# --------------------------------------------------------------------- export


def export_npz(store: Store, out: str | Path, force: bool = False) -> Path:
    """Write a store as MedMNIST's ``.npz``; an imported official file comes back with its published MD5.

    The order of its arrays and its headers are those of the official file of its edition and size, of datasets and
    sizes without one those of 2024. The deflate stream equals theirs where Python is built on classic zlib.
    That a store is synthetic or partial goes into the archive's comment, and what an own dataset is into one more array
    ``facts``; `import_npz` takes back both. Names and subjects of records stay behind.

    Parameters
    ----------
    store : Store
    out : path
        Folder of the file, made if need be.
    force : bool
        Replace another file of that name; an equal one is left alone.

    Returns
    -------
    Path
        ``out/{flag}.npz``, or ``out/{flag}_{size}.npz`` for sizes other than 28.

    Raises
    ------
    StoreError
        If another file is in the way, or the disk is full.
    """
    final = Path(out) / f"{medmnist_name(store)}.npz"
    write_atomically(final, lambda file: write_npz(store, file), force)
    return final


def write_npz(store: Store, file: IO[bytes]) -> None:
    """Write a store as MedMNIST's ``.npz`` into an empty file."""
    info = store.info
    dataset = find_dataset(info.flag)
    container = CONTAINERS[dataset.container(info.edition, info.size) if dataset else LATEST]
    arrays: dict[str, Images] = {f"{split.name}_images": split.images for split in store.splits}
    arrays |= {f"{split.name}_labels": split.labels for split in store.splits}
    names = container.arrays
    if info.own:
        arrays[FACTS], names = facts_array(info), (*names, FACTS)
    members = ((f"{name}.npy", _npy(arrays[name])) for name in names)
    write_zip(file, members, container.system, " ".join(marks_of(info.synthetic, info.partial)).encode())


def medmnist_name(store: Store) -> str:
    """MedMNIST's name for a dataset of an edition and a size, such as ``breastmnist_64`` or ``organmnist_axial``."""
    return sized_name(edition_flag(store.info.flag, store.info.edition), store.info.size)


def _npy(array: Images) -> Iterator[bytes]:
    head = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(head, facts)
    yield head.getvalue()
    yield from (block.tobytes() for block in blocks(array))
