"""MedMNIST's own ``.npz``: read any of them, write them as the authors' tools did in 2020, to the byte."""

from __future__ import annotations

import filecmp
import hashlib
import io
import math
import os
import re
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmtk import __version__
from mmtk.datasets import edition_flag, get_dataset
from mmtk.datasets.base import SPLITS, Dataset, Task, recipe_hash, recipe_to_json
from mmtk.datasets.maps import OfficialMap, official_map
from mmtk.errors import StoreError
from mmtk.store._chunks import Images
from mmtk.store._format import StoreInfo
from mmtk.store._reader import Store, already_there
from mmtk.store._writer import block_rows, blocks, empty_records, publish, write_blocks, writing

Array = np.ndarray[Any, Any]
_NAME = re.compile(r"(?P<flag>[a-z]+mnist(?:_(?:axial|coronal|sagittal))?)(?:_(?P<size>\d+))?$")
_ARRAYS = tuple(f"{split}_{kind}" for kind in ("images", "labels") for split in SPLITS)


def import_npz(path: str | Path, out: str | Path, flag: str | None = None, force: bool = False) -> Path:
    """Turn a MedMNIST ``.npz`` into a store, block by block.

    Where its labels are, row for row, those of the known official membership, records name the provider's file and the
    subject of every row whose file is known. All other records are named ``split/row``.

    Parameters
    ----------
    path : path
        A file with the six arrays ``{train,val,test}_{images,labels}`` in any order;
        labels ``(n,)``, ``(n, 1)`` or ``(n, l)``.
    out : path
        Folder of the store, made if need be.
    flag : str, optional
        The dataset; by default told by the file's name.
    force : bool
        Replace a store of other content; one of the same file is left alone.

    Returns
    -------
    Path
        ``out/{flag}_{size}.h5``.

    Raises
    ------
    StoreError
        If the file is damaged, holds pickles, lacks an array, its arrays do not fit each other or the dataset, or
        another store is in the way.
    """
    path, out = Path(path), Path(out)
    dataset = get_dataset(flag) if flag is not None else dataset_named(path)
    if dataset is None:
        raise StoreError(
            path, expected="a name like breastmnist.npz", found=path.name, remedy="give the dataset with --flag"
        )
    with _opened(path) as archive:
        labels = {split: _read_labels(archive, split, path, dataset) for split in SPLITS}
        size = _check_images(archive, path, dataset, labels)
        marks = archive.comment.decode("ascii", "replace").split()
        known = None if marks else _known_rows(dataset, labels)
        info = _info(path, dataset, size, labels, marks, known is not None)
        final = out / f"{dataset.flag}_{size}.h5"
        if already_there(final, info.plan_hash, force):
            return final
        records = {split: _records(split, len(labels[split]), size, known) for split in SPLITS}
        return write_blocks(final, info, labels, records, lambda split: _blocks(archive, f"{split}_images"))


def dataset_named(path: Path) -> Dataset | None:
    """The dataset that a file's name tells by MedMNIST's convention, None if it tells none."""
    named = _NAME.match(path.stem)
    return get_dataset(named["flag"]) if named else None


def read_npz(path: str | Path, dataset: Dataset) -> dict[str, tuple[Array, Array]]:
    """Images and labels of each split of a MedMNIST ``.npz``.

    Images are unpacked into an unnamed temporary file and mapped from it, so that they take no memory of their own;
    the file is gone with its last array.

    Parameters
    ----------
    path : path
        A file as `import_npz` takes it.
    dataset : Dataset
        The dataset it has to fit.

    Returns
    -------
    dict of split to (images, labels)
        Images ``(n, h, w[, 3])`` uint8, labels ``(n, l)`` uint8.

    Raises
    ------
    StoreError
        If the file is damaged or does not fit the dataset, or the folder for temporary files is full.
    """
    path = Path(path)
    found: dict[str, tuple[Array, Array]] = {}
    with _opened(path) as archive:
        labels = {split: _read_labels(archive, split, path, dataset) for split in SPLITS}
        _check_images(archive, path, dataset, labels)
        for split in SPLITS:
            name = f"{split}_images"
            shape, _ = _shape(archive, name, path)
            found[split] = (_unpack(_blocks(archive, name), shape), labels[split])
    return found


