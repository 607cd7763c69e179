"""Read any MedMNIST ``.npz``, and write it byte for byte as the authors' tools did."""

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
from mmtk.store._facts import FACTS, MAX_FACTS, facts_array
from mmtk.store._format import Array, StoreInfo, image_shape
from mmtk.store._reader import Store
from mmtk.store._writer import block_rows, blocks
from mmtk.store._zip import CONTAINERS, write_zip

Described = Dataset | StoreInfo  # what a file's arrays have to match
_NAME = re.compile(r"(?P<flag>[a-z]+mnist(?:3d|_(?:axial|coronal|sagittal))?)(?:_(?P<size>\d+))?$")
_ARRAYS = CONTAINERS[PAPER].arrays
_MAX_INFLATION = 1032  # output bytes per byte of a deflate stream
_MAX_HEADER = 1 << 16  # bytes of a NumPy header
LARGEST_SIZE = 4096  # px: edge length of an image, larger than any raw image
_LARGEST_CUBE = 256  # voxels: edge length of a volume, the same number of bytes
_END = 22  # bytes of a zip's last record without the comment
_COMMENTS = {" ".join(marks_of(*holds)).encode() for holds in product((False, True), repeat=2)}
_FREE_SPACE = "free some space or set TMPDIR to another folder"


@dataclass(frozen=True)
class OpenedNpz:
    """An open MedMNIST file whose arrays match each other and its dataset.

    Attributes
    ----------
    size : edge length of its images
    labels : labels of each split, ``(n, l)`` uint8
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
        with _one_line_errors(self._path):  # only around reading: the consumer's errors are its own
            yield from _blocks(self._archive, f"{split}_images")


@contextmanager
def opened_npz(path: Path, dataset: Described) -> Iterator[OpenedNpz]:
    """Open a MedMNIST ``.npz`` and check that it matches a dataset.

    Raises
    ------
    StoreError
        If it does not, or is corrupt, even if that shows only while it is read.
    """
    with _opened(path) as archive:
        size = _check_shapes(archive, path, dataset)
        labels = {split: _read_labels(archive, split, path, dataset) for split in SPLITS}
        yield OpenedNpz(size, labels, _marks(archive), archive, path)


def read_facts(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Text of the member with facts, see `mmtk.store._facts`, and the file's marks; None if there is no such member.

    Raises
    ------
    StoreError
        If the file is corrupt, or the member is anything but an array of ASCII bytes.
    """
    what = f"{path}: {FACTS}"
    with _opened(path, (FACTS,)) as archive:
        if f"{FACTS}.npy" not in archive.namelist():
            return None
        shape, dtype = _shape(archive, FACTS, path)
        if dtype != np.uint8 or len(shape) != 1 or shape[0] > MAX_FACTS:
            expected, actual = f"at most {MAX_FACTS} bytes", f"{dtype} {shape}"
            raise StoreError(what, "has the wrong shape", expected=expected, found=actual)
        text = b"".join(block.tobytes() for block in _blocks(archive, FACTS))
        return text.decode("latin-1"), _marks(archive)


def flag_named(path: Path) -> str | None:
    """The flag in a file's name by MedMNIST's convention, None if there is none."""
    named = _NAME.match(path.stem)
    return named["flag"] if named else None


def read_npz(path: str | Path, dataset: Described) -> dict[str, tuple[Array, Array]]:
    """Images and labels of each split of a MedMNIST ``.npz``.

    Images are decompressed into an unnamed temporary file and memory-mapped, so that they do not occupy memory; the
    file disappears with its last array.

    Parameters
    ----------
    path : path
        A file as accepted by `import_npz`.
    dataset : Dataset or StoreInfo
        The dataset it has to match.

    Returns
    -------
    dict of split to (images, labels)
        Images ``(n, h, w[, 3])`` or, for volumes, ``(n, d, h, w)`` uint8; labels ``(n, l)`` uint8.

    Raises
    ------
    StoreError
        If the file is corrupt or does not match the dataset, or there is no space for temporary files.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import read_npz
    >>> images, labels = read_npz("breastmnist.npz", mmtk.get_dataset("breastmnist"))["train"]
    >>> images.shape[1:], labels.shape[1:]
    ((28, 28), (1,))
    """
    with opened_npz(Path(path), dataset) as npz:
        row = image_shape(dataset.ndim, dataset.channels, npz.size)
        expect_temporary_space(sum(npz.counts) * math.prod(row), f"the decompressed images of {path}")
        shapes = {split: (len(labels), *row) for split, labels in npz.labels.items()}
        return {split: (_unpack(npz.images(split), shape), npz.labels[split]) for split, shape in shapes.items()}


