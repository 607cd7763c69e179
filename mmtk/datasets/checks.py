"""Validate a dataset and its records before any work is done on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mmtk.datasets.pipelines import Pipeline, check_recipe
from mmtk.errors import ArgumentError, SourceError

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset, Record

MOST_CLASSES = 256  # a label is a byte
_FLAG = re.compile("[a-z][a-z0-9_]{0,63}")  # a flag is part of file names
_FILE = re.compile("[^:]+:[1-9][0-9]{0,5}")
_TEXTS = ("title", "modality", "licence", "citation", "page")


def check_apart(datasets: Iterable[Dataset]) -> None:
    """Refuse two datasets with the same flag, whose stores would collide, and own data under a known flag.

    Raises
    ------
    ArgumentError
        If there are any.
    """
    from mmtk.datasets import find_dataset

    known: dict[str, Dataset] = {}
    for dataset in datasets:
        taken = find_dataset(dataset.flag) if dataset.own else None
        if taken is not None and taken != dataset:
            raise ArgumentError(f"flag {dataset.flag}", f"is taken by {taken.title}", remedy="choose another flag")
        if known.setdefault(dataset.flag, dataset) != dataset:
            remedy = "give one of them another flag"
            raise ArgumentError(f"flag {dataset.flag}", "is used by two datasets", remedy=remedy)


def check_dataset(dataset: Dataset) -> None:
    """Refuse a dataset that cannot be built, stored or read back.

    Raises
    ------
    ArgumentError
        For a malformed flag or alias; no classes, too many, duplicate or blank ones, or other than two in a binary
        task; unprintable text; other than 1 or 3 channels; volumes with several channels or from raw images; an MD5
        without edition and size; or an invalid recipe.
    """
    what = f"dataset {dataset.flag}"
    for flag in (dataset.flag, *dataset.aliases):
        if not (isinstance(flag, str) and _FLAG.fullmatch(flag)):
            problem = "is not a letter followed by at most 63 lower-case letters, digits and _"
            raise ArgumentError(f"flag {flag!r}", problem, remedy="choose a flag such as lung_clinic")
    for name in _TEXTS:
        text = getattr(dataset, name)
        if not (isinstance(text, str) and text.isprintable()):
            raise ArgumentError(f"{what}: {name}", found=repr(text), expected="a single line of text")
    check_classes(f"{what}: classes", dataset.task, dataset.classes)
    if dataset.channels not in (1, 3):
        raise ArgumentError(f"{what}: channels", found=str(dataset.channels), expected="1 (grey) or 3 (colour)")
    if dataset.ndim not in (2, 3) or (dataset.ndim == 3 and dataset.channels != 1):
        shape = f"{dataset.ndim} axes and {dataset.channels} channels"
        raise ArgumentError(what, found=shape, expected="images with 2 axes, or grey volumes with 3")
    for key in dataset.md5:
        if not _FILE.fullmatch(str(key)):
            raise ArgumentError(f"{what}: md5", found=repr(key), expected="an edition and a size, such as 2024:28")
    if not dataset.has_raw_pipeline:
        return
    if dataset.ndim == 3:
        raise ArgumentError(what, "has volumes and a scan: volumes cannot be built from raw images")
    for recipe in dataset.recipes:
        check_recipe(dataset.flag, recipe, dataset.channels)
    if len({Pipeline(recipe).takes_volumes for recipe in dataset.recipes}) > 1:
        problem = "is for image files at one size and for CT volumes at another"
        raise ArgumentError(f"recipe of {dataset.flag}", problem)


def expect_raw_pipeline(dataset: Dataset) -> None:
    """Refuse a dataset that cannot be built from raw images.

    Raises
    ------
    SourceError
        If it cannot; the message says how to get its images.
    """
    if dataset.has_raw_pipeline:
        return
    fetch = f"download its official file with mmtk fetch {dataset.flag} --out DIR, then " if dataset.md5 else ""
    remedy = f"{fetch}make a store of its .npz with mmtk import"
    raise SourceError(dataset.flag, "cannot be built from raw images", remedy=remedy)


def check_classes(what: str, task: str, classes: Sequence[str]) -> None:
    """Refuse a number of classes that the task cannot have, duplicates, and names that are not a single line.

    Raises
    ------
    ArgumentError
        If there are any.
    """
    from mmtk.datasets.base import Task

    least, most = {Task.BINARY: (2, 2), Task.MULTILABEL: (1, MOST_CLASSES)}.get(Task(task), (2, MOST_CLASSES))
    if not least <= len(classes) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        raise ArgumentError(what, found=str(len(classes)), expected=f"{count} for a {task} task")
    for name in classes:
        if not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise ArgumentError(what, found=repr(name), expected="names on a single line")
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ArgumentError(what, f"contains {twice[0]} twice")


def check_records(dataset: Dataset, records: Sequence[Record]) -> None:
    """Refuse records that cannot be stored.

    Raises
    ------
    SourceError
        If a record's name is blank, occurs twice or is not UTF-8, if it has a wrong number of labels or a label without
        a class, or if its part is not a split.
    """
    from mmtk.datasets.base import SPLITS, Task

    top = 1 if dataset.task is Task.MULTILABEL else len(dataset.classes) - 1
    seen: set[str] = set()
    for record in records:
        what = f"{dataset.flag}: {record.source or record.file}"
        if not record.source or record.source in seen:
            raise SourceError(what, "occurs twice" if record.source else "has no name")
        seen.add(record.source)
        if not all(map(_is_text, (record.source, record.subject))):
            raise SourceError(what, "has a name that is not UTF-8", remedy="rename the file, or its folder")
        if len(record.labels) != dataset.labels:
            raise SourceError(what, found=f"{len(record.labels)} labels", expected=str(dataset.labels))
        for label in record.labels:
            if type(label) is not int or not 0 <= label <= top:
                raise SourceError(what, found=f"label {label!r}", expected=f"an integer from 0 to {top}")
        if record.part not in ("", *SPLITS):
            raise SourceError(what, found=f"part {record.part!r}", expected=f"{', '.join(SPLITS)} or none")


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def check_rows(dataset: Dataset, rows: Mapping[str, Sequence[Record]]) -> SourceError | None:
    """Refuse splits that share a subject, and report a split that lacks a class.

    Returns
    -------
    SourceError or None
        For the first split that cannot be scored.

    Raises
    ------
    SourceError
        If a subject is in two splits.
    """
    from mmtk.datasets.base import Task

    held: dict[str, tuple[str, str]] = {}
    for split, records in rows.items():
        for record in records:
            first, file = held.setdefault(record.subject, (split, record.file))
            if record.subject and first != split:
                problem = f"has subject {record.subject} in two splits: {file} in {first}, {record.file} in {split}"
                raise SourceError(dataset.flag, problem, remedy="correct the split in the source")
    remedy = "change the shares or the seed in [split], or leave the class out"
    for split, records in rows.items():
        labels = [record.labels for record in records]
        for number, name in enumerate(dataset.classes):
            if dataset.task is Task.MULTILABEL:
                count = sum(row[number] for row in labels)
                if not 0 < count < len(labels):
                    problem = f"needs {split} images with and without {name}, but {count} of {len(labels)} have it"
                    return SourceError(dataset.flag, problem, remedy=remedy)
            elif (number,) not in labels:
                return SourceError(dataset.flag, f"has no {split} image of class {name}", remedy=remedy)
    return None