def _unpack(rows: Iterator[Array], shape: tuple[int, ...]) -> Array:
    with tempfile.TemporaryFile() as file:
        for block in rows:
            try:
                file.write(np.ascontiguousarray(block).data)
                file.flush()
            except OSError as error:
                remedy = "free some or set TMPDIR to another folder"
                wanted = f"room for {math.prod(shape)} bytes"
                found = error.strerror or str(error)
                raise StoreError(tempfile.gettempdir(), expected=wanted, found=found, remedy=remedy) from None
        return np.memmap(file, np.uint8, "r", shape=shape) if math.prod(shape) else np.zeros(shape, np.uint8)


def _known_rows(dataset: Dataset, labels: dict[str, Array]) -> OfficialMap | None:
    """The known official membership, if these are its labels."""
    known = official_map(dataset.flag)
    if known is None or not known.ordered:
        return None
    equal = ([tuple(row) for row in labels[split].tolist()] == [row.labels for row in known.rows[split]]
             for split in SPLITS)
    return known if all(equal) else None


def _records(split: str, rows: int, size: int, known: OfficialMap | None) -> Array:
    if known is None:
        return empty_records([f"{split}/{row}" for row in range(rows)], size)
    names = [row.source or f"{split}/{number}" for number, row in enumerate(known.rows[split])]
    return empty_records(names, size, [row.subject for row in known.rows[split]])


def _info(
    path: Path, dataset: Dataset, size: int, labels: dict[str, Array], marks: list[str], known: bool
) -> StoreInfo:
    md5 = md5_of(path)
    published = [key for key, value in dataset.md5.items() if value == md5]
    how = ", as published" if published else ""
    how += "; source files and subjects by the known map" if known else ""
    # how other files and sizes were made is not known
    recipe = dataset.recipe_for("official", size) if published else ()
    return StoreInfo(
        flag=dataset.flag,
        title=dataset.title,
        modality=dataset.modality,
        task=dataset.task.value,
        classes=dataset.classes,
        channels=dataset.channels,
        size=size,
        edition=_edition(dataset, labels, published),
        pixels="official" if published else "imported",
        split="official" if published else "imported",
        membership=f"the file with MD5 {md5}{how}",
        recipe=recipe_to_json(recipe),
        recipe_hash=recipe_hash(recipe),
        licence=dataset.source.licence,
        citation=dataset.source.citation,
        source=dataset.source.name,
        plan_hash=hashlib.sha256(f"npz {md5}{' map' if known else ''}".encode()).hexdigest(),
        synthetic="SYNTHETIC" in marks,
        partial="PARTIAL" in marks,
        unchecked=(),
        mmtk_version=__version__,
    )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an ``.npz``; say in one line what zip, zlib and NumPy say of a damaged one in many ways."""
    if not path.is_file():
        raise StoreError(path, expected="a MedMNIST .npz file", found="no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in _ARRAYS if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise StoreError(path, expected=f"the arrays {', '.join(_ARRAYS)}", found=f"no {', '.join(missing)}")
            if {member.compress_type for member in archive.infolist()} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise StoreError(path, expected="arrays stored or deflated", found="another compression")
            yield archive
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        found = f"a damaged one ({error})"
        raise StoreError(path, expected="a MedMNIST .npz file", found=found, remedy="fetch it again") from None


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read an array's header: its shape, whether it lies in Fortran order, its type."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _shape(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array of plain numbers; its bytes are there in full."""
    with archive.open(f"{name}.npy") as member:
        try:
            shape, _, dtype = _header(member)
        except (ValueError, SyntaxError, tokenize.TokenError) as error:  # NumPy parses headers as Python literals
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


