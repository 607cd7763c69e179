"""What a dataset and its records must be, said before any work is done on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mmtk.datasets.steps import Pipeline, check_recipe
from mmtk.errors import ArgumentError, SourceError

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset, Record

MOST_CLASSES = 256  # a label is a byte
_FLAG = re.compile("[a-z][a-z0-9_]{0,63}")  # a flag is part of the names of files
_FILE = re.compile("[^:]+:[1-9][0-9]{0,5}")
_TEXTS = ("title", "modality", "licence", "citation", "page")


def check_apart(datasets: Iterable[Dataset]) -> None:
    """Refuse two datasets of one flag, whose stores would have one name, and own data under a flag that is known.

    Raises
    ------
    ArgumentError
        If there are such.
    """
    from mmtk.datasets import find_dataset

    known: dict[str, Dataset] = {}
    for dataset in datasets:
        taken = find_dataset(dataset.flag) if dataset.own else None
        if taken is not None and taken != dataset:
            found = f"that of {taken.title}"
            raise ArgumentError(f"flag {dataset.flag}", expected="a flag of your own", found=found)
        if known.setdefault(dataset.flag, dataset) != dataset:
            remedy = "give one of them another flag"
            raise ArgumentError(f"flag {dataset.flag}", expected="one dataset of it", found="two", remedy=remedy)


def check_dataset(dataset: Dataset) -> None:
    """Refuse a dataset that cannot be built, kept in a store or read again.

    Raises
    ------
    ArgumentError
        For a malformed flag or alias, no classes, too many, doubled or blank ones, other than two of a binary task,
        text that cannot be printed, other than 1 or 3 channels, volumes of more than one channel or from raw images,
        an MD5 of no edition or size, or a recipe that cannot be run as it stands.
    """
    what = f"dataset {dataset.flag}"
    for flag in (dataset.flag, *dataset.aliases):
        if not (isinstance(flag, str) and _FLAG.fullmatch(flag)):
            remedy = "such as lung_clinic"
            expected = "a flag of at most 64 small letters, digits and _, a letter first"
            raise ArgumentError(f"flag {flag}", expected=expected, found=repr(flag), remedy=remedy)
    for name in _TEXTS:
        text = getattr(dataset, name)
        if not (isinstance(text, str) and text.isprintable()):
            raise ArgumentError(f"{what}: {name}", expected="one line of text", found=repr(text))
    check_classes(f"{what}: classes", dataset.task, dataset.classes)
    if dataset.channels not in (1, 3):
        raise ArgumentError(f"{what}: channels", expected="1 (grey) or 3 (colour)", found=str(dataset.channels))
    if dataset.ndim not in (2, 3) or (dataset.ndim == 3 and dataset.channels != 1):
        found = f"{dataset.ndim} axes, {dataset.channels} channels"
        raise ArgumentError(what, expected="images of 2 axes, or grey volumes of 3", found=found)
    for key in dataset.md5:
        if not _FILE.fullmatch(str(key)):
            raise ArgumentError(f"{what}: md5", expected="an edition and a size, such as 2024:28", found=repr(key))
    if not dataset.has_raw_pipeline:
        return
    if dataset.ndim == 3:
        raise ArgumentError(what, expected="volumes from official files alone", found="a scan of raw images")
    for recipe in dataset.recipes:
        check_recipe(dataset.flag, recipe, dataset.channels)
    if len({Pipeline(recipe).takes_volumes for recipe in dataset.recipes}) > 1:
        found = "one of image files and one of CT volumes"
        raise ArgumentError(f"recipe of {dataset.flag}", expected="recipes of the same files", found=found)


def expect_raw_pipeline(dataset: Dataset) -> None:
    """Refuse a dataset that is not built from raw images.

    Raises
    ------
    SourceError
        If it is none that can be; it says how its images are got.
    """
    if dataset.has_raw_pipeline:
        return
    fetch = f"mmtk fetch {dataset.flag} --out DIR gets its official file and " if dataset.md5 else ""
    found, remedy = "one known by its .npz files alone", f"{fetch}mmtk import makes a store of an .npz"
    raise SourceError(dataset.flag, expected="a dataset that is built from raw images", found=found, remedy=remedy)


def check_classes(what: str, task: str, classes: Sequence[str]) -> None:
    """Refuse classes that a task cannot have, doubled ones, and names that are not of one line.

    Raises
    ------
    ArgumentError
        If there are such.
    """
    from mmtk.datasets.base import Task

    least, most = {Task.BINARY: (2, 2), Task.MULTILABEL: (1, MOST_CLASSES)}.get(Task(task), (2, MOST_CLASSES))
    if not least <= len(classes) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        raise ArgumentError(what, expected=f"{count} classes of a {task} task", found=str(len(classes)))
    for name in classes:
        if not (isinstance(name, str) and name.strip() and name.isprintable()):
            raise ArgumentError(what, expected="names of one line", found=repr(name))
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ArgumentError(what, expected="each class once", found=f"{twice[0]} twice")


def check_records(dataset: Dataset, records: Sequence[Record]) -> None:
    """Refuse records that no store could keep.

    Raises
    ------
    SourceError
        If a record's name stands there twice, is blank or no UTF-8, it has another number of labels than the dataset or
        one that names no class, or its part is none of a provider's.
    """
    from mmtk.datasets.base import SPLITS, Task

    top = 1 if dataset.task is Task.MULTILABEL else len(dataset.classes) - 1
    seen: set[str] = set()
    for record in records:
        what = f"{dataset.flag}: {record.source or record.file}"
        if not record.source or record.source in seen:
            raise SourceError(what, expected="a name that no other image has", found=repr(record.source))
        seen.add(record.source)
        if not all(map(_is_text, (record.source, record.subject))):
            remedy = "rename the file, or its folder"
            raise SourceError(what, expected="a name in UTF-8", found=ascii(record.source), remedy=remedy)
        if len(record.labels) != dataset.labels:
            found = f"{len(record.labels)}"
            raise SourceError(what, expected=f"{dataset.labels} labels", found=found)
        for label in record.labels:
            if type(label) is not int or not 0 <= label <= top:
                raise SourceError(what, expected=f"labels that are whole numbers from 0 to {top}", found=repr(label))
        if record.part not in ("", *SPLITS):
            raise SourceError(what, expected=f"the part {', '.join(SPLITS)} or none", found=repr(record.part))


def _is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def check_rows(dataset: Dataset, rows: Mapping[str, Sequence[Record]]) -> SourceError | None:
    """Refuse splits that share a subject, and say which class one of them lacks.

    Returns
    -------
    SourceError or None
        Of the first split that cannot be scored.

    Raises
    ------
    SourceError
        If a subject stands in two splits.
    """
    from mmtk.datasets.base import Task

    held: dict[str, tuple[str, str]] = {}
    for split, records in rows.items():
        for record in records:
            first, file = held.setdefault(record.subject, (split, record.file))
            if record.subject and first != split:
                expected = f"subject {record.subject} in one split"
                found = f"{file} in {first} and {record.file} in {split}"
                remedy = "mend the split that the source gives"
                raise SourceError(dataset.flag, expected=expected, found=found, remedy=remedy)
    remedy = "give [split] other shares or another seed, or leave the class out"
    for split, records in rows.items():
        labels = [record.labels for record in records]
        for number, name in enumerate(dataset.classes):
            if dataset.task is Task.MULTILABEL:
                count = sum(row[number] for row in labels)
                if not 0 < count < len(labels):
                    expected, found = f"{split} images with {name} and without it", f"{count} of {len(labels)} with it"
                    return SourceError(dataset.flag, expected=expected, found=found, remedy=remedy)
            elif (number,) not in labels:
                expected = f"a {split} image of class {name}"
                return SourceError(dataset.flag, expected=expected, found="none", remedy=remedy)
    return None
