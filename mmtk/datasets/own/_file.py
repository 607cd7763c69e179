"""Read a dataset file into a dataset, with one-line errors that name the wrong key and the remedy."""

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
from mmtk.datasets.own._labels import ClassWords
from mmtk.datasets.own._schema import DatasetFile
from mmtk.datasets.own._templates import check_template, fields_of
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

_REMEDY = "write such a file with mmtk draft DIR"
_MULTILABEL = Task.MULTILABEL.partition(",")[0]  # short form of MedMNIST's "multi-label, binary-class"
_TASKS = {_MULTILABEL: Task.MULTILABEL, **{task.value: task for task in Task}}


def named(name: str) -> Dataset:
    """Resolve a flag, an alias or the path of a dataset file to a dataset.

    Parameters
    ----------
    name : str
        A flag, an alias, or the path of a ``.toml`` file.

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError
        If the name is unknown, or the file is not a valid dataset file.

    Examples
    --------
    >>> from mmtk.datasets.own import named
    >>> named("breastmnist").title
    'BreastMNIST'
    """
    if name.lower().endswith(".toml"):
        return read_dataset(name)
    if find_dataset(name.lower()) is None and Path(name).is_dir():
        remedy = f"write a dataset file for it with mmtk draft {name}"
        raise ArgumentError(name, "is a folder, not a flag or a dataset file (.toml)", remedy=remedy)
    return get_dataset(name, ", or a dataset file (.toml) as written by mmtk draft DIR")


def read_dataset(path: str | PathLike[str]) -> Dataset:
    """Read a dataset file, which describes your own data in TOML.

    Its keys are ``flag``, ``title``, ``modality``, ``task`` (named as in MedMNIST, or ``multi-label``), ``classes``,
    and, needed only to share the data, ``licence``, ``citation``, ``page`` and ``provider``. One of these tables says
    where the images are:

    ``[table]``
        ``file`` is a table with one row per image. Its ``column`` contains the path, after ``prefix`` and before
        ``suffix`` (``prefix = "**/"`` means any folder), with the leading ``strip`` of another machine removed.
        ``label`` is the column of the class, or of several classes joined by ``separator``; ``labels`` are columns of 0
        and 1; ``subject`` and ``split`` are columns, too.
    ``[images]``
        ``files`` is a pattern such as ``{split}/{class}/{subject}_*.png``, or several. Without ``{class}``, the folder
        of a file is its class. Files that match ``exclude``, such as ``*_mask.png``, are skipped. ``subject`` may be a
        regular expression whose first group is the subject.
    ``[volumes]``
        The images are slices of volumes. ``image`` and ``mask`` are patterns such as ``{subject}/ct.nii.gz``; a pattern
        ending in ``/`` matches folders of DICOM series. ``organs`` are the classes with their values in the mask.
        Further keys are ``plane``, ``spacing`` (mm between slices, at least that of the volume), ``keep`` (the part of
        an organ to take slices from, such as ``[0.2, 0.8]``), ``crop`` (``box``, ``square``, ``centre`` or ``none``)
        and ``orientation`` (``patient`` or ``file``). Together with ``[table]`` or ``[images]``, those give the volumes
        and their classes.

    In ``[table]`` and ``[images]``, ``names`` maps the source's words to classes (with ``separator``, ``""`` means no
    class), and ``subject = "dicom"`` reads the patient ID from each DICOM file. ``[split]`` has ``shares`` in percent
    and ``seed``, or, if the source only has train and test, ``val``, the percentage of train to use for it.
    ``[window]``, for DICOM, 16-bit images and CT, has ``level`` and ``width``, ``from = "dicom"`` or ``percentiles``.
    ``[recipe]`` has ``colour`` (``grey`` or ``rgb``), ``crop`` (``centre`` or ``none``) and ``filter``, or ``steps``,
    the whole recipe.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Dataset
        Without editions, since it is not published.

    Raises
    ------
    ArgumentError
        If the file cannot be read, a key is unknown, missing or of the wrong type, two keys contradict each other, or
        the flag is taken. The message names the file and the key.

    Examples
    --------
    >>> import mmtk
    >>> text = '''
    ... flag = "lungs"
    ... title = "Lungs"
    ... modality = "chest X-ray"
    ... task = "binary-class"
    ... classes = ["normal", "sick"]
    ... [images]
    ... files = "{class}/*.png"
    ... '''
    >>> with open("lungs.toml", "w") as file:
    ...     _ = file.write(text)
    >>> dataset = mmtk.read_dataset("lungs.toml")
    >>> dataset.classes, dataset.own
    (('normal', 'sick'), True)
    """
    path = Path(path)
    file = typed(path, read_toml_or_json(path, "a dataset file as TOML"), DatasetFile, _REMEDY)
    try:
        return _Reader(path, file).dataset()
    except ArgumentError as error:
        if error.what.startswith(str(path)):
            raise
        what, remedy = f"{path}: {error.what}", error.remedy or _REMEDY
        raise ArgumentError(
            what, error.problem, expected=error.expected, found=error.found, remedy=remedy
        ) from None


