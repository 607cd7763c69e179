"""Read a dataset file: its keys as a dataset, or one line that says which key is wrong and what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from mmtk.datasets import find_dataset, get_dataset
from mmtk.datasets.base import Dataset, Scan, Source, SplitRule, Task
from mmtk.datasets.listing import Listing
from mmtk.datasets.own._files import PathScan, TableScan, as_tuple
from mmtk.datasets.own._labels import Words
from mmtk.datasets.own._schema import DatasetFile
from mmtk.datasets.own._templates import check_template, places_of
from mmtk.datasets.own._volumes import VolumeScan
from mmtk.datasets.splits import ByPart, Shares
from mmtk.datasets.steps import (
    Box,
    CenterCrop,
    Colour,
    DicomWindow,
    Grey,
    HuWindow,
    Percentiles,
    Recipe,
    Resize,
    Slice,
    Step,
    Turn,
    Upright,
    Values,
    recipe_from_values,
)
from mmtk.errors import ArgumentError, MmtkError
from mmtk.values import read_toml_or_json, typed

_REMEDY = "mmtk draft DIR writes such a file"
_MULTILABEL = Task.MULTILABEL.partition(",")[0]  # what people say; MedMNIST's word says its labels are 0 or 1, too
_TASKS = {_MULTILABEL: Task.MULTILABEL, **{task.value: task for task in Task}}


def named(name: str) -> Dataset:
    """The dataset of a flag, or that of a dataset file.

    Parameters
    ----------
    name : str
        A flag, an alias, or the path of a ``.toml`` file.

    Raises
    ------
    ArgumentError
        If there is none, or the file is no dataset file.
    """
    return read_dataset(name) if name.lower().endswith(".toml") else get_dataset(name)


def read_dataset(path: str | PathLike[str]) -> Dataset:
    """Read a dataset file: one's own data, described in TOML.

    Keys of the file are ``flag``, ``title``, ``modality``, ``task`` (as MedMNIST names them, or ``multi-label``),
    ``classes``, and to share it ``licence``, ``citation``, ``page`` and ``provider``. Of its tables one says where the
    images are:

    ``[table]``
        ``file`` with a row an image, whose ``column`` holds its path after ``prefix`` and before ``suffix`` (with
        ``prefix = "**/"`` in whatever folder); ``strip`` is what paths of another machine start with, to be left out.
        ``label`` is the column of its class, with ``separator`` of several; ``labels`` are columns of 0 and 1;
        ``subject`` and ``split`` are columns too.
    ``[images]``
        ``files`` is a pattern such as ``{split}/{class}/{subject}_*.png``, or several. Without ``{class}`` a file's
        folder is its class. Files that fit ``exclude``, such as ``*_mask.png``, are passed by. ``subject`` may be a
        regular expression whose first group is the subject.
    ``[volumes]``
        Slices of volumes, which ``image`` and ``mask`` name by patterns such as ``{subject}/ct.nii.gz``; a pattern that
        ends in ``/`` names folders of DICOM series. ``organs`` are classes and their values in the mask. How they are
        cut: ``plane``, ``spacing`` (mm between slices; never less than the volume has), ``keep`` (the part of an organ
        that slices come from, such as ``[0.2, 0.8]``), ``crop`` (``box``, ``square``, ``centre`` or ``none``) and
        ``orientation`` (``patient`` or ``file``). Beside ``[table]`` or ``[images]`` these name the volumes and their
        classes.

    In ``[table]`` and ``[images]``, ``names`` gives the classes that the source's own words mean (beside ``separator``,
    ``""`` for none of them). ``subject = "dicom"``
    reads the patient's id in each DICOM. ``[split]`` has ``shares`` in percent and ``seed``, or, where the source gives
    train and test alone, ``val``: the percent of train that becomes it. ``[window]`` is for DICOM, 16-bit and CT:
    ``level`` and ``width``, ``from = "dicom"`` or ``percentiles``. ``[recipe]`` has ``colour`` (``grey`` or ``rgb``),
    ``crop`` (``centre`` or ``none``) and ``filter``, or ``steps``, the whole recipe.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Dataset
        Without editions: nobody published it.

    Raises
    ------
    ArgumentError
        If the file cannot be read, a key is unknown, missing or of another kind, two keys contradict each other, or the
        flag is one of a dataset that mmtk knows. It names the file and the key.
    """
    path = Path(path)
    file = typed(path, read_toml_or_json(path, "a dataset file as TOML"), DatasetFile, _REMEDY)
    try:
        return _Reader(path, file).dataset()
    except ArgumentError as error:
        if error.what.startswith(str(path)):
            raise
        what, remedy = f"{path}: {error.what}", error.remedy or _REMEDY
        raise ArgumentError(what, expected=error.expected, found=error.found, remedy=remedy) from None


class _Reader:
    """The parts of a dataset, each by its keys."""

    def __init__(self, path: Path, file: DatasetFile) -> None:
        self.path, self.file = path, file

    def refuse(self, key: str, expected: str, found: str, remedy: str = "") -> ArgumentError:
        return ArgumentError(f"{self.path}: {key}", expected=expected, found=found, remedy=remedy)

    def dataset(self) -> Dataset:
        file = self.file
        if (taken := find_dataset(file.flag.lower())) is not None:
            raise self.refuse("flag", "a flag of your own", f"{file.flag}, which is {taken.title}")
        if file.task not in _TASKS:
            raise self.refuse("task", ", ".join(map(repr, _TASKS)), repr(file.task))
        classes = self.classes()
        provider = file.provider or file.title
        source = Source(
            provider, licence=file.licence, page=file.page, layout=f"as {self.path.name} says", citation=file.citation
        )
        recipe = self.recipe()
        return Dataset(
            flag=file.flag, title=file.title, modality=file.modality, task=_TASKS[file.task], classes=classes,
            channels=3 if Colour() in recipe else 1, counts={}, source=source, recipe=recipe, split=self.split(),
            scan=self.scan(classes),
        )

    def classes(self) -> tuple[str, ...]:
        file = self.file
        if file.table and file.table.labels:
            if _TASKS[file.task] is not Task.MULTILABEL:
                expected = f'task = "{_MULTILABEL}" with table.labels'
                raise self.refuse("task", expected, repr(file.task), "use table.label for the column of one class")
            if file.classes and len(file.classes) != len(file.table.labels):
                expected = f"a class for each of the {len(file.table.labels)} columns in table.labels"
                raise self.refuse("classes", expected, str(len(file.classes)))
            return file.classes or file.table.labels
        several = file.table.separator if file.table else ""
        if (_TASKS[file.task] is Task.MULTILABEL) != bool(several):
            if several:
                raise self.refuse("task", f'task = "{_MULTILABEL}" with table.separator', repr(file.task))
            remedy = "or table.separator where a cell holds several words"
            raise self.refuse("table.labels", f"the columns of 0 and 1 of a {_MULTILABEL} task", "none", remedy)
        organs = tuple(file.volumes.organs) if file.volumes else ()
        if organs and file.classes and file.classes != organs:
            expected = f"the organs, {', '.join(organs)}, or no classes"
            raise self.refuse("classes", expected, ", ".join(file.classes))
        if not (file.classes or organs or (file.volumes and file.volumes.mask)):
            raise self.refuse("classes", "the names of the classes", "none", _REMEDY)
        return file.classes or organs

    # ------------------------------------------------------------- where the images are

    def scan(self, classes: tuple[str, ...]) -> Callable[[Listing], Scan]:
        file, volumes = self.file, self.file.volumes
        if file.table and file.images:
            raise self.refuse("images", "[table] or [images]", "both")
        files: TableScan | PathScan | None = None
        if file.table:
            if bool(file.table.label) == bool(file.table.labels):
                found = "both" if file.table.label else "neither"
                raise self.refuse("table.label", "label, a column, or labels, several of 0 and 1", found)
            if file.table.separator and file.table.labels:
                raise self.refuse("table.separator", "label beside it, one column", "labels")
            self.expect_names("table.names", file.table.names, classes, bool(file.table.separator))
            files = TableScan(file.table, Words(classes, file.table.names), self.file.volumes is not None)
        elif file.images:
            templates = as_tuple(file.images.files)
            for template in templates:
                self.expect_template("images.files", template)
            for template in as_tuple(file.images.exclude):
                self.expect_template("images.exclude", template)
                if places := places_of(template):
                    raise self.refuse("images.exclude", "a pattern without places", f"{{{places.pop()}}}", "write *")
            self.expect_pattern("images.subject", file.images.subject, *templates)
            self.expect_names("images.names", file.images.names, classes)
            files = PathScan(file.images, Words(classes, file.images.names))
        if volumes is None:
            if files is None:
                raise self.refuse("[images]", "one of [table], [images] and [volumes]", "none", _REMEDY)
            return files
        return self.volume_scan(files)

    def volume_scan(self, files: TableScan | PathScan | None) -> VolumeScan:
        volumes = self.file.volumes
        assert volumes is not None
        if bool(volumes.image) == bool(files):
            found = "both" if files else "neither"
            raise self.refuse("volumes.image", "image, or a [table] or [images] that names the volumes", found)
        if bool(volumes.mask) != bool(volumes.organs) or (files and volumes.mask) or not (files or volumes.mask):
            found = "mask and organs beside it" if files else "mask or organs alone" if volumes.image else "neither"
            expected = "mask and organs, both, or a [table] or [images] that names the class of each volume"
            raise self.refuse("volumes.mask", expected, found)
        for key, template in (("volumes.image", volumes.image), ("volumes.mask", volumes.mask)):
            self.expect_template(key, template)
        if lost := places_of(volumes.mask) - places_of(volumes.image):
            raise self.refuse("volumes.mask", "the places of volumes.image", f"{{{lost.pop()}}}")
        self.expect_pattern("volumes.subject", volumes.subject, volumes.image)
        if volumes.keep and not 0 <= volumes.keep[0] <= volumes.keep[1] <= 1:
            raise self.refuse("volumes.keep", "two parts from 0 to 1, the lower one first", str(list(volumes.keep)))
        if volumes.spacing < 0:
            raise self.refuse("volumes.spacing", "mm between slices, or none", f"{volumes.spacing:g}")
        organs = tuple((value,) if isinstance(value, int) else value for value in volumes.organs.values())
        values = [value for some in organs for value in some]
        if len(set(values)) < len(values) or 0 in values:
            raise self.refuse("volumes.organs", "values of the mask other than 0, each once", str(values))
        return VolumeScan(volumes, organs, files)

    def expect_template(self, key: str, template: str) -> None:
        try:
            check_template(key, template)
        except ArgumentError as error:
            raise self.refuse(key, error.expected, error.found) from None

    def expect_names(self, key: str, names: dict[str, str], classes: tuple[str, ...], blank: bool = False) -> None:
        for word, name in names.items():
            if name not in classes and (name or not blank):
                raise self.refuse(f"{key}.{word}", f"a class, one of {', '.join(classes)}", name or "none")

    def expect_pattern(self, key: str, pattern: str, *templates: str) -> None:
        if pattern and any("subject" in places_of(template) for template in templates):
            raise self.refuse(key, "{subject} in the pattern of paths, or this key", "both")
        try:
            re.compile(pattern)
        except re.error as error:
            raise self.refuse(key, "a regular expression", f"{pattern!r}: {error}") from None

    # ------------------------------------------------------------- splits and steps

    def split(self) -> SplitRule:
        file, split = self.file, self.file.split
        templates = [*as_tuple(file.images.files)] if file.images else [file.volumes.image] if file.volumes else []
        given = bool(file.table.split) if file.table else any("split" in places_of(text) for text in templates)
        if not given:
            if split.val:
                raise self.refuse("split.val", "shares, where the source gives no split", f"{split.val:g}")
            if not (all(share > 0 for share in split.shares) and abs(sum(split.shares) - 100) < 1e-6):
                expected = "three shares above 0 that add up to 100 percent"
                raise self.refuse("split.shares", expected, str([*split.shares]))
            return Shares(*split.shares, seed=split.seed)
        if split.shares != type(split)().shares:
            raise self.refuse("split.shares", "none, where the source gives the split", str([*split.shares]))
        if not 0 <= split.val < 100:
            raise self.refuse("split.val", "a percent of train below 100", f"{split.val:g}")
        return Shares(100 - split.val, split.val, 0, split.seed, "train") if split.val else ByPart()

    def recipe(self) -> Recipe:
        file, recipe = self.file, self.file.recipe
        if recipe.steps:
            if _has_choices(recipe) or file.window:
                found = "both" if not file.window else "[window] beside them"
                raise self.refuse("recipe.steps", "all steps, or the other keys", found)
            try:
                return recipe_from_values([*recipe.steps])
            except MmtkError as error:
                raise self.refuse("recipe.steps", error.expected, error.found) from None
        if recipe.colour == "rgb" and (file.window or file.volumes):
            raise self.refuse("recipe.colour", '"grey" with a window', '"rgb"')
        window = self.window()
        if file.volumes:
            turned = file.volumes.orientation == "patient"
            first, plane = (Turn(),) if turned else (), file.volumes.plane
            upright: Recipe = (Upright(plane),) if turned else ()
            if not window:
                expected = "level and width, or percentiles, for the values of a volume"
                raise self.refuse("window", expected, "none", "for soft tissue in CT, level = 50 and width = 400")
            cut: Recipe = (Slice(plane, 1), *window) if isinstance(window[0], HuWindow) else (*window, Slice(plane, 1))
            return (*first, Box(), *cut, *upright, Resize(recipe.filter))
        head: tuple[Step, ...] = window or ((Colour(),) if recipe.colour == "rgb" else (Grey("rounded"),))
        return (*head, *((CenterCrop(),) if recipe.crop == "centre" else ()), Resize(recipe.filter))

    def window(self) -> Recipe:
        window, volumes = self.file.window, self.file.volumes
        if window is None:
            return ()
        first: Recipe = () if volumes else (Values(),)
        ways = [window.level is not None or window.width is not None, bool(window.source), bool(window.percentiles)]
        if sum(ways) != 1:
            found = "several" if any(ways) else "none"
            raise self.refuse("window", 'level and width, from = "dicom", or percentiles', found)
        if window.source:
            if volumes:
                raise self.refuse("window.from", "level and width, or percentiles, for volumes", '"dicom"')
            return (DicomWindow(),)
        if window.percentiles:
            if not 0 <= window.percentiles[0] < window.percentiles[1] <= 100:
                expected = "two from 0 to 100, the lower one first"
                raise self.refuse("window.percentiles", expected, str([*window.percentiles]))
            return (*first, Percentiles(*window.percentiles))
        if window.level is None or window.width is None:
            raise self.refuse("window", "level and width", "one of them")
        if not (window.width > 0 and math.isfinite(window.width) and math.isfinite(window.level)):
            raise self.refuse("window.width", "a width above 0", f"{window.width:g} at level {window.level:g}")
        return (*first, HuWindow(window.level, window.width))


def _has_choices(recipe: Any) -> bool:
    """Whether a recipe has other keys than its steps."""
    default = type(recipe)()
    return any(getattr(recipe, key) != getattr(default, key) for key in ("colour", "crop", "filter"))