def expect_temporary_space(needed: int, purpose: str) -> None:
    """Check that the folder of temporary files has so many bytes left, before the work that fills them.

    Raises
    ------
    StoreError
        If it has less.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        problem = f"not enough space for {purpose}"
        expected, actual = f"{needed}", f"{free} bytes free"
        raise StoreError(folder, problem, expected=expected, found=actual, remedy=_FREE_SPACE)


def _unpack(rows: Iterator[Array], shape: tuple[int, ...]) -> Array:
    with tempfile.TemporaryFile() as file:
        for block in rows:
            try:
                file.write(np.ascontiguousarray(block).data)
                file.flush()
            except OSError as error:
                problem = f"cannot write a temporary file of {math.prod(shape)} bytes: {reason_of(error)}"
                raise StoreError(tempfile.gettempdir(), problem, remedy=_FREE_SPACE) from None
        return np.memmap(file, np.uint8, "r", shape=shape) if math.prod(shape) else np.zeros(shape, np.uint8)


def _marks(archive: zipfile.ZipFile) -> tuple[str, ...]:
    return tuple(archive.comment.decode("ascii", "replace").split())


@contextmanager
def _opened(path: Path, more: tuple[str, ...] = ()) -> Iterator[zipfile.ZipFile]:
    """Open an ``.npz``; each array, and optional ones in `more`, must occur once, at a size it can decompress to."""
    with _one_line_errors(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError(path, "is not a regular file")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_comment(path, file, archive.comment)
            names = Counter(archive.namelist())
            missing = [name for name in _ARRAYS if not names[f"{name}.npy"]]
            if missing:
                raise StoreError(path, f"is not a MedMNIST .npz file: it lacks the arrays {', '.join(missing)}")
            arrays = [name for name in (*_ARRAYS, *more) if names[f"{name}.npy"]]
            if repeated := [name for name in arrays if names[f"{name}.npy"] > 1]:
                raise StoreError(path, f"has the array {repeated[0]} {names[f'{repeated[0]}.npy']} times")
            for member in map(archive.getinfo, (f"{name}.npy" for name in arrays)):
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise StoreError(path, f"{member.filename} is compressed by a method other than deflate")
                if member.file_size > _MAX_INFLATION * member.compress_size + _MAX_HEADER:
                    sizes = f"{member.file_size} bytes in {member.compress_size}"
                    problem = f"{member.filename} claims an impossible size ({sizes})"
                    raise StoreError(path, problem, remedy="do not trust this file")
            yield archive


def _check_comment(path: Path, file: IO[bytes], comment: bytes) -> None:
    """Refuse an archive with anything but our marks as its comment: it has no checksum, and the marks matter."""
    file.seek(-len(comment) - _END, os.SEEK_END)
    end = file.read()
    whole = end.startswith(b"PK\5\6") and end[_END - 2 :] == len(comment).to_bytes(2, "little") + comment
    if not whole or comment not in _COMMENTS:
        text = comment[:80].decode("ascii", "backslashreplace")
        problem = f"its comment is none that mmtk writes: {text}" if whole else "has bytes after its end"
        raise StoreError(path, problem, remedy="fetch or export it again")


@contextmanager
def _one_line_errors(path: Path) -> Iterator[None]:
    """Raise a one-line StoreError for whatever zipfile, zlib, NumPy or the system raise while a file is read."""
    try:
        yield
    except MmtkError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            problem, remedy = f"cannot be read: {reason_of(error)}", system_remedy(error.errno)
        else:
            problem, remedy = f".npz file is corrupt: {error or type(error).__name__}", "fetch it again"
        raise StoreError(path, problem, remedy=remedy) from None


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header: its shape, whether it is in Fortran order, and its type."""
    start = member.read(12)
    version, width = start[6:7], 2 if start[6:7] == b"\1" else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > _MAX_HEADER:  # NumPy would read it before checking its length
        raise ValueError(f"a header of {length} bytes")
    text = io.BytesIO(start + member.read(8 + width + length - 12))
    np.lib.format.read_magic(text)
    read = np.lib.format.read_array_header_1_0 if version == b"\1" else np.lib.format.read_array_header_2_0
    return read(text)


# NumPy parses headers as Python literals
_NO_HEADER = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an untrusted ``.npy`` file: its shape, whether it is in Fortran order, and its type.

    Raises
    ------
    ValueError
        If it has no valid header.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # such as those about files written by Python 2
            return _header(file)
    except _NO_HEADER as error:
        raise ValueError(str(error)) from None


