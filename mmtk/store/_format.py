"""What a store holds: its facts, its record fields and its chunking. FORMAT.md is the specification."""

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
IMPORTED = "imported"  # the pixels and split of a file that was never published
VERSIONS = (2, 3, 4)  # that are read: a store without the facts that 3 and 4 added is of 2
CHUNK_BYTES = 512 * 1024
LIBVER = ("v110", "v110")
_LONGEST_TEXT = 4096  # bytes: the longest path there is
_FLAG = re.compile(r"[a-z0-9_]+")  # a flag becomes a file name, also one from a stranger's store
_FILE = re.compile(rf"(?P<flag>{_FLAG.pattern})_(?P<size>[1-9][0-9]{{0,5}})\.h5")
_ADDED: dict[str, Any] = {"page": "", "family": "", "ndim": 2}  # left out of the text where they are that
_KINDS = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": list}


@dataclass(frozen=True)
class StoreInfo:
    """The facts of a store, kept as one JSON attribute; equal builds have equal facts.

    ``page`` is where the source is described and ``family`` what datasets of the same raw files have in common; both
    may be empty. ``edition`` is empty where nobody published the dataset. ``ndim`` is 3 where an image is a volume: a
    cube of ``size`` voxels along each axis, of one channel.
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
        """Read the facts back, as `to_json` writes them.

        Raises
        ------
        ValueError
            If the text is anything else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("its facts are no JSON") from None
        if not isinstance(values, dict) or {*values, *_ADDED} != {f.name for f in fields(cls)}:
            raise ValueError("its facts are not those of this format version")
        for f in fields(cls):
            if type(values.setdefault(f.name, _ADDED.get(f.name))) is not _KINDS[str(f.type)]:
                raise ValueError(f"its {f.name} is not of type {f.type}")
        if not all(value.isprintable() for value in values.values() if isinstance(value, str)):
            raise ValueError("its facts hold what cannot be printed")
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        texts = all(isinstance(text, str) and text.isprintable() for texts in lists.values() for text in texts)
        if not texts or not _FLAG.fullmatch(values["flag"]):
            raise ValueError("its flag, classes or what is unchecked are not texts")
        info = cls(**{**values, **lists})
        if info.task not in set(Task) or not 1 <= len(info.classes) <= 256:
            raise ValueError("its task or its number of classes is none that mmtk knows")
        if (info.ndim, info.channels) not in ((2, 1), (2, 3), (3, 1)):
            raise ValueError("its images are neither grey nor RGB, or volumes of more than one channel")
        try:
            recipe_from_json(info.recipe)
        except MmtkError as error:
            raise ValueError(str(error)) from None
        if info.to_json() != text:
            raise ValueError("its facts are not written as this format version does")
        return info

    @property
    def version(self) -> int:
        """The format version of a store of these facts: the lowest one that has them, so that equal facts are one."""
        return 4 if self.ndim == 3 else 3 if self.page or self.family else 2

    @property
    def own(self) -> bool:
        """Whether the dataset is somebody's own: nobody published an edition of it."""
        return not self.edition

    @property
    def labels(self) -> int:
        """Values in a label row."""
        return len(self.classes) if self.task == Task.MULTILABEL else 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one image, see `image_shape`."""
        return image_shape(self.ndim, self.channels, self.size)

    @property
    def kind(self) -> str:
        """What its images are called in messages: images, or volumes."""
        return "volumes" if self.ndim == 3 else "images"

    @property
    def unpublished(self) -> bool:
        """Whether it came from a file of a known dataset that has none of the published MD5s."""
        return self.pixels == IMPORTED and not self.own and not self.synthetic

    @property
    def marks(self) -> str:
        """``SYNTHETIC``, ``PARTIAL`` and ``UNPUBLISHED`` where they hold, to be shown wherever the store is."""
        return " ".join((*marks_of(self.synthetic, self.partial), *([UNPUBLISHED] if self.unpublished else [])))


def image_shape(ndim: int, channels: int, size: int) -> tuple[int, ...]:
    """Shape of one image in an array: ``(size, size)``, ``(size, size, 3)``, or ``(size, size, size)`` of a volume."""
    return (size,) * ndim if channels == 1 else (size,) * ndim + (channels,)


def store_path(folder: str | Path, flag: str, size: int) -> Path:
    """Where the store of a dataset and size lies in a folder."""
    return Path(folder) / f"{flag}_{size}.h5"


def stores_in(folder: str | Path) -> list[tuple[str, int, Path]]:
    """Flag, size and path of the stores in a folder, by their names and in their order."""
    matches = ((_FILE.fullmatch(path.name), path) for path in sorted(Path(folder).glob("*.h5")))
    return sorted((match["flag"], int(match["size"]), path) for match, path in matches if match)


def record_dtype(source: int, subject: int, *, sliced: bool = False) -> np.dtype[Any]:
    """Fields of a record; ``source`` and ``subject`` are the widths in bytes of their longest UTF-8 text.

    Records of slices of a CT volume have two more, ``plane`` and ``slice``.
    """
    numbers = [(name, "<i4") for name in ("height", "width", "top", "left", "side")]
    more = [("plane", "S8"), ("slice", "<i4")] if sliced else []
    return np.dtype([("source", f"S{max(source, 1)}"), ("subject", f"S{max(subject, 1)}"), *numbers, *more])


def chunk_rows(rows: int, row_bytes: int) -> int:
    """Images in a chunk: about half a MiB, never more than there are."""
    return max(1, min(rows, CHUNK_BYTES // row_bytes))


class Shaped(Protocol):
    """What has a shape and a type: an array, or a dataset that is not read yet."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...


