"""Read a store: check it, then map each split's images as one array, copy-on-write."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from mmtk.datasets.base import SPLITS
from mmtk.errors import StoreError, UnknownNameError
from mmtk.store._chunks import ChunkedImages, Images
from mmtk.store._content import checked, read_content, read_packed
from mmtk.store._digest import KEYS, NAMES, array_checksums, checksum_rows, digest_of
from mmtk.store._format import Array, StoreInfo, check_labels, chunk_rows
from mmtk.store._guard import REBUILD, guarded
from mmtk.store._pages import may_be_written
from mmtk.store._writer import find_region


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a store.

    Attributes
    ----------
    images : (n, h, w) or (n, h, w, 3) uint8
        Mapped from the file; writing into it changes neither file nor other readers. Of a compressed store a
        `ChunkedImages`, which unpacks what is indexed; of a copy that other software scattered or filtered, in memory.
    labels : (n, l) uint8
    records : (n,) structured
        Fields ``source``, ``subject``, ``height``, ``width``, ``top``, ``left``, ``side``; of CT also ``plane`` and
        ``slice``.

    Examples
    --------
    >>> import mmtk
    >>> train = mmtk.open("stores/breastmnist_28.h5")["train"]
    >>> image, label = train[0]
    >>> image.shape, label.shape
    ((28, 28), (1,))
    >>> images, labels = train[-2:]
    >>> images.shape, labels.shape
    ((2, 28, 28), (2, 1))
    >>> sum(int(label[0]) for image, label in train) == int(train.labels.sum())
    True
    """

    name: str
    store_path: Path
    info: StoreInfo
    store_digest: str
    images: Images
    labels: Array
    records: Array
    _mapping: mmap.mmap | None = field(default=None, repr=False)
    _place: Path = field(default_factory=Path, repr=False)  # the path from the root, wherever the process goes
    _read: Mapping[str, Any] = field(default_factory=dict, repr=False)  # its fields as they were read
    _forms: Mapping[str, Any] = field(default_factory=dict, repr=False)  # shapes and types, which an array lets be set

    def __reduce__(self) -> tuple[Any, ...]:
        changes = self.changes()
        if changes.keys() >= set(self.arrays):  # nothing of the file is needed
            return _alone, (Split, _fields(self))
        return _split_again, (self._place, self._read["store_digest"], self._read["name"], changes)

    def __copy__(self) -> Self:
        return replace(self)

    def changes(self) -> dict[str, Any]:
        """What is not as it was read from the file, by field: what was replaced, and arrays that were written into.

        They pickle in full; the rest is left out and read again where it arrives. If the file is not there any more,
        or another one is, all arrays count as changed.
        """
        changes = {
            name: value for name, value in _fields(self).items()
            if value is not self._read.get(name) or _form(value) != self._forms.get(name)
        }
        doubtful = [name for name in self.arrays if name not in changes and _may_be_written(getattr(self, name))]
        if not changes.keys() >= set(self.arrays):
            changes |= {name: getattr(self, name) for name in _written(self, doubtful)}
        return changes

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays it has: all three, or the images alone; see `without_labels`."""
        return tuple(name for name in NAMES if name in vars(self))

    def check_whole(self) -> None:
        """See that the mapped file has not been cut short: reading behind its end would kill the process.

        A file that is cut while a batch is being read still does that; no reader can prevent it. One that was replaced
        or deleted stays readable as it was.

        Raises
        ------
        StoreError
            If it has been.
        """
        if self._mapping is not None and self._mapping.size() < len(self._mapping):
            expected, found = "the file as it was opened", "one cut short since"
            raise StoreError(self.store_path, expected=expected, found=found, remedy=REBUILD)

    @property
    def chunk_rows(self) -> int:
        """Images in a chunk of the file: those that lie together on disk."""
        row_bytes = int(np.prod(self.images.shape[1:]))
        return self.images.chunk_rows if isinstance(self.images, ChunkedImages) else chunk_rows(len(self), row_bytes)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def __getitem__(self, rows: Any) -> tuple[Array, Array]:
        """Return an image and its labels, or arrays of both.

        Parameters
        ----------
        rows : int, slice or array_like
            One row, negative from the end, or several: a slice, row numbers, or one boolean per row.

        Returns
        -------
        image : (h, w) or (h, w, 3) uint8
            Of several rows, with a first axis of rows; mapped from the file unless rows were picked by an array.
        label : (l,) uint8
            Of several rows ``(n, l)``.

        Raises
        ------
        IndexError
            If a row is out of range, or `rows` is of another kind.
        StoreError
            If the file has been cut short or is damaged.
        """
        if rows is None or rows is ... or isinstance(rows, (tuple, str, bool)):
            raise IndexError(f"a split is indexed by a row, a slice or an array of rows, not by {rows!r}")
        self.check_whole()
        return self.images[rows], self.labels[rows]

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        self.check_whole()
        return iter(zip(self.images, self.labels, strict=True))

    def _repr_html_(self) -> str:
        from mmtk.store._html import split_html

        return split_html(self)

    def __repr__(self) -> str:
        return f"Split({self.info.flag} {self.name}, {len(self)} {self.info.kind} of {self.info.size} px)"


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store; its arrays stay readable even when the file is replaced on disk.

    There is nothing to close: no HDF5 file stays open, and a mapping ends with its last array. ``with`` works all the
    same. A store and its splits pickle as path and digest, and open again where they arrive; arrays that were replaced
    or written into go along.

    Attributes
    ----------
    path : Path
    info : StoreInfo
    digest : str
        SHA-256, as hex, over the facts and the checksums of all arrays: a copy of any compression has it too.
    train, val, test : Split

    Examples
    --------
    >>> import mmtk
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> store["val"] is store.val, "val" in store
    (True, True)
    >>> [split.name for split in store]
    ['train', 'val', 'test']
    """

    path: Path
    info: StoreInfo
    digest: str
    train: Split
    val: Split
    test: Split
    _place: Path = field(default_factory=Path, repr=False)
    _read: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        values = _fields(self)
        changes = {
            name: value for name, value in values.items()
            if value is not self._read.get(name) or (isinstance(value, Split) and value.changes())
        }
        if changes.keys() >= set(SPLITS):
            return _alone, (Store, values)
        return _store_again, (self._place, self._read["digest"], changes)

    def __copy__(self) -> Self:
        return replace(self)

    def __getitem__(self, name: str) -> Split:
        """Return a split by its name.

        Raises
        ------
        UnknownNameError
            If there is no such split.
        """
        if not isinstance(name, str) or name not in SPLITS:
            raise UnknownNameError.among(f"{self.path}: split", str(name), SPLITS)
        split: Split = getattr(self, name)
        return split

    def __contains__(self, split: object) -> bool:
        return split in SPLITS if isinstance(split, str) else any(split is own for own in self.splits)

    def __iter__(self) -> Iterator[Split]:
        return iter(self.splits)

    def facts(self) -> dict[str, Any]:
        """What it is and holds as JSON values, for ``mmtk info --json``."""
        told = {**asdict(self.info), "recipe": json.loads(self.info.recipe)}
        return {"path": str(self.path), "digest": self.digest, "counts": self.counts, **told}

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.val, self.test

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split."""
        return {split.name: len(split) for split in self.splits}

    def content_digest(self) -> str:
        """What the digest is by the facts and arrays as they are now: all of them are read."""
        arrays = {f"{split.name}/{name}": getattr(split, name) for split in self.splits for name in NAMES}
        sums = {key: (array, array_checksums(key, array)) for key, array in arrays.items()}
        return digest_of(self.info, sums).hex()

    def expect(self, digest: str) -> None:
        """Refuse to go on with content of another digest than the store's.

        Raises
        ------
        StoreError
            If it is another: the file is damaged.
        """
        if digest != self.digest:
            found, remedy = "content that does not fit its digest", "mmtk verify says where; build or import it again"
            raise StoreError(self.path, expected="a whole store", found=found, remedy=remedy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _repr_html_(self) -> str:
        from mmtk.store._html import store_html

        return store_html(self)

    def __repr__(self) -> str:
        marks = f" {self.info.marks}" if self.info.marks else ""
        counts = ", ".join(f"{name} {n}" for name, n in self.counts.items())
        return f"Store({self.info.flag} {self.info.size} px{marks}: {counts})"


def open(path: str | Path, digest: str | None = None) -> Store:
    """Open a store, and see that its facts and checksums are those of its digest; `verify` reads all of it.

    Parameters
    ----------
    path : path of an ``.h5`` file that mmtk wrote
    digest : str, optional
        The digest it must have: who knows it from elsewhere opens that store or none.

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        If the file is missing, no store, incomplete, cut short, of another version, has another digest, or holds
        anything but what FORMAT.md names, such as links, external storage or object types.
    """
    path = Path(path)
    with guarded(path):
        content = read_content(path, digest)
        place, info = path.absolute(), content.info
    splits: dict[str, Any] = {}
    for name in SPLITS:
        images, labels, records = content.arrays[name]
        values: dict[str, Any] = {"name": name, "store_path": path, "info": info, "store_digest": content.digest}
        values |= {"images": images, "labels": labels, "records": records}
        forms = {field: _form(values[field]) for field in NAMES}
        splits[name] = Split(**values, _mapping=content.mapping, _place=place, _read=values, _forms=forms)
    whole: dict[str, Any] = {"path": path, "info": info, "digest": content.digest, **splits}
    return Store(**whole, _place=place, _read=whole)


def verify(path: str | Path, digest: str | None = None) -> list[str]:
    """Recompute a store's checksums.

    Parameters
    ----------
    path, digest
        As `open` takes them.

    Returns
    -------
    list of str
        What is wrong, empty if nothing is.

    Raises
    ------
    StoreError
        If the file cannot be opened as a store, or has another digest.
    """
    path = Path(path)
    with guarded(path):
        return _compare(path, digest)


def expect_whole(path: str | Path) -> None:
    """Read all of a store before work is built on it.

    Raises
    ------
    StoreError
        If `verify` finds something.
    """
    if problems := verify(path):
        found = problems[0].removeprefix(f"{path}: ")
        raise StoreError(path, expected="a whole store", found=found, remedy=REBUILD)


def _compare(path: Path, digest: str | None) -> list[str]:
    """Compare checksums by reading, not through a mapping, where a disk that cannot be read would be a signal."""
    problems: list[str] = []
    with checked(path, digest) as store:
        handle = store.file.id.get_vfd_handle()
        for key in KEYS:
            dataset, wanted = store.datasets[key], store.datasets[f"checksums/{key}"][()]
            region = find_region(dataset)
            step = checksum_rows(key, dataset)
            if region is not None:
                sums = region.checksums(handle, step)
            else:
                sums = array_checksums(key, read_packed(path, store.file, dataset))
            for chunk in np.flatnonzero((sums != wanted).any(axis=1)).tolist():
                rows = f"rows {chunk * step} to {min((chunk + 1) * step, len(dataset)) - 1}"
                expected, actual = (table[chunk].tobytes().hex()[:16] for table in (wanted, sums))
                said = f"expected checksum {expected}, found {actual}"
                problems.append(f"{path}: {key} chunk {chunk} ({rows}): {said}")
            if key.endswith("labels"):
                check_labels(f"{path} {key}", store.info, dataset[()])
    return problems


def already_there(path: Path, plan_hash: str, force: bool) -> bool:
    """Whether a store of this plan is at `path`.

    Raises
    ------
    StoreError
        If something else is there, unless `force` allows it to be replaced.
    """
    if not path.exists():
        return False
    try:
        there = open(path).info.plan_hash == plan_hash
        found = "one of another plan"
    except StoreError as error:
        there, found = False, str(error)
    if not there and not force:
        remedy = "add --force to replace it, or choose another --out"
        raise StoreError(path, expected="a store of this plan or none", found=found, remedy=remedy)
    return there


def _fields(value: Split | Store) -> dict[str, Any]:
    """Its public fields, but for what it lacks; see `without_labels`."""
    held = vars(value)
    return {item.name: held[item.name] for item in fields(value) if item.repr and item.name in held}


def _form(value: Any) -> Any:
    return (value.shape, value.dtype, value.strides) if isinstance(value, np.ndarray) else None


def _alone(kind: type[Split | Store], values: dict[str, Any]) -> Split | Store:
    return kind(**values)


def _split_again(path: Path, digest: str, name: str, changes: dict[str, Any]) -> Split:
    split: Split = getattr(open(path, digest), name)
    return replace(split, **changes)


def _store_again(path: Path, digest: str, changes: dict[str, Any]) -> Store:
    opened = open(path, digest)
    read = {name: value for name, value in opened._read.items() if name not in changes}
    return replace(opened, **changes, _read=read)


def _may_be_written(array: Images) -> bool:
    return isinstance(array, np.ndarray) and may_be_written(array)


def _written(split: Split, names: list[str]) -> list[str]:
    """Those of a split's arrays that are not what the file's checksums say; all, where the file is not there."""
    written = []
    try:
        with guarded(split._place), checked(split._place, split._read["store_digest"]) as store:
            for name in names:
                key = f"{split._read['name']}/{name}"
                sums = store.datasets[f"checksums/{key}"][()]
                if not np.array_equal(array_checksums(key, split._read[name]), sums):
                    written.append(name)
    except StoreError:
        return list(split.arrays)
    return written