class _Reader:
    """Builds the parts of a dataset from the keys of a dataset file."""

    def __init__(self, path: Path, file: DatasetFile) -> None:
        self.path, self.file = path, file

    def refuse(
        self, key: str, problem: str = "", *, found: str = "", expected: str = "", remedy: str = ""
    ) -> ArgumentError:
        return ArgumentError(f"{self.path}: {key}", problem, expected=expected, found=found, remedy=remedy)

    def dataset(self) -> Dataset:
        file = self.file
        if (taken := find_dataset(file.flag.lower())) is not None:
            problem = f"{file.flag} is taken by {taken.title}"
            raise self.refuse("flag", problem, remedy="choose another flag")
        if file.task not in _TASKS:
            raise self.refuse("task", found=f'"{file.task}"', expected=f"one of {', '.join(_TASKS)}")
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
                problem = f'is "{file.task}", but table.labels is for "{_MULTILABEL}"'
                raise self.refuse("task", problem, remedy="use table.label for a single column with the class")
            if file.classes and len(file.classes) != len(file.table.labels):
                expected = f"{len(file.table.labels)}, one per column in table.labels"
                raise self.refuse("classes", found=str(len(file.classes)), expected=expected)
            return file.classes or file.table.labels
        several = file.table.separator if file.table else ""
        if (_TASKS[file.task] is Task.MULTILABEL) != bool(several):
            if several:
                raise self.refuse("task", f'is "{file.task}", but table.separator is for "{_MULTILABEL}"')
            remedy = "name the columns of 0 and 1, or set table.separator if a cell contains several words"
            raise self.refuse("table.labels", f"is missing for the task {_MULTILABEL}", remedy=remedy)
        organs = tuple(file.volumes.organs) if file.volumes else ()
        if organs and file.classes and file.classes != organs:
            expected = f"the organs ({', '.join(organs)}), or none"
            raise self.refuse("classes", found=", ".join(file.classes), expected=expected)
        if not (file.classes or organs or (file.volumes and file.volumes.mask)):
            raise self.refuse("classes", "is missing or empty", remedy="name the classes")
        return file.classes or organs

    # ------------------------------------------------------------- location of the images

    def scan(self, classes: tuple[str, ...]) -> Callable[[Listing], Scan]:
        file, volumes = self.file, self.file.volumes
        if file.table and file.images:
            raise self.refuse("images", "cannot be combined with [table]")
        files: TableScan | PathScan | None = None
        if file.table:
            if bool(file.table.label) == bool(file.table.labels):
                problem = "cannot be combined with table.labels"
                if not file.table.label:
                    problem = "is missing, as is table.labels"
                remedy = "set label to a column, or labels to several columns of 0 and 1"
                raise self.refuse("table.label", problem, remedy=remedy)
            if file.table.separator and file.table.labels:
                raise self.refuse("table.separator", "goes with table.label, not with table.labels")
            self.expect_names("table.names", file.table.names, classes, bool(file.table.separator))
            files = TableScan(file.table, ClassWords(classes, file.table.names), self.file.volumes is not None)
        elif file.images:
            templates = as_tuple(file.images.files)
            for template in templates:
                self.expect_template("images.files", template)
            for template in as_tuple(file.images.exclude):
                self.expect_template("images.exclude", template)
                if places := fields_of(template):
                    raise self.refuse("images.exclude", f"contains {{{places.pop()}}}", remedy="write * instead")
            self.expect_pattern("images.subject", file.images.subject, *templates)
            self.expect_names("images.names", file.images.names, classes)
            files = PathScan(file.images, ClassWords(classes, file.images.names))
        if volumes is None:
            if files is None:
                raise self.refuse("[images]", "is missing, as are [table] and [volumes]", remedy=_REMEDY)
            return files
        return self.volume_scan(files)

    def volume_scan(self, files: TableScan | PathScan | None) -> VolumeScan:
        volumes = self.file.volumes
        assert volumes is not None
        if bool(volumes.image) == bool(files):
            other = "[table] or [images]"
            problem = f"cannot be combined with {other}" if files else f"is missing, as is {other}"
            raise self.refuse("volumes.image", problem, remedy=f"give the volumes by image, or by {other}")
        if bool(volumes.mask) != bool(volumes.organs) or (files and volumes.mask) or not (files or volumes.mask):
            problem = "cannot be combined with [table] or [images]" if files else "needs volumes.organs, and vice versa"
            remedy = "set both mask and organs, or give the class of each volume in [table] or [images]"
            raise self.refuse("volumes.mask", problem, remedy=remedy)
        for key, template in (("volumes.image", volumes.image), ("volumes.mask", volumes.mask)):
            self.expect_template(key, template)
        if lost := fields_of(volumes.mask) - fields_of(volumes.image):
            raise self.refuse("volumes.mask", f"contains {{{lost.pop()}}}, which volumes.image does not")
        self.expect_pattern("volumes.subject", volumes.subject, volumes.image)
        if volumes.keep and not 0 <= volumes.keep[0] <= volumes.keep[1] <= 1:
            expected = "two fractions from 0 to 1, the lower first"
            raise self.refuse("volumes.keep", found=str(list(volumes.keep)), expected=expected)
        if volumes.spacing < 0:
            raise self.refuse("volumes.spacing", found=f"{volumes.spacing:g}", expected="at least 0 mm")
        organs = tuple((value,) if isinstance(value, int) else value for value in volumes.organs.values())
        values = [value for some in organs for value in some]
        if len(set(values)) < len(values) or 0 in values:
            raise self.refuse("volumes.organs", found=str(values), expected="distinct values other than 0")
        return VolumeScan(volumes, organs, files)

    def expect_template(self, key: str, template: str) -> None:
        try:
            check_template(key, template)
        except ArgumentError as error:
            raise self.refuse(key, error.problem, found=error.found, expected=error.expected) from None

    def expect_names(self, key: str, names: dict[str, str], classes: tuple[str, ...], blank: bool = False) -> None:
        for word, name in names.items():
            if name not in classes and (name or not blank):
                problem = f"{name} is not a class" if name else "is empty"
                raise self.refuse(f"{key}.{word}", problem, expected=f"one of {', '.join(classes)}")

    def expect_pattern(self, key: str, pattern: str, *templates: str) -> None:
        if pattern and any("subject" in fields_of(template) for template in templates):
            raise self.refuse(key, "cannot be combined with {subject} in the pattern of paths")
        try:
            re.compile(pattern)
        except re.error as error:
            raise self.refuse(key, f"{pattern!r} is not a valid regular expression: {error}") from None

    # ------------------------------------------------------------- splits and steps

    def split(self) -> SplitRule:
        file, split = self.file, self.file.split
        templates = [*as_tuple(file.images.files)] if file.images else [file.volumes.image] if file.volumes else []
        given = bool(file.table.split) if file.table else any("split" in fields_of(text) for text in templates)
        if not given:
            if split.val:
                problem = "needs a source that gives train and test"
                raise self.refuse("split.val", problem, remedy="set split.shares instead")
            if not (all(share > 0 for share in split.shares) and abs(sum(split.shares) - 100) < 1e-6):
                expected = "three percentages above 0 that add up to 100"
                raise self.refuse("split.shares", found=str([*split.shares]), expected=expected)
            return Shares(*split.shares, seed=split.seed)
        if split.shares != type(split)().shares:
            raise self.refuse("split.shares", "cannot be set: the source gives the split", remedy="remove it")
        if not 0 <= split.val < 100:
            raise self.refuse("split.val", found=f"{split.val:g}", expected="a percentage of train below 100")
        return Shares(100 - split.val, split.val, 0, split.seed, "train") if split.val else ByPart()

    def recipe(self) -> Recipe:
        file, recipe = self.file, self.file.recipe
        if recipe.steps:
            if _has_choices(recipe) or file.window:
                other = "[window]" if file.window else "the other keys of [recipe]"
                raise self.refuse("recipe.steps", f"cannot be combined with {other}")
            try:
                return recipe_from_values([*recipe.steps])
            except MmtkError as error:
                raise self.refuse("recipe.steps", error.problem, found=error.found, expected=error.expected) from None
        if recipe.colour == "rgb" and (file.window or file.volumes):
            raise self.refuse("recipe.colour", found='"rgb"', expected='"grey" with a window')
        window = self.window()
        if file.volumes:
            turned = file.volumes.orientation == "patient"
            first, plane = (Turn(),) if turned else (), file.volumes.plane
            upright: Recipe = (Upright(plane),) if turned else ()
            if not window:
                remedy = "set level and width (50 and 400 for soft tissue in CT), or percentiles"
                raise self.refuse("window", "is missing: volumes need one", remedy=remedy)
            cut: Recipe = (Slice(plane, 1), *window) if isinstance(window[0], HuWindow) else (*window, Slice(plane, 1))
            return (*first, Box(), *cut, *upright, Resize(recipe.filter))
        head: tuple[Step, ...] = window or ((Colour(),) if recipe.colour == "rgb" else (Grey("rounded"),))
        return (*head, *((CenterCrop(),) if recipe.crop == "centre" else ()), Resize(recipe.filter))

    def window(self) -> Recipe:
        window, volumes = self.file.window, self.file.volumes
        if window is None:
            return ()
        first: Recipe = () if volumes else (Values(),)
        given = [window.level is not None or window.width is not None, bool(window.source), bool(window.percentiles)]
        if sum(given) != 1:
            problem = "has several settings" if any(given) else "has no settings"
            remedy = 'set either level and width, from = "dicom", or percentiles'
            raise self.refuse("window", problem, remedy=remedy)
        if window.source:
            if volumes:
                problem = '"dicom" does not apply to volumes'
                raise self.refuse("window.from", problem, remedy="set level and width, or percentiles")
            return (DicomWindow(),)
        if window.percentiles:
            if not 0 <= window.percentiles[0] < window.percentiles[1] <= 100:
                expected = "two from 0 to 100, the lower first"
                raise self.refuse("window.percentiles", found=str([*window.percentiles]), expected=expected)
            return (*first, Percentiles(*window.percentiles))
        if window.level is None or window.width is None:
            raise self.refuse("window", "needs both level and width")
        if not (window.width > 0 and math.isfinite(window.width) and math.isfinite(window.level)):
            values = f"{window.width:g} at level {window.level:g}"
            raise self.refuse("window.width", found=values, expected="a width above 0")
        return (*first, HuWindow(window.level, window.width))


def _has_choices(recipe: Any) -> bool:
    """Whether a recipe sets keys other than its steps."""
    default = type(recipe)()
    return any(getattr(recipe, key) != getattr(default, key) for key in ("colour", "crop", "filter"))
