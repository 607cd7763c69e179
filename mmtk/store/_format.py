"""The contents of a store: facts, record fields and chunking. FORMAT.md is the specification."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmtk.datasets.base import Task
from mmtk.datasets.marks import UNPUBLISHED, marks_of
from mmtk.datasets.steps import recipe_from_json
from mmtk.errors import MmtkError, StoreError

Array = np.ndarray[Any, Any]
FORMAT = "mmtk-store"
IMPORTED = "imported"  # pixels and split of a file that was never published
VERSIONS = (2, 3, 4)  # readable; a store without the facts that 3 and 4 added has version 2
CHUNK_BYTES = 512 * 1024
LIBVER = ("v110", "v110")
_LONGEST_TEXT = 4096  # bytes: the longest path on Linux
_FLAG = re.compile(r"[a-z0-9_]+")  # a flag becomes a file name, even that of an untrusted store
_FILE = re.compile(rf"(?P<flag>{_FLAG.pattern})_(?P<size>[1-9][0-9]{{0,5}})\.h5")
_ADDED: dict[str, Any] = {"page": "", "family": "", "ndim": 2}  # omitted from the JSON at these values
_TYPES = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": list}


@dataclass(frozen=True)
class StoreInfo:
    """The facts of a store, kept as one JSON attribute; equal builds have equal facts.

    ``page`` is the web page that describes the source, and ``family`` is shared by datasets made from the same raw
    files; both may be empty. ``edition`` is empty for datasets that were never published. ``ndim`` is 3 if images are
    volumes: cubes of ``size`` voxels along each axis, with one channel.

    Examples
    --------
    >>> import mmtk
    >>> info = mmtk.open("stores/breastmnist_28.h5").info
    >>> info.title, info.task, info.row_shape, info.marks
    ('BreastMNIST', 'binary-class', (28, 28), 'SYNTHETIC')
    """

    flag: str
    title: str
    modality: str
    task: str
    classes: tuple[str, ...]
    channels: int
    size: int
    edition: str
    pixels: str
    split: str
    membership: str
    recipe: str
    recipe_hash: str
    licence: str
    citation: str
    source: str
    plan_hash: str
    synthetic: bool
    partial: bool
    unchecked: tuple[str, ...]
    mmtk_version: str
    page: str = ""
    family: str = ""
    ndim: int = 2

    def to_json(self) -> str:
        values = {name: value for name, value in vars(self).items() if value != _ADDED.get(name, ...)}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> StoreInfo:
        """Parse facts as written by `to_json`.

        Raises
        ------
        ValueError
            If the text is anything else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("its facts are not JSON") from None
        if not isinstance(values, dict) or {*values, *_ADDED} != {f.name for f in fields(cls)}:
            raise ValueError("its facts are not those of this format version")
        for f in fields(cls):
            if type(values.setdefault(f.name, _ADDED.get(f.name))) is not _TYPES[str(f.type)]:
                raise ValueError(f"its {f.name} is not of type {f.type}")
        if not all(value.isprintable() for value in values.values() if isinstance(value, str)):
            raise ValueError("its facts contain unprintable characters")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        texts = all(isinstance(text, str) and text.isprintable() for texts in lists.values() for text in texts)
        if not texts or not _FLAG.fullmatch(values["flag"]):
            raise ValueError("its flag, classes or unchecked are not valid text")
        info = cls(**{**values, **lists})
        if info.task not in set(Task) or not 1 <= len(info.classes) <= 256:
            raise ValueError("its task is unknown, or it has no classes or more than 256")
        if (info.ndim, info.channels) not in ((2, 1), (2, 3), (3, 1)):
            raise ValueError("its images are neither grey nor RGB, or volumes with more than one channel")
        try:
            recipe_from_json(info.recipe)
        except MmtkError as error:
            raise ValueError(str(error)) from None
        if info.to_json() != text:
            raise ValueError("its facts are not serialised as in this format version")
        return info

    @property
    def version(self) -> int:
        """The lowest format version that has these facts, so that equal facts give equal files."""
        return 4 if self.ndim == 3 else 3 if self.page or self.family else 2

    @property
    def own(self) -> bool:
        """Whether this is a user's own dataset, of which no edition was published."""
        return not self.edition

    @property
    def labels(self) -> int:
        """Values per label row."""
        return len(self.classes) if self.task == Task.MULTILABEL else 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a single image, see `image_shape`."""
        return image_shape(self.ndim, self.channels, self.size)

    @property
    def kind(self) -> str:
        """The word for its images in messages: "images" or "volumes"."""
        return "volumes" if self.ndim == 3 else "images"

    @property
    def unpublished(self) -> bool:
        """Whether it was imported from a file of a known dataset that has none of the published MD5s."""
        return self.pixels == IMPORTED and not self.own and not self.synthetic

    @property
    def marks(self) -> str:
        """Those of ``SYNTHETIC``, ``PARTIAL`` and ``UNPUBLISHED`` that apply, shown wherever the store appears."""
        return " ".join((*marks_of(self.synthetic, self.partial), *([UNPUBLISHED] if self.unpublished else [])))


def image_shape(ndim: int, channels: int, size: int) -> tuple[int, ...]:
    """Shape of a single image: ``(size, size)``, ``(size, size, 3)``, or ``(size, size, size)`` for a volume."""
    return (size,) * ndim if channels == 1 else (size,) * ndim + (channels,)


def store_path(folder: str | Path, flag: str, size: int) -> Path:
    """Path of the store of a dataset and size in a folder.

    Parameters
    ----------
    folder : path
    flag : str
    size : int
        Edge length in pixels.

    Returns
    -------
    Path

    Examples
    --------
    >>> from mmtk.store import store_path
    >>> store_path("stores", "breastmnist", 28).as_posix()
    'stores/breastmnist_28.h5'
    """
    return Path(folder) / f"{flag}_{size}.h5"


def stores_in(folder: str | Path) -> list[tuple[str, int, Path]]:
    """Flag, size and path of the stores in a folder, recognised and sorted by name.

    Parameters
    ----------
    folder : path

    Returns
    -------
    list of (str, int, Path)

    Examples
    --------
    >>> from mmtk.store import stores_in
    >>> [(flag, size) for flag, size, _ in stores_in("stores")]
    [('breastmnist', 28), ('dermamnist', 28)]
    """
    matches = ((_FILE.fullmatch(path.name), path) for path in sorted(Path(folder).glob("*.h5")))
    return sorted((match["flag"], int(match["size"]), path) for match, path in matches if match)


def record_dtype(source: int, subject: int, *, sliced: bool = False) -> np.dtype[Any]:
    """Data type of the records of a split.

    Parameters
    ----------
    source, subject : int
        Length in bytes of the longest source and subject name in UTF-8.
    sliced : bool
        Add the fields ``plane`` and ``slice`` for slices of CT volumes.

    Returns
    -------
    numpy.dtype

    Examples
    --------
    >>> from mmtk.store import record_dtype
    >>> record_dtype(20, 8).names
    ('source', 'subject', 'height', 'width', 'top', 'left', 'side')
    """
    numbers = [(name, "<i4") for name in ("height", "width", "top", "left", "side")]
    more = [("plane", "S8"), ("slice", "<i4")] if sliced else []
    return np.dtype([("source", f"S{max(source, 1)}"), ("subject", f"S{max(subject, 1)}"), *numbers, *more])


def chunk_rows(rows: int, row_bytes: int) -> int:
    """Images per chunk: about half a MiB, at most all of them."""
    return max(1, min(rows, CHUNK_BYTES // row_bytes))


class Shaped(Protocol):
    """Anything with a shape and a data type: an array, or a dataset that has not been read yet."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...


