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
from mmtk.store._content import checked, read_content
from mmtk.store._digest import NAMES, array_checksums, digest_of
from mmtk.store._format import Array, StoreInfo, chunk_rows
from mmtk.store._guard import REBUILD, guarded
from mmtk.store._pages import may_be_written


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a store.

    Attributes
    ----------
    name : {"train", "val", "test"}
    images : (n, h, w) or (n, h, w, 3) uint8, for volumes (n, d, h, w)
        Memory-mapped copy-on-write: writing into it changes neither the file nor other readers. For a compressed store
        a `ChunkedImages`, which decompresses what is indexed; for a copy scattered or filtered by other software an
        array in memory.
    labels : (n, l) uint8
        One class number per row, or for multi-label tasks one 0/1 value per label.
    records : (n,) structured
        Fields ``source``, ``subject`` (bytes), ``height``, ``width``, ``top``, ``left``, ``side`` (pixels of the raw
        image); for CT also ``plane`` and ``slice``.
    info : StoreInfo
        The facts of the store.
    store_path : Path
    store_digest : str

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
    _place: Path = field(default_factory=Path, repr=False)  # absolute, since the process may change its folder
    _read: Mapping[str, Any] = field(default_factory=dict, repr=False)  # its fields as they were read
    _forms: Mapping[str, Any] = field(default_factory=dict, repr=False)  # shapes and types, as arrays let them be set

    def __reduce__(self) -> tuple[Any, ...]:
        changes = self.changes()
        if changes.keys() >= set(self.arrays):  # the file is not needed
            return _from_fields, (Split, _fields(self))
        return _reopen_split, (self._place, self._read["store_digest"], self._read["name"], changes)

    def __copy__(self) -> Self:
        return replace(self)

    def changes(self) -> dict[str, Any]:
        """Fields that differ from the file: those that were replaced, and arrays that were written into.

        Only they are pickled; the rest is read from the file again. If the file is gone or was replaced, all arrays
        count as changed.
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
        """Names of its arrays: all three, or just the images; see `without_labels`."""
        return tuple(name for name in NAMES if name in vars(self))

    def check_whole(self) -> None:
        """Check that the mapped file has not been truncated: reading past its end would kill the process.

        A file truncated while a batch is being read still does that; no reader can prevent it. A file that was replaced
        or deleted stays readable as it was.

        Raises
        ------
        StoreError
            If it has been truncated.
        """
        if self._mapping is not None and self._mapping.size() < len(self._mapping):
            raise StoreError(self.store_path, "store was truncated after it was opened", remedy=REBUILD)

    @property
    def chunk_rows(self) -> int:
        """Images per chunk of the file, which lie together on disk."""
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
            If the file has been truncated or is corrupt.
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
    """An open store; its arrays stay readable even if the file is replaced on disk.

    There is nothing to close: no HDF5 file stays open, and a mapping ends with its last array; ``with`` works too.
    A store and its splits are pickled as path and digest and reopened when unpickled, together with arrays that were
    replaced or written into.

    Attributes
    ----------
    path : Path
    info : StoreInfo
        The facts of the store: dataset, size, edition, recipe, licence and so on.
    digest : str
        SHA-256, as hex, over the facts and the checksums of all arrays; compressed copies have the same.
    train, val, test : Split

    Examples
    --------
    >>> import mmtk
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> store.info.flag, store.info.size, store.info.marks
    ('breastmnist', 28, 'SYNTHETIC')
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
            return _from_fields, (Store, values)
        return _reopen_store, (self._place, self._read["digest"], changes)

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
        """Its facts, digest and counts as JSON values, for ``mmtk info --json``."""
        info = {**asdict(self.info), "recipe": json.loads(self.info.recipe)}
        return {"path": str(self.path), "digest": self.digest, "counts": self.counts, **info}

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.val, self.test

    @property
    def counts(self) -> dict[str, int]:
        """Number of images per split."""
        return {split.name: len(split) for split in self.splits}

    def content_digest(self) -> str:
        """The digest computed from the current facts and arrays, all of which are read."""
        arrays = {f"{split.name}/{name}": getattr(split, name) for split in self.splits for name in NAMES}
        sums = {key: (array, array_checksums(key, array)) for key, array in arrays.items()}
        return digest_of(self.info, sums).hex()

    def expect(self, digest: str) -> None:
        """Check a digest computed from the content.

        Raises
        ------
        StoreError
            If it is not the store's digest: the file is corrupt.
        """
        if digest != self.digest:
            remedy = "run mmtk verify to see where; build or import it again"
            raise StoreError(self.path, "store is corrupt: its content does not match its digest", remedy=remedy)

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
    """Open a store and check its facts and checksums against its digest; `verify` also reads the pixels.

    Parameters
    ----------
    path : path
        An ``.h5`` file written by mmtk.
    digest : str, optional
        The digest it must have, if known from elsewhere.

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        If the file is missing, not a store, incomplete, truncated, of an unsupported version, has another digest, or
        holds anything not named in FORMAT.md, such as links, external storage or object types.

    Examples
    --------
    >>> import mmtk
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> store.train.images.shape[1:]
    (28, 28)
    >>> store.info.classes
    ('malignant', 'normal, benign')
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


def already_there(path: Path, plan_hash: str, force: bool) -> bool:
    """Whether a store built from this plan exists at `path`.

    Raises
    ------
    StoreError
        If anything else exists there, unless `force` allows overwriting it.
    """
    if not path.exists():
        return False
    try:
        same = open(path).info.plan_hash == plan_hash
        problem = "already exists, built from another plan"
    except StoreError as error:
        reason = "; ".join(str(error).removeprefix(f"{path}: ").split("; ")[:1])
        same, problem = False, f"already exists and cannot be used: {reason}"
    if not same and not force:
        raise StoreError(path, problem, remedy="use --force to overwrite it, or choose another --out")
    return same


def _fields(value: Split | Store) -> dict[str, Any]:
    """Its public fields, except for any it lacks; see `without_labels`."""
    held = vars(value)
    return {item.name: held[item.name] for item in fields(value) if item.repr and item.name in held}


def _form(value: Any) -> Any:
    return (value.shape, value.dtype, value.strides) if isinstance(value, np.ndarray) else None


def _from_fields(kind: type[Split | Store], values: dict[str, Any]) -> Split | Store:
    return kind(**values)


def _reopen_split(path: Path, digest: str, name: str, changes: dict[str, Any]) -> Split:
    split: Split = getattr(open(path, digest), name)
    return replace(split, **changes)


def _reopen_store(path: Path, digest: str, changes: dict[str, Any]) -> Store:
    opened = open(path, digest)
    read = {name: value for name, value in opened._read.items() if name not in changes}
    return replace(opened, **changes, _read=read)


def _may_be_written(array: Images) -> bool:
    return isinstance(array, np.ndarray) and may_be_written(array)


def _written(split: Split, names: list[str]) -> list[str]:
    """Those of a split's arrays that do not match the file's checksums; all arrays if the file is gone."""
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