def check_facts(what: str | Path, info: StoreInfo) -> None:
    """Refuse facts that could be written but not read again.

    Raises
    ------
    StoreError
        Naming `what` and the first of them.
    """
    try:
        StoreInfo.from_json(info.to_json())
    except ValueError as error:
        raise StoreError(what, expected="facts that a reader takes", found=str(error)) from None


def check_shapes(what: str, info: StoreInfo, images: Shaped, labels: Shaped, records: Shaped) -> None:
    """Refuse images, labels and records whose shapes and types do not fit a store's facts or each other.

    Raises
    ------
    StoreError
        Naming `what` and the first thing that does not fit.
    """
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise StoreError(what, expected="uint8 images and labels", found=f"{images.dtype} and {labels.dtype}")
    if images.shape[1:] != info.row_shape:
        expected = f"images of shape (n, {', '.join(map(str, info.row_shape))})"
        raise StoreError(what, expected=expected, found=str(images.shape))
    rows = images.shape[0]
    if labels.shape != (rows, info.labels):
        raise StoreError(what, expected=f"labels of shape {(rows, info.labels)}", found=str(labels.shape))
    kind = records.dtype
    named = (kind.names or ())[:2] == ("source", "subject")
    widths = (kind[0].itemsize, kind[1].itemsize) if named else (1, 1)
    if kind not in (record_dtype(*widths), record_dtype(*widths, sliced=True)) or records.shape != (rows,):
        found = f"{kind} {records.shape}"
        raise StoreError(what, expected=f"{rows} records of the fields FORMAT.md gives", found=found)
    if max(widths) > _LONGEST_TEXT:
        expected = f"names and subjects of at most {_LONGEST_TEXT} bytes"
        raise StoreError(what, expected=expected, found=f"{max(widths)}")


def check_labels(what: str, info: StoreInfo, labels: Array) -> None:
    """Refuse labels that name no class.

    Raises
    ------
    StoreError
        Naming `what` and the largest label.
    """
    top = 1 if info.task == Task.MULTILABEL else len(info.classes) - 1
    if labels.size and int(labels.max()) > top:
        raise StoreError(what, expected=f"labels from 0 to {top}", found=str(int(labels.max())))