def check_facts(what: str | Path, info: StoreInfo) -> None:
    """Refuse facts that could be written but not read back.

    Raises
    ------
    StoreError
        Naming `what` and the first invalid fact.
    """
    try:
        StoreInfo.from_json(info.to_json())
    except ValueError as error:
        raise StoreError(what, f"cannot be written: {error}") from None


def check_shapes(what: str, info: StoreInfo, images: Shaped, labels: Shaped, records: Shaped) -> None:
    """Refuse images, labels and records whose shapes and types do not match a store's facts or each other.

    Raises
    ------
    StoreError
        Naming `what` and the first mismatch.
    """
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        actual = f"{images.dtype} and {labels.dtype}"
        raise StoreError(what, "images and labels have the wrong type", expected="uint8", found=actual)
    if images.shape[1:] != info.row_shape:
        expected = f"(n, {', '.join(map(str, info.row_shape))})"
        raise StoreError(what, "images have the wrong shape", expected=expected, found=str(images.shape))
    rows = images.shape[0]
    if labels.shape != (rows, info.labels):
        expected, actual = str((rows, info.labels)), str(labels.shape)
        raise StoreError(what, "labels have the wrong shape", expected=expected, found=actual)
    kind = records.dtype
    named = (kind.names or ())[:2] == ("source", "subject")
    widths = (kind[0].itemsize, kind[1].itemsize) if named else (1, 1)
    if kind not in (record_dtype(*widths), record_dtype(*widths, sliced=True)) or records.shape != (rows,):
        problem = "records have the wrong fields or shape"
        raise StoreError(what, problem, expected=f"{rows} as in FORMAT.md", found=f"{kind} {records.shape}")
    if max(widths) > _LONGEST_TEXT:
        problem = "names or subjects are too long"
        raise StoreError(what, problem, expected=f"at most {_LONGEST_TEXT}", found=f"{max(widths)} bytes")


def check_labels(what: str, info: StoreInfo, labels: Array) -> None:
    """Refuse labels that are not the number of a class.

    Raises
    ------
    StoreError
        Naming `what` and the largest label.
    """
    top = 1 if info.task == Task.MULTILABEL else len(info.classes) - 1
    if labels.size and int(labels.max()) > top:
        raise StoreError(what, "labels are out of range", expected=f"0 to {top}", found=str(int(labels.max())))