def _shape(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of plain numbers, whose data is complete."""
    what = f"{path}: {name}"
    with archive.open(f"{name}.npy") as member:
        try:
            shape, _, dtype = _header(member)
        except _NO_HEADER as error:
            raise StoreError(what, f"is not a NumPy array: {error}") from None
        start = member.tell()
    if dtype.hasobject:
        raise StoreError(what, "is a pickle, not plain numbers", remedy="do not trust this file")
    needed, present = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{name}.npy").file_size - start
    if needed != present:
        problem = f"has the wrong length for the shape {shape}"
        raise StoreError(what, problem, expected=f"{needed}", found=f"{present} bytes")
    return shape, dtype


def _blocks(archive: zipfile.ZipFile, name: str) -> Iterator[Array]:
    """Read an array of numbers in blocks of rows, holding one block in memory at a time."""
    with archive.open(f"{name}.npy") as member:
        shape, fortran, dtype = _header(member)
        if fortran:  # its rows are not contiguous
            yield np.frombuffer(member.read(), dtype).reshape(shape, order="F")
            return
        step = block_rows(shape, dtype)
        for row in range(0, shape[0], step):
            rows = min(step, shape[0] - row)
            data = member.read(rows * math.prod(shape[1:]) * dtype.itemsize)
            yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])


def _count_labels(archive: zipfile.ZipFile, split: str, path: Path, dataset: Described) -> int:
    """Number of label rows, after checking their shape and type."""
    shape, dtype = _shape(archive, f"{split}_labels", path)
    if dtype.kind not in "iub" or len(shape) not in (1, 2) or (*shape, 1)[1] != dataset.labels:
        expected, what = f"integers (n, {dataset.labels})", f"{path}: {split}_labels"
        raise StoreError(what, "has the wrong shape or type", expected=expected, found=f"{dtype} {shape}")
    return shape[0]


def _read_labels(archive: zipfile.ZipFile, split: str, path: Path, dataset: Described) -> Array:
    """Labels of a split as ``(n, l)`` uint8."""
    name = f"{split}_labels"
    shape, dtype = _shape(archive, name, path)
    labels = np.concatenate([*_blocks(archive, name), np.zeros((0, *shape[1:]), dtype)]).reshape(-1, dataset.labels)
    top = 1 if dataset.task == Task.MULTILABEL else len(dataset.classes) - 1
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= top:
        values = f"{labels.min()} to {labels.max()}"
        raise StoreError(f"{path}: {name}", "labels are out of range", expected=f"0 to {top}", found=values)
    return labels.astype(np.uint8)


def _check_shapes(archive: zipfile.ZipFile, path: Path, dataset: Described) -> int:
    """Refuse images that do not match the dataset, each other or their labels; return their edge length."""
    shapes = {split: _shape(archive, f"{split}_images", path) for split in SPLITS}
    size = (*shapes[SPLITS[0]][0], 0, 0)[1]
    largest = _LARGEST_CUBE if dataset.ndim == 3 else LARGEST_SIZE
    row = image_shape(dataset.ndim, dataset.channels, size)
    for split, (shape, dtype) in shapes.items():
        rows = _count_labels(archive, split, path, dataset)
        if dtype != np.uint8 or shape != (rows, *row):
            problem = "do not match the labels and the dataset"
            expected, actual = f"uint8 {(rows, *row)}", f"{dtype} {shape}"
            raise StoreError(f"{path}: {split}_images", problem, expected=expected, found=actual)
        if not 1 <= size <= largest:
            problem, expected = "images are too small or too large", f"1 to {largest} px"
            raise StoreError(f"{path}: {split}_images", problem, expected=expected, found=f"{size} px")
    return size


# --------------------------------------------------------------------- export


def export_npz(store: Store, out: str | Path, force: bool = False) -> Path:
    """Export a store as a MedMNIST ``.npz``; an imported official file comes back with its published MD5.

    Array order and headers are those of the official file of its edition and size, or of 2024 if there is none. The
    deflate stream is theirs too if Python is built with classic zlib. The marks of a synthetic or partial store go into
    the archive's comment, and the facts of a user's own dataset into an extra array ``facts``; `import_npz` restores
    both. Names and subjects of records are not exported.

    Parameters
    ----------
    store : Store
    out : path
        Folder of the file, created if needed.
    force : bool
        Overwrite a different file of that name; an equal one is kept.

    Returns
    -------
    Path
        ``out/{flag}.npz``, or ``out/{flag}_{size}.npz`` for sizes other than 28.

    Raises
    ------
    StoreError
        If a different file exists there, or the disk is full.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import export_npz
    >>> export_npz(mmtk.open("stores/breastmnist_28.h5"), "exported").as_posix()
    'exported/breastmnist.npz'
    """
    final = Path(out) / f"{medmnist_name(store)}.npz"
    write_atomically(final, lambda file: write_npz(store, file), force)
    return final


def write_npz(store: Store, file: IO[bytes]) -> None:
    """Write a store as a MedMNIST ``.npz`` into an empty file."""
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