def _read_labels(archive: zipfile.ZipFile, split: str, path: Path, dataset: Dataset) -> Array:
    """Labels of a split as ``(n, l)`` uint8."""
    name = f"{split}_labels"
    shape, dtype = _shape(archive, name, path)
    if dtype.kind not in "iub" or len(shape) not in (1, 2) or (*shape, 1)[1] != dataset.labels:
        expected = f"integers of shape (n, {dataset.labels})"
        raise StoreError(f"{path}: {name}", expected=expected, found=f"{dtype} {shape}")
    labels = np.concatenate([*_blocks(archive, name), np.zeros((0, *shape[1:]), dtype)]).reshape(-1, dataset.labels)
    top = 1 if dataset.task is Task.MULTILABEL else len(dataset.classes) - 1
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= top:
        found = f"{labels.min()} to {labels.max()}"
        raise StoreError(f"{path}: {name}", expected=f"values from 0 to {top}", found=found)
    return labels.astype(np.uint8)


def _check_images(archive: zipfile.ZipFile, path: Path, dataset: Dataset, labels: dict[str, Array]) -> int:
    """Refuse images that do not fit the dataset, each other or their labels; return their edge length."""
    shapes = {split: _shape(archive, f"{split}_images", path) for split in SPLITS}
    size = (*shapes["train"][0], 0, 0)[1]
    row = (size, size) if dataset.channels == 1 else (size, size, 3)
    for split, (shape, dtype) in shapes.items():
        rows = len(labels[split])
        if dtype != np.uint8 or shape != (rows, *row) or size < 1:
            expected = f"uint8 {(rows, *row)} as its labels and the dataset have it"
            raise StoreError(f"{path}: {split}_images", expected=expected, found=f"{dtype} {shape}")
    return size


def _edition(dataset: Dataset, labels: dict[str, Array], published: list[str]) -> str:
    if published:
        return published[0].split(":")[0]
    counts = tuple(len(labels[split]) for split in SPLITS)
    for edition, known in dataset.counts.items():
        if counts == (known.train, known.val, known.test):
            return edition
    return "unknown"


def md5_of(path: Path) -> str:
    """MD5 of a file, as hex."""
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
    That a store is synthetic or partial goes into the archive's comment, from where `import_npz` takes it back.

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
        If another file is in the way, the disk is full, or the file would pass the 4 GiB of a plain zip.
    """
    final = Path(out) / f"{medmnist_name(store)}.npz"
    members: list[tuple[str, Images]] = [(f"{s.name}_images", s.images) for s in store.splits] + [
        (f"{s.name}_labels", s.labels) for s in store.splits
    ]
    write_atomically(final, lambda file: _write_zip(file, members, store.info.marks.encode()), force)
    return final


def medmnist_name(store: Store) -> str:
    """MedMNIST's name for a dataset of an edition and a size, such as ``breastmnist_64`` or ``organmnist_axial``."""
    flag = edition_flag(store.info.flag, store.info.edition)
    return flag if store.info.size == 28 else f"{flag}_{store.info.size}"


def write_atomically(final: Path, write: Callable[[IO[bytes]], object], force: bool) -> None:
    """Let `write` fill a temporary file beside `final`, which takes its name only when whole.

    Raises
    ------
    StoreError
        If another file is there, unless `force` allows it to be replaced, or if the disk is full or cannot be written.
    """
    with writing(final) as temporary:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if force or not final.exists():
            publish(temporary, final)
        elif not filecmp.cmp(temporary, final, shallow=False):
            raise StoreError(final, expected="an equal file or none", found="another", remedy="add --force")


def _npy(array: Images) -> Iterator[bytes]:
    head = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(head, facts)
    yield head.getvalue()
    yield from (block.tobytes() for block in blocks(array))


def _write_zip(file: IO[bytes], members: list[tuple[str, Images]], comment: bytes) -> None:
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
        local = (_PK20, 0, _DEFLATED, 0, _MIDNIGHT_1980, crc, packed, size, len(coded), len(zip64))
        file.write(_LOCAL.pack(b"PK\3\4", *local) + coded + zip64)
        file.seek(end)
        place = (0, 0, 0, 0, 0o600 << 16, start)
        entry = (_PK20, _UNIX, _PK20, 0, 0, _DEFLATED, 0, _MIDNIGHT_1980, crc, packed, size, len(coded), *place)
        central.append(_CENTRAL.pack(b"PK\1\2", *entry) + coded)
    start = file.tell()
    file.write(b"".join(central))
    ending = (0, 0, len(central), len(central), file.tell() - start, start, len(comment))
    file.write(_END.pack(b"PK\5\6", *ending) + comment)
